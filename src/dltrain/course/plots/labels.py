"""Labels that may hold at once: the border of each in the plane, and what nets say of some points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.lines import Line2D
from torch import nn

from dltrain.insight.plots import GREY, INK, PALE, colours, empty, plain, regions, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FINE = 140  # answers along each side


@styled
def moment(
    net: nn.Module, scene: regions.Scene, x: np.ndarray, y: np.ndarray, said: Mapping[str, np.ndarray], *, title: str
) -> Figure:
    """The borders of each output of `net` over the scene, and below them ŷ [M, K] of each net for M points.

    x [M, 2], y [M, K]: the points and their labels. said: what a row of bars is called, and its ŷ.
    """
    fig = empty(8.0)
    grid = fig.add_gridspec(1 + len(said), len(x), height_ratios=[3.4, *[1.0] * len(said)])
    above = fig.add_subplot(grid[0, :])
    _plane(above, net, scene)
    above.set_title(title, loc="right")
    for number, place in enumerate(x):
        spot = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": INK}
        above.text(
            place[0], place[1], _letter(number), ha="center", va="center", fontweight="bold", bbox=spot, zorder=6
        )
    for row, (name, shares) in enumerate(said.items(), 1):
        for column in range(len(x)):
            ax = fig.add_subplot(grid[row, column])
            _bars(ax, shares[column], y[column], scene.classes if row == len(said) else ())
            if row == 1:
                ax.set_title(_letter(column), loc="center")
            ax.set_yticklabels(["0", "½", "1"] if column == 0 else [])
            if column == 0:
                ax.set_ylabel(name)
    return fig


def _letter(number: int) -> str:
    return chr(ord("A") + number)


def _plane(ax: Axes, net: nn.Module, scene: regions.Scene) -> None:
    points, truth = scene.x.numpy(), scene.y.numpy() > 0.5
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    low, high = low - 0.2, high + 0.2
    across, up = (np.linspace(a, b, _FINE, dtype=np.float32) for a, b in zip(low, high, strict=True))
    with torch.no_grad():
        places = torch.from_numpy(np.stack(np.meshgrid(across, up), -1).reshape(-1, 2))
        outputs = net(places).reshape(_FINE, _FINE, -1).numpy()
        right = ((net(scene.x).numpy() > 0) == truth).all(1)
    ax.plot(*points[right].T, ".", color=GREY, alpha=0.35, markersize=4)
    ax.plot(*points[~right].T, "x", color=INK, alpha=0.45, markersize=4)
    for label, colour in enumerate(colours(outputs.shape[-1])):
        z = outputs[..., label]
        if z.min() < 0 < z.max():
            ax.contour(across, up, z, levels=[0], colors=[colour], linewidths=2.4)
    lines = [
        Line2D([], [], color=colour, linewidth=2.4, label=plain(name, 16))
        for name, colour in zip(scene.classes, colours(outputs.shape[-1]), strict=False)
    ]
    ax.legend(handles=lines, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.1, columnspacing=1)
    ax.set(xlabel="x₁", ylabel="x₂", xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.grid(False)


def _bars(ax: Axes, shares: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> None:
    at = np.arange(len(shares))
    ax.bar(at, shares, color=list(colours(len(shares))), width=0.7)
    ax.plot(at, labels, "o", color=INK, markerfacecolor="white", markersize=6, clip_on=False, zorder=5)
    ax.axhline(0.5, color=PALE, linewidth=0.8)
    ax.set(ylim=(0, 1.08), yticks=(0, 0.5, 1), xticks=at, xlim=(-0.6, len(shares) - 0.4))
    ax.set_xticklabels([plain(name, 8) for name in names] or [""] * len(shares), fontsize=8.5)
    ax.tick_params(axis="x", length=0, pad=5)
    ax.grid(False)
