"""Weights of nets of one layer: as images, and sorted by their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, empty, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def images_and_sizes(nets: Mapping[str, np.ndarray], in_shape: Sequence[int], zero: float) -> Figure:
    """Of three nets the weights [K, D] by name, of inputs of shape [1, H, W]; below `zero` they count as none."""
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
    for (name, weights), colour in zip(nets.items(), (INK, ORANGE, BLUE), strict=True):
        sizes = np.sort(np.abs(weights), axis=None)[::-1]
        ax.plot(np.arange(1, len(sizes) + 1), np.maximum(sizes, zero / 100), color=colour, label=name)
    ax.axhline(zero, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    ax.text(1, zero, f"below {zero:g}: counted as zero", va="bottom", fontsize=10, color=INK)
    ax.set(yscale="log", xlabel="weights, sorted by size", ylabel="|w|", ylim=(zero / 100, None))
    ax.legend(loc="lower left")
    return fig
