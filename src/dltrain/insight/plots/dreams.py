"""What a net looks for, and what fools it: as pictures, or as bars for the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dltrain.insight import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CURVES = 1.9  # inches of the panels on how it was made
_BARS = 20  # features with a bar, those that differ most

Tile = tuple[str, Tensor]  # title, pixels [C, H, W] from 0 to 1
Descent = tuple[Sequence[float], Sequence[float]]  # the loss and the rate at each step


@plots.styled
def images(dream: Sequence[Tile], fooling: Sequence[Tile] = (), *, descent: Descent) -> Figure:
    """Three tiles: noise, dream, a real one; then how it was made; below a real one of another class, the change, and
    the sum.
    """
    rows = 2 if fooling else 1
    fig = plots.empty(2.3 * rows + _CURVES)
    grid = fig.add_gridspec(1 + rows, 6, height_ratios=[2.3, _CURVES, *[2.3] * bool(fooling)])
    axes = [fig.add_subplot(grid[row, at : at + 2]) for row in (0, 2)[:rows] for at in (0, 2, 4)]
    _made([fig.add_subplot(grid[1, at : at + 3]) for at in (0, 3)], descent)
    for ax, (title, pixels) in zip(axes[:3], dream, strict=True):
        _tile(ax, title, pixels)
    for i, (title, pixels) in enumerate(fooling):
        _tile(axes[3 + i], title, pixels, change=i == 1)
    return fig


def _tile(ax: Axes, title: str, pixels: Tensor, *, change: bool = False) -> None:
    values = pixels.permute(1, 2, 0).numpy()
    plots.image(ax, frame=True)
    if change:
        values = values.mean(-1)
        limit = max(abs(values).max(), 1e-12)
        ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        title = f"{title}\n(strongest {limit:.2g} of 1)"
    else:
        ax.imshow(values if values.shape[-1] == 3 else values[..., 0], cmap="gray", vmin=0, vmax=1)
    lines = "\n".join(plots.plain(line, 32) for line in title.split("\n"))
    ax.set_title(lines, fontsize=9.5, fontweight="normal", loc="center")


def _made(axes: Sequence[Axes], descent: Descent) -> None:
    """The loss and the rate over the steps, side by side."""
    for ax, title, values in zip(axes, ("loss", "learning rate"), descent, strict=True):
        ax.plot(range(len(values)), values, color=plots.BLUE if title == "loss" else plots.ORANGE)
        ax.set_title(title, fontsize=9.5, fontweight="normal", loc="center")
        ax.set_xlabel("step", fontsize=9.5)
        ax.tick_params(labelsize=9)


@plots.styled
def table(names: Sequence[str], bars: Sequence[tuple[str, np.ndarray]], *, descent: Descent) -> Figure:
    """One panel of bars for each title, in deviations of the real rows: where the dream lies, and what was changed;
    below how it was made.
    """
    most = np.argsort(-np.max([np.abs(values) for _, values in bars], axis=0))[:_BARS]
    chosen = sorted(most)[::-1]  # the first feature on top
    width, height = plots.WIDTH * (1 + 0.35 * (len(bars) - 1)), 1.2 + 0.26 * len(chosen)
    fig = plots.empty(height + _CURVES, width=width)
    grid = fig.add_gridspec(2, 2, height_ratios=[height, _CURVES])
    axes = [fig.add_subplot(grid[0, i : i + 3 - len(bars)]) for i in range(len(bars))]
    _made([fig.add_subplot(grid[1, i]) for i in range(2)], descent)
    for i, (ax, (title, values)) in enumerate(zip(axes, bars, strict=True)):
        shown = values[chosen]
        ax.barh(range(len(chosen)), shown, color=[plots.BLUE if v >= 0 else plots.ORANGE for v in shown])
        ax.axvline(0, color=plots.GREY, linewidth=0.8)
        ax.set_yticks(range(len(chosen)), plots.apart([names[c] for c in chosen], 24) if i == 0 else [])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        ax.set_title(plots.plain(title, 60), fontsize=10)
        ax.set_xlabel("standard deviations" + " from the mean" * (i == 0))
    return fig
