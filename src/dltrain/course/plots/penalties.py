"""Weights of nets of one layer: as images, and sorted by their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, INK, ORANGE, empty, image, styled
from dltrain.insight.plots.weights import by_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def images_and_sizes(nets: Mapping[str, np.ndarray], in_shape: Sequence[int], zero: float) -> Figure:
    """Of three nets the weights [K, D] by name, of inputs of shape [1, H, W]; labels count those below `zero`."""
    fig = empty(6.2)
    (above,), (below,) = fig.subfigures(2, 1, squeeze=False, height_ratios=(1, 2))
    first = next(iter(nets.values()))
    grid = above.subplots(len(nets), len(first), gridspec_kw={"wspace": 0.04, "hspace": 0.04})
    limit = float(np.quantile(np.abs(first), 0.95))
    for row, (name, weights) in zip(grid, nets.items(), strict=True):
        for digit, ax in enumerate(row):
            image(ax)
            ax.imshow(weights[digit].reshape(in_shape[-2:]), cmap="RdBu_r", vmin=-limit, vmax=limit)
        row[0].text(-0.15, 0.5, name.replace(" ", "\n"), transform=row[0].transAxes, ha="right", va="center")
    for digit, ax in enumerate(grid[0]):
        ax.set_title(str(digit), loc="center", pad=3)
    ax = below.subplots()
    by_size(ax, nets, zero, colors=(INK, ORANGE, BLUE))
    return fig
