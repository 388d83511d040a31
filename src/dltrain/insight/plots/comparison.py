"""Curves of several runs, or groups of runs that differ in their seed, over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from dltrain.insight import history
from dltrain.insight.plots import GREY, colours, epoch_axis, figure, metric_axis, styled, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType, LineStyleType

    from dltrain.runs.reading import Report

_DASHES = (0, (3, 2))


@styled
def curves(groups: Sequence[tuple[str, Sequence[Sequence[Report]]]], *, metric: str, losses: bool = True) -> Figure:
    """A validation metric and the losses over the epochs: one colour a group, its mean thick, each run of it thin.

    Of more than five groups only the means are drawn, and of the losses only the validation's.
    groups: (name, the reports of each run), as metrics.jsonl has them: epoch, train/loss, val/loss, val/<metric>.
    `losses`: whether their losses are one function; those of different ones don't stand on one axis.
    """
    panels = [metric, "loss"] if metric != "loss" and losses else [metric]
    fig, axes = figure(len(panels), 1, height=2.7 * len(panels) + 0.22 * len(groups))
    few = len(groups) <= 5
    for (_, runs), colour in zip(groups, colours(len(groups)), strict=True):
        for ax, name in zip(axes, panels, strict=True):
            _draw(ax, runs, f"val/{name}", colour, each=few)
        if few and panels[-1] == "loss":
            _draw(axes[-1], runs, "train/loss", colour, style=_DASHES)
    for ax, name in zip(axes, panels, strict=True):
        metric_axis(ax, name)
        ax.set_ylabel(f"{'' if name == 'loss' and few else 'val '}{title(name)}")
        epoch_axis(ax)
    axes[-1].set_xlabel("epoch")
    if few and panels[-1] == "loss":
        kinds = [Line2D([], [], color=GREY, label="val"), Line2D([], [], color=GREY, label="train", linestyle=_DASHES)]
        axes[-1].legend(handles=kinds, loc="upper right")
    names = [Line2D([], [], color=c, label=n) for (n, _), c in zip(groups, colours(len(groups)), strict=True)]
    fig.legend(handles=names, loc="outside lower left", ncols=1)
    return fig


def _draw(
    ax: Axes,
    runs: Sequence[Sequence[Report]],
    name: str,
    colour: ColorType,
    *,
    style: LineStyleType = "-",
    each: bool = True,
) -> None:
    """Each run thin, and the mean over the epochs that all of them have; a single run as it is."""
    found = [curve for reports in runs if (curve := dict(history.points(reports, name)))]
    if not found:
        return
    if each and len(found) > 1:
        for curve in found:
            ax.plot(*_xy(curve), color=colour, linestyle=style, linewidth=0.7, alpha=0.35)
    shared = set.intersection(*map(set, found))
    mean = {epoch: fmean(curve[epoch] for curve in found) for epoch in shared}
    if mean:
        ax.plot(*_xy(mean), color=colour, linestyle=style, marker="." if len(mean) < 3 else "")


def _xy(curve: Mapping[float, float]) -> tuple[list[float], list[float]]:
    epochs = sorted(curve)
    return epochs, [curve[epoch] for epoch in epochs]
