"""A perceptron in the plane: its mistakes by epoch, and its border with the arrow w, before and after a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dltrain.insight.plots import BLUE, INK, figure, styled

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dltrain.insight.plots.regions import Also, Scene

Plane = tuple[Tensor, float]  # w [2] and b of f(x) = <w, x> + b, as the net sees x
_ARROW = 0.2  # of the picture's height
_NUMBERED = 20  # bars that have room for their number


@styled
def counts(mistakes: Sequence[tuple[float, int]]) -> Figure:
    """The mistakes of each report, (epoch at its end, number) each."""
    fig, (ax,) = figure(height=2.7)
    epochs, numbers = zip(*mistakes, strict=True)
    width = 0.7 * min((b - a for a, b in pairwise(epochs)), default=1.0)
    bars = ax.bar(epochs, numbers, width=width, color=BLUE)
    if len(numbers) <= _NUMBERED:
        ax.bar_label(bars, labels=[f"{n:,}" for n in numbers], padding=2, fontsize=10)
    ax.set(xlabel="epoch", ylabel="mistakes", xlim=(epochs[0] - width, epochs[-1] + width))
    ax.set_ylim(0, 1.15 * max(1, *numbers))
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.grid(axis="x", visible=False)
    return fig


def arrow(scene: Scene, plane: Plane, *, before: Plane | None = None, wrong: Tensor | None = None) -> Also:
    """What draws w as an arrow from the border, at a right angle to it; the border before a mistake dashed, and a ring
    around the row [2] that was wrong.
    """

    def draw(ax: Axes) -> None:
        low, high = ax.get_ylim()
        drawn: list[Artist] = []
        if before is not None and (old := _border(scene, before)) is not None:
            (x, y), (u, v) = old
            drawn += [ax.axline((x, y), (x - v, y + u), color=INK, linestyle=(0, (4, 3)), linewidth=1.2)]
        if (new := _border(scene, plane)) is not None:
            (x, y), (u, v) = new
            length = _ARROW * (high - low)
            tip, name = ((x + k * u, y + k * v) for k in (length, length + 0.04 * (high - low)))
            halo = [withStroke(linewidth=5, foreground="white", alpha=0.8)]
            look: dict[str, object] = {"arrowstyle": "-|>", "color": INK, "linewidth": 2, "mutation_scale": 16}
            look |= {"shrinkA": 0, "shrinkB": 0, "path_effects": halo}
            drawn += [ax.annotate("", tip, (x, y), arrowprops=look, zorder=6, annotation_clip=True)]
            letter = {"ha": "center", "va": "center", "fontweight": "bold"}
            drawn += [ax.text(*name, "w", zorder=6, clip_on=True, path_effects=halo, **letter)]
        if wrong is not None:
            x, y = (scene.original(wrong.numpy(), axis)[axis] for axis in (0, 1))
            ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 2}
            drawn += ax.plot(x, y, "o", markersize=17, zorder=7, **ring)
        for artist in drawn:
            artist.set_in_layout(False)  # what lies outside the picture may not make it smaller

    return draw


def _border(scene: Scene, plane: Plane) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The point of the border that is nearest to the middle of the data, and the unit vector along w, in the data's own
    units; None for weights of zero, which have none.
    """
    mean, std = np.array(scene.units).T
    w = plane[0].double().numpy() / std
    if not w.any():
        return None
    middle = scene.x.double().mean(0).numpy() * std + mean
    f = w @ (middle - mean) + plane[1]
    (x, y), (u, v) = (middle - f / (w @ w) * w).tolist(), (w / np.linalg.norm(w)).tolist()
    return (x, y), (u, v)
