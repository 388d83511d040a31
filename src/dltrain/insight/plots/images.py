"""Images in rows: as they are, and as training had them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dltrain.insight.plots import figure, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def changed(before: Tensor, after: Sequence[Tensor]) -> Figure:
    """A column for each image [n, C, H, W]: as it is on top, below what was made of it, all in the same shades."""
    every = [before, *after]
    fig, axes = figure(len(every), len(before), height=5.6 / len(before) * len(every) + 0.3)
    low, high = before.amin((1, 2, 3)), before.amax((1, 2, 3))
    for k, ax in enumerate(axes):
        row, column = divmod(k, len(before))
        pixels = (every[row][column] - low[column]) / (high[column] - low[column]).clamp(min=1e-9)
        shown = pixels.clamp(0, 1).permute(1, 2, 0).numpy()
        image(ax)
        ax.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1)
        if column == 0:
            title = "as it is" if row == 0 else f"epoch {row}"
            ax.set_title(title, fontsize=9.5, fontweight="normal", loc="left", pad=3)
    return fig
