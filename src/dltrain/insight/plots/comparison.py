"""Curves of several runs, or groups of runs that differ in their seed, over each other."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from dltrain.insight import history
from dltrain.insight.plots import GREY, colours, epoch_axis, figure, metric_axis, plain, styled, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType, LineStyleType

    from dltrain.runs.reading import Report

_STYLES: tuple[LineStyleType, ...] = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
_FEW = 5  # groups whose runs and train losses are drawn, too
_THIN, _THICK = 0.9, 2.0
_AXES = {"epochs": "epoch", "steps": "step", "samples": "samples", "seconds": "seconds of training"}


@styled
def curves(
    groups: Sequence[tuple[str, Sequence[Sequence[Report]]]],
    *,
    metric: str,
    losses: bool = True,
    over: str = "epochs",
) -> Figure:
    """A validation metric and the losses: one colour and line style a group, its mean thick, in a band of one standard
    deviation over its runs; thin the train loss.

    Of more than five groups only the means are drawn, and of the losses only the validation's.
    groups: (name, the reports of each run), as metrics.jsonl has them: epoch, train/loss, val/loss, val/<metric>; over:
    epochs, steps, and with `history.over` samples and seconds.
    `losses`: whether their losses are one function; those of different ones don't stand on one axis.
    """
    panels = [metric, "loss"] if metric != "loss" and losses else [metric]
    fig, axes = figure(len(panels), 1, height=2.7 * len(panels) + 0.22 * len(groups))
    few, shades = len(groups) <= _FEW, colours(len(groups))
    styles = [_STYLES[i % len(_STYLES)] for i in range(len(groups))]
    for (_, runs), colour, style in zip(groups, shades, styles, strict=True):
        for ax, name in zip(axes, panels, strict=True):
            _draw(ax, runs, f"val/{name}", over, colour, style, band=few)
        if few and panels[-1] == "loss":
            _draw(axes[-1], runs, "train/loss", over, colour, style, width=_THIN)
    for ax, name in zip(axes, panels, strict=True):
        metric_axis(ax, name)
        ax.set_ylabel(f"{'' if name == 'loss' and few else 'val '}{title(name)}")
        if over == "epochs":
            epoch_axis(ax)
    axes[-1].set_xlabel(_AXES[over])
    if few and panels[-1] == "loss":
        kinds = [Line2D([], [], color=GREY, label=n, linewidth=w) for n, w in (("val", _THICK), ("train", _THIN))]
        axes[-1].legend(handles=kinds, loc="upper right")
    lines = zip(groups, shades, styles, strict=True)
    names = [Line2D([], [], color=c, linestyle=s, linewidth=_THICK, label=plain(n, 60)) for (n, _), c, s in lines]
    fig.legend(handles=names, loc="outside lower left", ncols=1, handlelength=3.2)
    return fig


def _draw(
    ax: Axes,
    runs: Sequence[Sequence[Report]],
    name: str,
    over: str,
    colour: ColorType,
    style: LineStyleType,
    *,
    band: bool = False,
    width: float = _THICK,
) -> None:
    """The mean over the epochs that all runs have, where these are several."""
    place = {"epochs": "epoch", "steps": "step"}.get(over, over)
    found = [curve for reports in runs if (curve := _curve(reports, place, name))]
    if not found:
        return
    shared = sorted(set.intersection(*map(set, found)))
    x = [fmean(curve[epoch][0] for curve in found) for epoch in shared]
    y = [fmean(curve[epoch][1] for curve in found) for epoch in shared]
    ax.plot(x, y, color=colour, linestyle=style, linewidth=width, marker="." if len(shared) < 3 else "")
    if band and len(found) > 1:
        spread = [stdev(curve[epoch][1] for curve in found) for epoch in shared]
        low, high = ([m + sign * s for m, s in zip(y, spread, strict=True)] for sign in (-1, 1))
        ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _curve(reports: Sequence[Report], place: str, name: str) -> dict[float, tuple[float, float]]:
    """By epoch where a point stands, and how high."""
    at, values = (dict(history.points(reports, key)) for key in (place, name))
    return {epoch: (at[epoch], value) for epoch, value in values.items() if epoch in at}
