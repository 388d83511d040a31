"""Linear layers alone: their accuracies, their borders, and the product of their matrices."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import borders

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    (sweep,) = done
    runs = looks.runs(sweep)
    accuracies = looks.table(sweep)["test/accuracy"].to_list()
    x, y = looks.rows(runs[0])
    collapsed = [collapse(run.model) for run in runs]
    differences = [apart(run.model, *one, x) for run, one in zip(runs, collapsed, strict=True)]
    layers = ("one layer", "two layers", "three layers")
    spread = max(accuracies) - min(accuracies)
    first = accuracies.index(max(accuracies))
    caption = (
        "The train points of two half moons, and where each net changes its answer. The three borders are straight: "
        "layers without an activation between them are one layer. They nearly lie on each other, and no more than "
        "nearly: a step that moves W¹ and W² is another one than a step that moves their product, so that descent "
        "takes another way to the same best line, and stops before it is there."
    )
    figure = borders.lines(x.numpy(), y.numpy(), dict(zip(layers, collapsed, strict=True)))
    return Seen(
        [
            *(Number(f"test accuracy, {n}", a, 0.90, 0.945, ".1%") for n, a in zip(layers, accuracies, strict=True)),
            Number(
                "largest difference of a net from the product of its matrices", max(differences), -inf, 1e-12, ".0e"
            ),
        ],
        2 if spread <= 0.02 else 3 if first == 0 else 1,
        f"The accuracies lie {100 * spread:.1f} points apart. Multiplied out, "
        f"f(x) is {'; '.join(f'{formula(*one)} with {n}' for n, one in zip(layers, collapsed, strict=True))}.",
        [looks.picture("borders.png", "Three nets, nearly one straight border", caption, figure)],
    )


def formula(weight: Tensor, bias: Tensor) -> str:
    """W [1, 2] and b [1] as a sum, of two outputs their difference."""
    (w1, w2), b = (weight[-1] - weight[0], bias[-1] - bias[0]) if len(weight) > 1 else (weight[0], bias[0])
    return f"{w1:.2f} x₁ {w2:+.2f} x₂ {b:+.2f}".replace("+", "+ ").replace(" -", " − ").replace("-", "−")


@torch.no_grad()
def apart(net: nn.Module, weight: Tensor, bias: Tensor, x: Tensor) -> float:
    """How far the answers of a net to x [N, D], in float64, are at most from those of one linear layer."""
    x = x.double()
    return float((deepcopy(net).double()(x) - (x @ weight.T + bias)).abs().max())


def collapse(net: nn.Module) -> tuple[Tensor, Tensor]:
    """W [K, D] and b [K] float64 of the one linear layer that a net of linear layers is."""
    linears = [module for module in net.modules() if isinstance(module, nn.Linear)]
    width = linears[0].in_features
    weight, bias = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for linear in linears:
        w, b = linear.weight.detach().double(), linear.bias.detach().double()
        weight, bias = w @ weight, w @ bias + b
    return weight, bias
