"""Images side by side, with a name for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import figure, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def sheet(rows: Mapping[str, Sequence[np.ndarray]], *, titles: Sequence[str] = ()) -> Figure:
    """Rows of as many images each, [1 or 3, H, W] of bytes or from 0 to 1, by name; `titles` stand above the columns.

    One channel is drawn white where it is large, as ink on a blackboard.
    """
    columns = len(next(iter(rows.values())))
    fig, axes = figure(len(rows), columns, height=0.15 + 4.4 / columns * len(rows))
    for number, (name, images) in enumerate(rows.items()):
        for ax, pixels in zip(axes[number * columns :], images, strict=False):
            image(ax)
            if len(pixels) == 1:
                ax.imshow(pixels[0], cmap="gray", vmin=0, vmax=255 if pixels.dtype == np.uint8 else 1)
            else:
                ax.imshow(pixels.transpose(1, 2, 0))
        axes[number * columns].text(
            -0.1,
            0.5,
            name.replace(", ", ",\n").replace(" and ", "\nand "),
            transform=axes[number * columns].transAxes,
            ha="right",
            va="center",
        )
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=10, fontweight="normal", loc="center", pad=3)
    return fig
