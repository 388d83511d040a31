"""An image that is learned, beside its loss and its rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dltrain.insight.plots import BLUE, INK, ORANGE, empty, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def moment(pixels: Tensor, title: str, losses: Sequence[float], rates: Sequence[float], *, at: int) -> Figure:
    """pixels [1, H, W] from 0 to 1 after `at` steps; the loss and the rate of all steps, with a dot where it is."""
    fig = empty(3.3)
    grid = fig.add_gridspec(2, 2, width_ratios=[1.15, 1])
    shown = fig.add_subplot(grid[:, 0])
    image(shown)
    shown.imshow(pixels[0].numpy(), cmap="gray", vmin=0, vmax=1)
    shown.set_title(title, loc="center")
    for row, (name, values, colour) in enumerate((("loss", losses, BLUE), ("learning rate", rates, ORANGE))):
        ax = fig.add_subplot(grid[row, 1])
        ax.plot(range(len(values)), values, color=colour)
        now = min(at, len(values) - 1)
        ax.plot([now], [values[now]], "o", color=colour, markeredgecolor=INK, markersize=8)
        ax.set_title(name)
        ax.set_xlabel("step" if row else "")
    return fig
