"""Curves of several runs, or groups of runs that differ in their seed, over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dltrain.insight.plots import GREY, colours, figure, styled
from dltrain.parts.metrics import SHARES

_DASHES = (0, (3, 2))
Rows = Sequence[Mapping[str, Any]]


@styled
def curves(groups: Sequence[tuple[str, Sequence[Rows]]], *, metric: str, losses: bool = True) -> Figure:
    """A validation metric and the losses over the epochs: one colour a group, its mean thick, each run of it thin.

    Of more than five groups only the means are drawn, and of the losses only the validation's.
    groups: (name, the reports of each run), as metrics.jsonl has them: epoch, train/loss, val/loss, val/<metric>.
    `losses`: whether their losses are one function; those of different ones don't stand on one axis.
    """
    panels = [metric, "loss"] if metric != "loss" and losses else [metric]
    fig, axes = figure(len(panels), 1, height=2.7 * len(panels) + 0.22 * len(groups))
    axes = list(axes.flat) if len(panels) > 1 else [axes]
    few = len(groups) <= 5
    for (_, runs), colour in zip(groups, colours(len(groups)), strict=True):
        for ax, name in zip(axes, panels, strict=True):
            _draw(ax, runs, f"val/{name}", colour, each=few)
        if few and panels[-1] == "loss":
            _draw(axes[-1], runs, "train/loss", colour, style=_DASHES)
    for ax, name in zip(axes, panels, strict=True):
        _scale(ax, name)
        ax.set_ylabel(f"{'' if name == 'loss' and few else 'val '}{name.replace('_', ' ')}")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[-1].set_xlabel("epoch")
    if few and panels[-1] == "loss":
        kinds = [("val", "-"), ("train", _DASHES)]
        axes[-1].legend(handles=[Line2D([], [], color=GREY, label=k, linestyle=s) for k, s in kinds], loc="upper right")
    names = [Line2D([], [], color=c, label=n) for (n, _), c in zip(groups, colours(len(groups)), strict=True)]
    fig.legend(handles=names, loc="outside lower left", ncols=1)
    return fig


def _draw(ax: Any, runs: Sequence[Rows], name: str, colour: Any, *, style: Any = "-", each: bool = True) -> None:
    """Each run thin, and the mean over the epochs that all of them have; a single run as it is."""
    found = [{r["epoch"]: r[name] for r in rows if _has(r, name)} for rows in runs]
    found = [points for points in found if points]
    if not found:
        return
    if each and len(found) > 1:
        for points in found:
            ax.plot(*_xy(points), color=colour, linestyle=style, linewidth=0.7, alpha=0.35)
    shared = sorted(set.intersection(*map(set, found)))
    mean = {epoch: float(np.mean([points[epoch] for points in found])) for epoch in shared}
    if mean:
        ax.plot(*_xy(mean), color=colour, linestyle=style, marker="." if len(mean) < 3 else "")


def _has(row: Mapping[str, Any], name: str) -> bool:
    return all(isinstance(row.get(key), (int, float)) and np.isfinite(row[key]) for key in ("epoch", name))


def _xy(points: Mapping[float, float]) -> tuple[list[float], list[float]]:
    epochs = sorted(points)
    return epochs, [points[epoch] for epoch in epochs]


def _scale(ax: Any, name: str) -> None:
    """Shares in per cent; losses that fall far on a logarithmic axis."""
    shown = [y for line in ax.get_lines() for y in line.get_ydata()]
    if name in SHARES:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    elif shown and min(shown) > 0 and max(shown) > 30 * min(shown):
        ax.set_yscale("log")
