"""Exclusive or: a perceptron's line that never rests, and nets of two hidden units that find it, or get stuck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import xor
from dltrain.insight import plots
from dltrain.training import replay

if TYPE_CHECKING:
    from torch import nn

    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun

_LEARNED = 0.95  # of the points right: more than three corners of four have


def study(done: Sequence[Done]) -> Seen:
    perceptron, nets = looks.run(done[0]), looks.runs(done[1])
    accuracies = looks.numbers(done[1], "test/accuracy")
    mistakes = [int(n) for n in perceptron.history["train/mistakes"]]
    learned = [accuracy > _LEARNED for accuracy in accuracies]
    others = [accuracy for accuracy, well in zip(accuracies, learned, strict=True) if not well]
    alone = perceptron.metrics["test/accuracy"]
    numbers = [
        Number("test accuracy of the perceptron", alone, 0.5, 0.8, ".0%"),
        Number("its mistakes in its best epoch", min(mistakes), 285, 335, ",.0f"),
        Number("its mistakes in its worst epoch", max(mistakes), 315, 370, ",.0f"),
        Number(f"of {len(nets)} nets with two hidden units learn it", sum(learned), 2, 7, ".0f"),
        Number("test accuracy of the best of them", max(accuracies), 0.99, 1.0, ".0%"),
    ]
    if others:
        numbers.append(Number("mean test accuracy of those that do not", sum(others) / len(others), 0.7, 0.78, ".0%"))
    stuck = f"; the others have {min(others):.0%} to {max(others):.0%} right, about three corners" * any(learned)
    return Seen(
        numbers,
        1 if all(learned) else 2 if any(learned) else 3,
        f"{sum(learned)} of {len(nets)} nets have more than {_LEARNED:.0%} of the test points right"
        f"{stuck if others else ''}.",
        [_unrest(perceptron, mistakes), _moving(nets[learned.index(max(learned))]), _starts(nets, accuracies)],
    )


def _unrest(run: TrainedRun, mistakes: Sequence[int]) -> Picture:
    ends = [int(step) for step in run.history["step"]]
    way = replay.replay(looks.plan(run), steps=ends[-1], wanted=ends, seconds=60)
    assert way is not None  # the course's runs take seconds
    planes = [torch.cat([p.flatten() for p in weights.values()]).numpy() for weights in way.weights[1:]]
    x, y = looks.rows(run)
    caption = (
        "Above the perceptron's line after each epoch, the last one black: it is thrown to and fro, for wherever it "
        "lies a corner is on its wrong side. A line that is not seen is outside the picture. Below its mistakes of "
        f"{len(x):,} points, which do not become fewer: as it never rests it is wrong on more than the one corner of "
        "four that the best line gives up."
    )
    return looks.picture(
        "unrest.png", "One neuron: no line will do", caption, xor.unrest(x.numpy(), y.numpy(), planes, mistakes)
    )


def _moving(run: TrainedRun) -> Picture:
    net, scene, way = build.make_model(looks.plan(run)).eval(), looks.scene(run), looks.way(run, moments=26)
    x, y = looks.rows(run)
    rate = way.steps[-1] / run.history["epoch"][-1]

    def moments() -> Iterator[Figure]:
        for step, weights in zip(way.steps, way.weights, strict=True):
            net.load_state_dict(weights)
            hidden, output = _linears(net)
            z = looks.given(net, output, x).numpy()
            yield xor.moment(net, scene, (_plane(hidden), _plane(output)), (z, y.numpy()), epoch=step / rate)

    caption = (
        "Two hidden units learn it. Above the plane of x: the dashed lines are where a₁ = 0 and a₂ = 0, the black one "
        "is the net's border. Below the same points as the output layer sees them, by z₁ and z₂: the hidden layer lays "
        "two opposite corners on each other, so that one line is enough there."
    )
    film = plots.gif(moments(), dpi=72, shades=255, steady=True)
    return looks.picture("film.gif", "Two units: two lines, then one", caption, film)


def _starts(runs: Sequence[TrainedRun], accuracies: Sequence[float]) -> Picture:
    panels = []
    for run, accuracy in zip(runs, accuracies, strict=True):
        net = build.make_model(looks.plan(run)).eval()
        net.load_state_dict(looks.last_weights(run))
        panels.append((f"seed {looks.plan(run).seed}: {accuracy:.0%}", net, _plane(_linears(net)[0])))
    caption = (
        "The same net from each start, at the end: its border black, the lines of its two units dashed, crosses where "
        "it is wrong. Where it is stuck the loss hardly falls any more, though two other lines would do."
    )
    scene = looks.scene(runs[0])
    drawn = xor.starts(panels, replace(scene, x=scene.x[::6], y=scene.y[::6]))  # small panels have room for so many
    return looks.picture("starts.png", "From each start", caption, drawn)


def _linears(net: nn.Module) -> tuple[nn.Linear, nn.Linear]:
    """The hidden and the output layer."""
    hidden, output = (module for module in net.modules() if isinstance(module, torch.nn.Linear))
    return hidden, output


def _plane(layer: nn.Linear) -> np.ndarray:
    """w₁, w₂ and b of each unit of a layer, [units, 3]."""
    return torch.cat([layer.weight, layer.bias[:, None]], dim=1).detach().numpy()
