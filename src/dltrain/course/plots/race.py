"""Optimizers side by side: their ways down one valley as a film, and their losses over rates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle

from dltrain.course.plots.valley import contours
from dltrain.course.valley import Valley
from dltrain.insight.plots import BLUE, GREEN, INK, ORANGE, PURPLE, figure, gif, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
_TAIL = 8  # steps that are drawn behind each


@styled
def film(valley: Valley, panels: Sequence[Mapping[str, np.ndarray]], moments: Sequence[int]) -> bytes:
    """Ways [n, 2] of (w, b) by name, a few in each of four panels, after so many steps at a moment: an endless GIF."""
    fig, axes = figure(2, 2, height=8.6)
    everything = [way for panel in panels for way in panel.values()]
    moving = []
    for ax, panel in zip(axes, panels, strict=True):
        contours(ax, valley, everything)
        for (name, way), colour in zip(panel.items(), _COLOURS, strict=False):
            line = ax.plot([], [], color=colour, linewidth=1.8, alpha=0.9)[0]
            dot = ax.plot([], [], "o", color=colour, markeredgecolor="white", markersize=9, label=name, zorder=5)[0]
            moving.append((way, line, dot))
        ax.set(xlabel="", ylabel="")
        ax.legend(loc="upper left", bbox_to_anchor=(-0.14, -0.07), fontsize=9.5, handletextpad=0.1, labelspacing=0.3)
    title = fig.suptitle("0 gradients", fontweight="bold", fontsize=12)
    fig.set_layout_engine("constrained", rect=(0, 0.03, 1, 0.97))  # the legends reach further down
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # the axes stay where they are

    def frames() -> Iterator[Figure]:
        for count in moments:
            title.set_text(f"after {count} gradient{'s' * (count != 1)}")
            for way, line, dot in moving:
                line.set_data(*way[0 if count == moments[-1] else max(0, count - _TAIL) : count + 1].T)
                dot.set_data(*way[count : count + 1].T)
            yield fig

    return gif(frames(), wait=250, last=3000, dpi=90, shades=255, steady=True)


@styled
def rates(losses: Mapping[str, Mapping[float, float]]) -> Figure:
    """The loss of each optimizer, a row, at rates, the columns: in numbers and colours; the best of a row is framed."""
    columns = sorted({rate for found in losses.values() for rate in found})
    names = sorted(losses, key=lambda name: min(losses[name].values()))
    table = np.array([[losses[name].get(rate, math.nan) for rate in columns] for name in names])
    fig, (ax,) = figure(height=0.9 + 0.34 * len(names))
    ax.imshow(np.minimum(table, 1e3), cmap="YlGnBu_r", norm=LogNorm(0.15, 4), aspect="auto", alpha=0.85)
    for (row, column), loss in np.ndenumerate(table):
        if not math.isnan(loss):
            text = f"{loss:.2f}" if loss < 10 else "> 10"
            ax.text(column, row, text, ha="center", va="center", color="white" if loss < 0.6 else INK)
    for row, best in enumerate(np.nanargmin(table, axis=1)):
        if np.isnan(table[row]).any():
            continue  # not tried at all rates
        ax.add_patch(Rectangle((best - 0.47, row - 0.44), 0.94, 0.88, fill=False, edgecolor=ORANGE, linewidth=2.5))
    ax.set_xticks(range(len(columns)), [f"{rate:g}" for rate in columns])
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="learning rate ε", title="validation loss")
    return fig
