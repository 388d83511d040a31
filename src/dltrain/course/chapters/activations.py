"""Activation functions: what each lets through on the way back, and how far the units below it moved."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import activations
from dltrain.insight.equations import ACTIVATIONS, derivative

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun

_EXPECTED = {  # of the test accuracy and of the mean g'(a)
    "identity": ((0.90, 0.95), (1, 1)),
    "sign": ((0.80, 0.95), (0, 0)),
    "tanh": ((0.985, 1), (0.1, 0.5)),
    "sigmoid": ((0.93, 1), (0.05, 0.2)),
    "relu": ((0.985, 1), (0.15, 0.75)),
}
_ANY = ((0, 1), (-inf, inf))


def study(done: Sequence[Done]) -> Seen:
    runs = {str(run.config["model.activation"]): run for run in looks.runs(done[0])}
    x, y = looks.rows(next(iter(runs.values())))
    layers = {name: first(run, x) for name, run in runs.items()}
    accuracy = {name: run.metrics["test/accuracy"] for name, run in runs.items()}
    name = "sign" if "sign" in runs else next(iter(runs))
    below, above = moved(runs[name])
    line = f"the straight line {accuracy['identity']:.1%}, " if "identity" in accuracy else ""
    slopes = {n: derivative(g, a).mean().item() for n, (g, a) in layers.items() if n != "identity"}
    units = (
        "Left g, right its derivative. The dots are the hidden units of the trained net on one example, the grey area "
        "is how often each activation a comes on the train rows. A unit's error is multiplied by the height of its dot "
        "on the right: by 0 with sign, by 1/4 at most with sigmoid."
    )
    lines = (
        "What each net answers, and where its hidden units have a = 0, before learning (dashed) and after (solid). "
        "With sign the lines stay where they were drawn, and the last layer makes the best of them; with the others "
        "they are learned. The identity has no bend there, so that its lines are left out."
    )
    borders = {n: (looks.start(run), run.model.state_dict(), run.model) for n, run in runs.items()}
    bent = {n: layer for n, layer in layers.items() if n in slopes}
    pictures = [
        ("functions.png", "The functions, and the net's units on them", units, activations.units(bent)),
        ("borders.png", "The borders of the units", lines, activations.borders(x.numpy(), y.numpy(), borders)),
    ]
    return Seen(
        [
            *(Number(f"test accuracy, {n}", accuracy[n], *_EXPECTED.get(n, _ANY)[0], ".1%") for n in runs),
            *(Number(f"mean g'(a), {n}", slopes[n], *_EXPECTED.get(n, _ANY)[1], ".2f") for n in slopes),
            Number("largest change of a weight below sign", below, 0, 0),
            Number("largest change of a weight above it", above, 0.5, inf),
        ],
        1 if above == 0 else 2 if below == 0 else 3,
        f"Below {name} {f'weights moved by up to {below:.3g}' if below else 'no weight moved'}, above it by up to "
        f"{above:.3g}. It has {accuracy[name]:.1%} of the test rows right, {line}the best net "
        f"{max(accuracy.values()):.1%}.",
        [looks.picture(*each) for each in pictures],
    )


@torch.no_grad()
def first(run: TrainedRun, x: Tensor) -> tuple[nn.Module, Tensor]:
    """The first activation of a net, and what the layer below it gives [N, K]."""
    modules = [*run.model.modules()]
    linear = next(module for module in modules if isinstance(module, nn.Linear))
    g = next((module for module in modules if isinstance(module, ACTIVATIONS)), nn.Identity())
    return g, linear(x)


def moved(run: TrainedRun) -> tuple[float, float]:
    """The largest change of a weight in the first layer, and in the last."""
    begin, end = looks.start(run), run.model.state_dict()
    changes = [float((end[name] - begin[name]).abs().max()) for name in begin if name.endswith("weight")]
    return changes[0], changes[-1]
