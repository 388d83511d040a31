"""Several labels at once: what sigmoids say of each, and what one softmax has to share out among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf, nan
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import labels as plots
from dltrain.insight.plots import gif

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun


def study(done: Sequence[Done]) -> Seen:
    each, one = map(looks.run, done)
    x, y = looks.rows(each, "test")
    held = y.sum(1)
    every, none = held == y.shape[1], held == 0
    sigmoids, softmax = answers(each, x).sigmoid(), answers(one, x).softmax(1)
    shared = (softmax > 0.5) == y.bool()  # the labels that it has right
    high, low = mean(softmax[every].amax(1)), mean(softmax[every].amin(1))
    caption = (
        "Above the line on which each output of the net with sigmoids says 1/2: nearly two straight lines and a "
        "circle, each learned as if the others were not there; crosses are train points of which it has a label wrong. "
        "Below what both nets say of four test points, the dots are their labels. The softmax has 1 to share out: to "
        "three labels that hold it can give 1/3 each, and where none holds it must give 1 all the same, at a loss of "
        "0."
    )
    return Seen(
        [
            Number("labels right, a sigmoid for each", each.metrics["test/accuracy"], 0.935, 0.97, ".1%"),
            Number("labels right (ŷᵢ > 1/2 where it holds), one softmax", mean(shared.double()), 0.65, 0.69, ".1%"),
            Number("all three right, a sigmoid for each", each.metrics["test/exact_match"], 0.83, 0.91, ".1%"),
            Number("all three right, one softmax", mean(shared.all(1).double()), 0.26, 0.31, ".1%"),
            Number("mean ŷᵢ where all three hold, sigmoids", mean(sigmoids[every]), 0.92, 0.97, ".2f"),
            Number("mean of the largest ŷᵢ there, softmax", high, 0.36, 0.48, ".2f"),
            Number("mean sum of ŷᵢ where none holds, sigmoids", mean(sigmoids[none].sum(1)), 0.1, 0.3, ".2f"),
        ],
        1 if low > 0.7 else 3 if high > 0.7 else 2,
        f"Where all hold, its ŷ lie between {low:.2f} and {high:.2f} on average, and add up to 1 in every point; the "
        f"sigmoids say {mean(sigmoids[every]):.2f} of each.",
        [looks.picture("film.gif", "Three borders, and what is said of four points", caption, film(each, one))],
    )


@torch.no_grad()
def answers(run: TrainedRun, x: Tensor) -> Tensor:
    """z [N, K] of a run's net for x [N, D]."""
    return run.model(x)


def mean(values: Tensor) -> float:
    return values.mean().item() if values.numel() else nan


def examples(run: TrainedRun) -> tuple[Tensor, Tensor]:
    """A test row with no label, one with one, and so on to all: x [M, D], y [M, K]; of each the median by the loss."""
    x, y = looks.rows(run, "test")
    losses = torch.nn.functional.binary_cross_entropy_with_logits(answers(run, x), y, reduction="none").sum(1)
    chosen = []
    for count in range(y.shape[1] + 1):
        order = losses.masked_fill(y.sum(1) != count, inf).argsort()
        if found := int((y.sum(1) == count).sum()):
            chosen.append(int(order[(found - 1) // 2]))
    return x[chosen], y[chosen]


def film(each: TrainedRun, one: TrainedRun) -> bytes:
    """Both nets on their way, on the same points."""
    scene = looks.scene(each)
    x, y = examples(each)
    nets = [build.make_model(looks.plan(run)).eval() for run in (each, one)]
    ways = [looks.way(run, moments=18) for run in (each, one)]
    per_epoch = each.history["step"].to_list()[-1] / each.history["epoch"].to_list()[-1]

    def moments() -> Iterator[Figure]:
        for step, *weights in zip(ways[0].steps, *(way.weights for way in ways), strict=False):
            for net, state in zip(nets, weights, strict=True):
                net.load_state_dict(state)
            with torch.no_grad():
                said = {"σ(zᵢ)": nets[0](x).sigmoid().numpy(), "softmax(z)ᵢ": nets[1](x).softmax(1).numpy()}
            yield plots.moment(nets[0], scene, x.numpy(), y.numpy(), said, title=f"epoch {step / per_epoch:.1f}")

    return gif(moments(), dpi=80, shades=48)
