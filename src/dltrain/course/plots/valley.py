"""A valley of the loss over two numbers, and the ways down it: as a film, and the loss over what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dltrain.course.valley import Valley
from dltrain.insight.plots import GREY, INK, colours, figure, gif, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Moment = tuple[str, Sequence[int]]  # a title, and how many steps each way has done by then


@styled
def film(valley: Valley, ways: Mapping[str, np.ndarray], moments: Sequence[Moment]) -> bytes:
    """The ways [n, 2] of (w, b) by name, each as far as it is at a moment, as an endless GIF."""
    fig, (ax,) = figure(height=5.4)
    contours(ax, valley, list(ways.values()))
    lines = [ax.plot([], [], color=c, linewidth=1.6, alpha=0.85)[0] for c in colours(len(ways))]
    dots = [
        ax.plot([], [], "o", color=c, markeredgecolor="white", markersize=9, label=name, zorder=5)[0]
        for name, c in zip(ways, colours(len(ways)), strict=True)
    ]
    fig.legend(loc="outside lower center", ncols=3, columnspacing=1.2)

    ax.set_title(moments[0][0])
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # the axes stay where they are

    def moving() -> Iterator[Figure]:
        for title, done in moments:
            ax.set_title(title)
            for way, count, line, dot in zip(ways.values(), done, lines, dots, strict=True):
                line.set_data(*way[: count + 1].T)
                dot.set_data(*way[count : count + 1].T)
            yield fig

    return gif(moving(), wait=180, last=3000, shades=255, steady=True)


def contours(ax: Axes, valley: Valley, ways: Sequence[np.ndarray]) -> None:
    """The contours around all ways, w and b to the same scale."""
    points = np.concatenate([*ways, valley.lowest[None]])
    far = np.abs(ways[0][0] - valley.lowest).max()  # what shoots further past is not worth a smaller picture
    points = points[np.abs(points - valley.lowest).max(1) <= 1.2 * far]
    low, high = points.min(0), points.max(0)
    edge = 0.08 * (high - low).max()
    across, up = (np.linspace(a - edge, b + edge, 120) for a, b in zip(low, high, strict=True))
    above = valley.loss(np.stack(np.meshgrid(across, up), axis=-1)) - valley.least
    levels = above.max() * np.geomspace(1e-4, 1, 14)
    ax.contourf(across, up, above, levels=[0, *levels], cmap="Blues_r", alpha=0.35, norm="asinh", extend="max")
    ax.contour(across, up, above, levels=levels, colors=GREY, linewidths=0.6)
    ax.plot(*valley.lowest, "*", color="white", markeredgecolor=INK, markersize=15, zorder=4)
    ax.set(xlabel="w", ylabel="b", aspect="equal", xlim=across[[0, -1]], ylim=up[[0, -1]])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    ax.grid(False)


@styled
def costs(ways: Mapping[str, tuple[np.ndarray, Mapping[str, float]]], *, goal: float) -> Figure:
    """The loss [n + 1] of each way by name, as a multiple of the least, over what it has cost: a panel for each cost.

    The costs are of one step, by what they are called. `goal`: a loss that is marked.
    """
    titles = next(iter(ways.values()))[1]
    fig, axes = figure(len(titles), 1, height=2.15 * len(titles))
    for ax, title in zip(axes, titles, strict=True):
        ax.axhline(goal, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="goal")
        for (name, (losses, cost)), colour in zip(ways.items(), colours(len(ways)), strict=True):
            at = cost[title] * np.arange(1, len(losses))
            ax.plot(at, losses[1:], color=colour, label=name, marker="." if len(losses) < 60 else "")
            if len(reached := np.flatnonzero(losses <= goal)) and reached[0]:
                ax.plot(at[reached[0] - 1], losses[reached[0]], "o", color=colour, markeredgecolor=INK, zorder=5)
        ax.set(title=title, xscale="log", yscale="log", ylabel="loss / least")
        ax.yaxis.set_major_locator(LogLocator(subs=(1,)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    axes[0].legend(loc="upper right")
    return fig
