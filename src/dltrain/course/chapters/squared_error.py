"""Cross-entropy and squared error from a usual start, and from one that is sure and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import saturation
from dltrain.insight.plots import gif
from dltrain.parts.losses import OneHotMSE

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun

_KNOWS = 0.7  # test accuracy


def study(done: Sequence[Done]) -> Seen:
    runs = [looks.run(each) for each in done]
    names = ("cross-entropy", "squared error", "cross-entropy, sure and wrong", "squared error, sure and wrong")
    reached = [run.metrics["test/accuracy"] for run in runs]
    knows = [accuracy > _KNOWS for accuracy in reached]
    begin, end = zip(*(zeros(run) for run in runs[2:]), strict=True)
    s = torch.sigmoid(torch.tensor(begin[1], dtype=torch.float64))
    rates = [float(str(run.config["optimizer.lr"])) for run in runs[2:]]
    nine = nine_right(runs[3])
    slopes = (
        "How far one step moves the output for the zero, on an image that is none (y = 0), at the rate of each loss. "
        "The dots: where the two nets began that were sure and wrong, the squares where they ended. Cross-entropy "
        "is steepest where it is wrong; the squared error is flat there, as s (1 - s) is nearly 0."
    )
    moving = (
        "The nets that begin sure and wrong. Above the validation images of all other digits, black where the net has "
        "them wrong: across what it says of the zero, upward how much of this error comes to that output. By the "
        "cross-entropy it is all of it, by the squared error times s (1 - s), next to nothing in the "
        "corner where the dots begin. Below both losses, which can't be compared: 0.1 of the squared error is one "
        "output of ten, wrong on nearly every image, while the other nine learn their digits."
    )
    limits = ((0.935, 0.98), (0.93, 0.98), (0.935, 0.98), (0.05, 0.15))
    return Seen(
        [
            *(Number(f"accuracy, {n}", a, *at, ".1%") for n, a, at in zip(names, reached, limits, strict=True)),
            Number("loss, cross-entropy, sure and wrong", runs[2].metrics["test/loss"], 0.1, 0.2, ".2f"),
            Number("loss, squared error, sure and wrong", runs[3].metrics["test/loss"], 0.095, 0.106, ".2f"),
            Number("accuracy on the digits 1 to 9, its output for the zero left out", nine, 0.93, 0.985, ".1%"),
            Number("s (1 - s) where it begins sure and wrong", float(s * (1 - s)), 1e-7, 1e-6, ".1e"),
        ],
        {(True, True): 1, (True, False): 2, (False, True): 3, (False, False): 4}[knows[2], knows[3]],
        f"From that start cross-entropy comes to {reached[2]:.1%}, the squared error to {reached[3]:.1%}; from a "
        f"usual one they come to {reached[0]:.1%} and {reached[1]:.1%}. {told(nine, *end)}",
        [
            looks.picture("slopes.png", "The slope of both losses", slopes, saturation.slopes(begin, end, rates)),
            looks.picture("film.gif", "How the wrong answer is unlearned, or is not", moving, film(runs)),
        ],
    )


def told(nine: float, entropy: float, squared: float) -> str:
    """What became of the output that was wrong, whose z is given for both nets, and of the other nine."""
    if squared < 0 or nine < _KNOWS:
        return f"The output for the zero ended at z = {entropy:.1f} and {squared:.1f} on images of other digits."
    return (
        f"The net of the squared error has learned the other nine digits: without its output for the zero it has "
        f"{nine:.1%} of them right. It says zero all the same: each output has a sigmoid of its own, and this one, at "
        f"z = {squared:.1f}, has hardly moved, where cross-entropy brought it to {entropy:.1f}."
    )


@torch.no_grad()
def nine_right(run: TrainedRun) -> float:
    """Of the test images that are no zero, how many are right if the output for the zero is left out."""
    x, y = looks.rows(run, "test")
    others = y != 0
    return float((run.model(x[others])[:, 1:].argmax(1) + 1 == y[others]).double().mean())


@torch.no_grad()
def zeros(run: TrainedRun) -> tuple[float, float]:
    """The mean of the first output over test images of other classes, before learning and at the end."""
    x, y = looks.rows(run, "test")
    net = deepcopy(run.model)
    net.load_state_dict(looks.start(run))
    before = net(x[y != 0])[:, 0].mean()
    net.load_state_dict(looks.last_weights(run))
    return float(before), float(net(x[y != 0])[:, 0].mean())


def film(runs: Sequence[TrainedRun]) -> bytes:
    """The last two of the four runs on their way; the first two are the same from a usual start."""
    names = ("cross-entropy", "squared error")
    ways = {name: way(run) for name, run in zip(names, runs[2:], strict=True)}
    usual = {
        name: (run.history["epoch"].to_list(), run.history["val/accuracy"].to_list())
        for name, run in zip(names, runs[:2], strict=True)
    }
    return gif(
        (saturation.moment(ways, usual, at) for at in range(len(ways[names[0]]))), dpi=80, shades=64, steady=True
    )


def way(run: TrainedRun) -> list[saturation.Moment]:
    """A run's net on its validation images, at moments of its training."""
    net, (x, y) = build.make_model(looks.plan(run)).eval(), looks.rows(run, "val")
    found, per_epoch = looks.way(run, moments=18), run.history["step"][-1] / run.history["epoch"][-1]
    moments = []
    for step, weights in zip(found.steps, found.weights, strict=True):
        net.load_state_dict(weights)
        with torch.no_grad():
            z = net(x)
            said = (z.sigmoid() if isinstance(run.loss, OneHotMSE) else z.softmax(1))[:, 0]
            wrong = z.argmax(1) != y
            moments.append(
                saturation.Moment(
                    step / per_epoch, run.loss(z, y).item(), said.numpy(), (y != 0).numpy(), wrong.numpy()
                )
            )
    return moments
