"""Units that are dropped, the net that is left, and what becomes of the losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, PALE, empty, figure, image, regions, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def moment(
    masks: Sequence[np.ndarray], nets: Mapping[str, nn.Module], whole: nn.Module, scene: regions.Scene, *, title: str
) -> Figure:
    """Which units of each hidden layer work, [D] each, above the answers of two nets by title.

    The border of the `whole` net is dashed in both.
    """
    fig = empty(5.6)
    grid = fig.add_gridspec(2, 2, height_ratios=(1, 1.35))
    above = fig.add_subplot(grid[0, :])
    _units(above, masks)
    above.set_title(title)
    for column, (name, net) in enumerate(nets.items()):
        ax = fig.add_subplot(grid[1, column])
        regions.areas(ax, net, scene)
        regions.border(ax, whole, scene, color=INK, linestyle=(0, (4, 3)))
        ax.set(xlabel=name, ylabel="", xticks=[], yticks=[])
        if legend := ax.get_legend():
            legend.remove()
    return fig


def _units(ax: Axes, masks: Sequence[np.ndarray]) -> None:
    """A square of dots for each layer, between the inputs and the answer."""
    image(ax)
    ax.set_aspect("equal")
    at = 0.0
    for number, mask in enumerate(masks, 1):
        side = math.ceil(math.sqrt(len(mask)))
        down, across = np.divmod(np.arange(len(mask)), side)
        places = np.stack([at + 0.15 + across / max(side - 1, 1) * 1.2, 1.2 - down / max(side - 1, 1) * 1.2])
        size = min(60.0, 1700 / side**2)
        ax.scatter(*places[:, ~mask], s=size, color=PALE)
        ax.scatter(*places[:, mask], s=size, color=BLUE)
        words = f"layer {number}: {int(mask.sum())} of {len(mask)}"
        ax.text(at + 0.75, -0.12, words, ha="center", va="top", fontsize=10)
        ax.annotate("", (at + 0.06, 0.6), (at - 0.3, 0.6), arrowprops={"arrowstyle": "->", "color": GREY})
        at += 1.8
    ax.annotate("", (at + 0.06, 0.6), (at - 0.3, 0.6), arrowprops={"arrowstyle": "->", "color": GREY})
    ax.text(-0.34, 0.6, "x", ha="right", va="center")
    ax.text(at + 0.1, 0.6, "ŷ", ha="left", va="center")
    ax.set(xlim=(-0.5, at + 0.3), ylim=(-0.35, 1.3))


@styled
def losses(runs: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Of two runs by name the epochs, train losses and validation losses, as one panel for each part."""
    fig, axes = figure(2, 1, height=5.2)
    for ax, part, title in zip(axes, (1, 2), ("on the points that it trains on", "on other points"), strict=True):
        for (name, columns), colour in zip(runs.items(), (INK, ORANGE), strict=True):
            ax.plot(columns[0], columns[part], color=colour, label=name)
        ax.set(title=f"loss {title}", ylim=(0, None))
    axes[0].legend(loc="upper right", ncols=2)
    axes[-1].set_xlabel("epoch")
    return fig
