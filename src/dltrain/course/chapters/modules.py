"""A net module by module: its outputs and errors, and those of the same net with one module replaced."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import chains
from dltrain.course.plots.passes import up
from dltrain.engine.look import observe
from dltrain.engine.process import left_as_it_was
from dltrain.errors import ConfigError
from dltrain.insight.equations import ACTIVATIONS
from dltrain.insight.plots import gif

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.engine.look import Seen as Part


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[0])
    plan = looks.plan(run)
    with left_as_it_was():
        net = deepcopy(run.model).requires_grad_()
        x, y, _ = next(build.make_loaders(plan)[0].epoch(0))
        first = passed(net, plan.loss, x, y)
        middle = between(first)
        other = deepcopy(net)
        other.set_submodule(first[middle].name, nn.ReLU() if isinstance(first[middle].module, nn.Tanh) else nn.Tanh())
        second = passed(other, plan.loss, x, y)
        apart = max(by_itself(part, before) for before, part in zip([None, *first], first, strict=False))
    pairs = [*zip(first, second, strict=True)]
    outputs = [not torch.equal(a.values, b.values) for a, b in pairs]
    errors = [not torch.equal(error(a), error(b)) for a, b in pairs]
    caption = (
        f"Two chains on the same {len(x)} rows: the trained net, and the net in which M{up(middle + 1)} was replaced. "
        "Beside each module the size (root mean square) of its output z, which goes down the chain, and of its error "
        "δ, which comes back up. Red: no longer the same, as another answer has another error."
    )
    film = gif(chains.film(told(first), told(second), middle), wait=700, last=6000, shades=32)
    return Seen(
        [
            Number("modules", len(first), 7, 7, ".0f"),
            Number("modules that have a W to learn", sum(1 for part in first if weights(part)), 4, 4, ".0f"),
            Number("outputs z that changed", sum(outputs), 4, 4, ".0f"),
            Number("errors δ that changed", sum(errors), 7, 7, ".0f"),
            Number("largest difference of the modules' own rules from autograd", apart, -inf, 1e-6, ".0e"),
            Number("test accuracy of the chain", run.metrics["test/accuracy"], 0.9, 1, ".1%"),
        ],
        2 if all(errors) else 1 if any(errors[:middle]) else 3,
        f"Of {len(pairs)} outputs {sum(outputs)} changed, and of as many errors {sum(errors)}: "
        "the net's answer is another one, so the loss sends back another error.",
        [looks.picture("chains.gif", "One module is replaced", caption, film)],
    )


def passed(net: nn.Module, loss: nn.Module, x: Tensor, y: Tensor) -> list[Part]:
    """What each module took and made in a pass forward and back of one batch; what only gives x a shape is left out."""
    return [part for part in observe(net, x, lambda output: loss(output, y))[0] if part.gradient is not None]


def between(parts: Sequence[Part]) -> int:
    """The activation in the middle of a chain."""
    found = [k for k, part in enumerate(parts) if isinstance(part.module, ACTIVATIONS)]
    if not found:
        raise ConfigError("this chapter replaces an activation, and the net has none; model.widths=[8] gives it one")
    return found[len(found) // 2]


def error(part: Part) -> Tensor:
    """dL by a module's output."""
    assert part.gradient is not None  # of each module of a chain
    return part.gradient


def weights(part: Part) -> list[Tensor]:
    """What a module learns."""
    return [*part.module.parameters(recurse=False)]


def by_itself(part: Part, before: Part | None) -> float:
    """How far what a module's own rule makes of its error is, at most, from what autograd gave the whole net: of a
    linear module δ W, δᵗ z and the sum of δ, of ReLU and tanh δ g'. Of other modules nothing is computed.
    """
    assert part.input is not None
    z, delta = part.input.flatten(1), error(part)
    if isinstance(part.module, nn.Linear):
        made = [delta @ part.module.weight, delta.T @ z, delta.sum(0)]
    elif isinstance(part.module, (nn.ReLU, nn.Tanh)):
        made = [delta * (z > 0 if isinstance(part.module, nn.ReLU) else 1 - part.values**2)]
    else:
        return 0.0
    wanted = [error(before) if before else made[0], *(w.grad for w in weights(part))]
    return max(float((a - b).detach().abs().max()) for a, b in zip(made, wanted, strict=False) if b is not None)


def told(parts: Sequence[Part]) -> list[chains.Module]:
    """A chain for its picture."""
    return [chains.Module(type(p.module).__name__, size(p.values), size(error(p)), bool(weights(p))) for p in parts]


def size(values: Tensor) -> float:
    """The root mean square."""
    return float(values.square().mean().sqrt())
