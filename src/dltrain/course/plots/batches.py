"""Batches of images, as a net gets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dltrain.data.loaders import Batch
from dltrain.insight.plots import empty, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 8


@styled
def rows(batches: Mapping[str, Batch]) -> Figure:
    """The first images [1, H, W] of each batch in a row below its name, with their numbers."""
    fig = empty(1.25 * len(batches))
    for part, (name, batch) in zip(fig.subfigures(len(batches), 1, squeeze=False)[:, 0], batches.items(), strict=True):
        part.suptitle(name, x=0.01, ha="left", fontsize=11, fontweight="bold")
        low, high = float(batch.x.min()), float(batch.x.max())
        for ax, pixels, number in zip(part.subplots(1, _SHOWN), batch.x, batch.index.tolist(), strict=False):
            image(ax)
            ax.imshow(pixels[0].cpu().numpy(), cmap="gray", vmin=low, vmax=high)
            ax.set_title(f"{number}", fontsize=9, fontweight="normal", loc="center")
    return fig
