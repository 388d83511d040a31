"""A net module by module: its outputs and errors, those of the same net with one module replaced, and other modules."""

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
    run, kinds = map(looks.run, done)
    plan = looks.plan(run)
    with left_as_it_was():
        net = deepcopy(run.model).requires_grad_()
        x, y, _ = next(build.make_loaders(plan)[0].epoch(0))
        first, cost = passed(net, plan.loss, x, y)
        middle = between(first)
        other = deepcopy(net)
        other.set_submodule(first[middle].name, nn.ReLU() if isinstance(first[middle].module, nn.Tanh) else nn.Tanh())
        second, other_cost = passed(other, plan.loss, x, y)
        mixed, mixed_cost = passed(deepcopy(kinds.model).requires_grad_().train(), plan.loss, x, y)
        apart = max(map(furthest, (first, mixed)))
    pairs = [*zip(first, second, strict=True)]
    outputs = [not torch.equal(a.values, b.values) for a, b in pairs]
    errors = [not torch.equal(error(a), error(b)) for a, b in pairs]
    frames = chains.film((told(first), told(second)), (cost, other_cost), middle)
    film = gif(frames, wait=700, last=6000, shades=255, steady=True)
    why = f": the cost is {other_cost:.3g} and no longer {cost:.3g}, and every error comes from there" * all(errors)
    return Seen(
        [
            Number("modules", len(first), 7, 7, ".0f"),
            Number("modules that have a W to learn", sum(1 for part in first if weights(part)), 4, 4, ".0f"),
            Number("outputs z that changed", sum(outputs), 4, 4, ".0f"),
            Number("errors δ that changed", sum(errors), 7, 7, ".0f"),
            Number("largest difference of the modules' own rules from autograd", apart, -inf, 1e-6, ".0e"),
            Number("test accuracy of the chain", run.metrics["test/accuracy"], 0.97, 1, ".1%"),
        ],
        2 if all(errors) else 1 if any(errors[:middle]) else 3,
        f"Of {len(pairs)} outputs {sum(outputs)} changed, and of as many errors {sum(errors)}{why}.",
        [
            looks.picture("chains.gif", "One module is replaced", _REPLACED.format(len(x), up(middle + 1)), film),
            looks.picture("kinds.png", "Each kind of module", _KINDS, chains.kinds(told(mixed), mixed_cost)),
        ],
    )


_REPLACED = (
    "Two chains on the same {} rows: the trained net, and the net in which M{} was replaced. Beside each module the "
    "size (root mean square) of its output z, which goes down the chain, and of its error δ, which comes back up. Red: "
    "no longer the same."
)
_KINDS = (
    "A chain with a norm and dropout, while it trains: the rule of each module, how many numbers it learns, and the "
    "sizes of its z and δ. Dropout's m is 0 for the share p of the units that it leaves out, 1 for the others. The "
    "cost is the last module: it takes the answer and y, and sends the first error back."
)


def passed(net: nn.Module, loss: nn.Module, x: Tensor, y: Tensor) -> tuple[list[Part], float]:
    """What each module took and made in a pass forward and back of one batch, and the cost; what only gives x a shape
    is left out.
    """
    parts, cost = observe(net, x, lambda output: loss(output, y))
    return [part for part in parts if part.gradient is not None], float(cost)


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


def furthest(parts: Sequence[Part]) -> float:
    """How far what the modules' own rules make of their errors is, at most, from what autograd gave the whole net."""
    return max(by_itself(part, before) for before, part in zip([None, *parts], parts, strict=False))


def by_itself(part: Part, before: Part | None) -> float:
    """The same of one module: of a linear one δ W, δᵗ z and the sum of δ, of ReLU and tanh δ g', of dropout
    δ m / (1 - p) where z is not 0, of BatchNorm as Ioffe and Szegedy 2015 have it. Of others nothing is computed.
    """
    assert part.input is not None
    z, delta = part.input.flatten(1), error(part)
    match part.module:
        case nn.Linear(weight=w):
            made = [delta @ w, delta.T @ z, delta.sum(0)]
        case nn.ReLU():
            made = [delta * (z > 0)]
        case nn.Tanh():
            made = [delta * (1 - part.values**2)]
        case nn.Dropout():
            made = [delta * part.values / z]  # nan where z is 0, and nothing can be seen of m
        case nn.BatchNorm1d(weight=w, eps=eps, training=True):
            deviation = (z.var(0, correction=0) + eps).sqrt()
            normal = (z - z.mean(0)) / deviation
            back = w / deviation * (delta - delta.mean(0) - normal * (delta * normal).mean(0))
            made = [back, (delta * normal).sum(0), delta.sum(0)]
        case _:
            return 0.0
    wanted = [error(before) if before else made[0], *(w.grad for w in weights(part))]
    pairs = [(a, b) for a, b in zip(made, wanted, strict=False) if b is not None]
    return max(float((a - b).detach().abs().nan_to_num().max()) for a, b in pairs)


_RULES: dict[type[nn.Module], str] = {
    nn.Linear: "W z + b",
    nn.BatchNorm1d: "γ (z − μ) / σ + β",
    nn.ReLU: "max(0, z)",
    nn.Tanh: "tanh(z)",
    nn.Dropout: "m z / (1 − p)",
}


def told(parts: Sequence[Part]) -> list[chains.Module]:
    """A chain for its pictures."""
    return [
        chains.Module(
            type(part.module).__name__,
            size(part.values),
            size(error(part)),
            _RULES.get(type(part.module), ""),
            " + ".join("×".join(map(str, w.shape)) for w in weights(part)),
        )
        for part in parts
    ]


def size(values: Tensor) -> float:
    """The root mean square."""
    return float(values.square().mean().sqrt())
