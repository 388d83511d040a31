"""A net that learns by heart: both losses over the epochs, its border on the way, and the same stopped early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import overfitting
from dltrain.insight import plots

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun


def study(done: Sequence[Done]) -> Seen:
    long, stopped = map(looks.run, done)
    epochs, train, val = (long.history[name].to_list() for name in ("epoch", "train/loss", "val/loss"))
    best = min(range(len(val)), key=val.__getitem__)
    end, sure = stopped.metrics, [_sure(run) for run in (long, stopped)]
    turned = val[-1] > 1.2 * val[best]
    caption = (
        "Above the net's answer everywhere, with the points that it trains on (crosses: those that it has "
        f"wrong){': in the end its border winds around single points' if turned else ''}. Below the loss on these "
        f"points and on others. The dashed line is the epoch that early stopping kept, {end['best/epoch']:.0f}."
    )
    return Seen(
        [
            Number("epoch of the lowest validation loss", epochs[best], 2, 10, ".0f"),
            Number("validation loss then", val[best], 0.36, 0.45, ".2f"),
            Number("validation loss at the end", val[-1], 0.8, 1.3, ".2f"),
            Number("train loss at the end", train[-1], 0.08, 0.18, ".2f"),
            Number("test accuracy at the lowest train loss", long.metrics["test/accuracy"], 0.77, 0.83, ".1%"),
            Number("test accuracy, stopped early", end["test/accuracy"], 0.83, 0.89, ".1%"),
            Number("p of its wrong answers on average, at the lowest train loss", sure[0], 0.82, 0.91, ".2f"),
            Number("p of its wrong answers on average, stopped early", sure[1], 0.65, 0.75, ".2f"),
        ],
        1 if epochs[best] > 250 else 2 if epochs[best] > 50 else 3,
        f"The validation loss was lowest, {val[best]:.2f}, after epoch {epochs[best]:.0f}, and {val[-1]:.2f} at the "
        f"end; the train loss was {train[best]:.2f} then, and {train[-1]:.2f} at the end."
        + (
            f" The validation loss rises more than the errors do, as the net is surer of them: to its wrong answers on "
            f"test points it gives p = {sure[0]:.2f} on average, stopped early {sure[1]:.2f}."
        )
        * (turned and sure[0] > sure[1]),
        [
            looks.picture(
                "film.gif", "What it learns, and when it should have stopped", caption, _film(long, end["best/epoch"])
            )
        ],
    )


@torch.no_grad()
def _sure(run: TrainedRun) -> float:
    """The probability, on average, that a net gives to its wrong answers on test points."""
    x, y = looks.rows(run, "test")
    p = run.model(x)[:, 0].sigmoid()
    wrong = (p > 0.5) != y.bool()
    return float(torch.maximum(p, 1 - p)[wrong].mean())


def _film(run: TrainedRun, kept: float) -> bytes:
    plan, way = looks.plan(run), looks.way(run, moments=20)
    scene, net = looks.scene(run), build.make_model(plan).eval()
    of = run.history["step"].to_list(), run.history["epoch"].to_list()
    losses = {name: run.history[f"{part}/loss"].to_list() for part, name in overfitting.PARTS.items()}
    per_epoch = of[0][-1] / of[1][-1]

    def moments() -> Iterator[Figure]:
        for step, weights in zip(way.steps, way.weights, strict=True):
            net.load_state_dict(weights)
            yield overfitting.moment(net, scene, of[1], losses, at=step / per_epoch, kept=kept)

    return plots.gif(moments(), dpi=80, shades=48)
