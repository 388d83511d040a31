"""What happened while a net trained: learning curves, and the schedule of learning rate and momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain.insight import history
from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, RED, epoch_axis, figure, metric_axis, number, styled, title
from dltrain.runs import pulse
from dltrain.runs.reading import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dltrain.data.units import Units
    from dltrain.runs.reading import Report


@styled
def curves(
    reports: Sequence[Report],
    *,
    metric: str,
    best_step: float | None = None,
    same: bool = False,
    units: Units | None = None,
) -> Figure:
    """Loss and a metric of train and validation part over the epochs; where it overfits, from which epoch on.

    The train metric is of the last rows of the training batches, as they were answered. `best_step` marks the report
    whose weights were kept. `same`: both parts are the same rows, and one curve is enough; `units`: of what
    the loss is.
    """
    panels = ["loss", *[metric] * (metric != "loss" and bool(history.points(reports, f"val/{metric}")))]
    fig, axes = figure(len(panels), 1, height=2.7 * len(panels))
    best = next((r for r in reports if r.get("step") == best_step), None) if best_step is not None else None
    overfit = 0 if same else history.overfit(reports)
    for ax, name in zip(axes, panels, strict=True):
        for part, colour in (("val", BLUE),) if same else (("train", BLUE), ("val", ORANGE)):
            if points := history.points(reports, f"{part}/{name}"):
                of = "mean over the epoch" if name == "loss" else "its last batches"
                label = {"train": f"train ({of})", "val": "all rows" if same else "validation"}[part]
                ax.plot(*zip(*points, strict=True), color=colour, label=label, marker="." if len(points) < 3 else "")
        drawn = bool(ax.get_lines())
        metric_axis(ax, name)
        epoch_axis(ax)
        ax.set_ylabel(f"loss ({units.axis})" if units and name == "loss" else title(name))
        if drawn and len(reports) == 1:
            ax.set_xlim(0, 2 * ax.dataLim.x1)
        if best is not None:
            _mark(ax, best, name)
        if overfit and name == "loss":
            label = f"overfits from epoch {pulse.epoch(overfit)} on"
            ax.axvline(overfit, color=RED, linestyle=":", linewidth=1.4, label=label)
        if drawn:
            ax.legend(loc="best")
    axes[-1].set_xlabel("epoch")
    return fig


def _mark(ax: Axes, best: Report, name: str) -> None:
    epoch, value = best.get("epoch"), best.get(f"val/{name}")
    if is_number(epoch):
        ax.axvline(epoch, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    if is_number(epoch) and is_number(value):
        ax.plot([epoch], [value], "o", color=INK, markersize=6, zorder=5, label=f"best epoch: {number(name, value)}")


@styled
def schedule(
    steps: Sequence[float],
    rates: Sequence[float],
    momenta: Sequence[float] = (),
    *,
    momentum: str = "momentum",
) -> Figure:
    """The learning rate at each step and, where it moves, the momentum; `momentum` is what the optimizer calls it."""
    moving = len(set(momenta)) > 1
    fig, axes = figure(1 + moving, 1, height=2.4 + 1.6 * moving)
    axes[0].plot(steps, rates, color=BLUE)
    axes[0].set_ylabel("learning rate")
    axes[0].set_ylim(bottom=0)
    if moving:
        axes[1].plot(steps, momenta, color=ORANGE)
        axes[1].set_ylabel(momentum)
    axes[-1].set_xlabel("step")
    return fig
