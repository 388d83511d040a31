"""Outputs, probabilities and their gradient for one image, as a film; and the loss as a function of the probability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dltrain.insight.plots import BLUE, GREEN, GREY, INK, ORANGE, empty, figure, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def film(moments: Iterable[tuple[int, Tensor]], picture: np.ndarray, k: int) -> Iterator[Figure]:
    """Of each step the outputs z [K] for an image [..., H, W] of class k."""
    kept = list(moments)
    reach = 1.1 * max(float(z.abs().max()) for _, z in kept)
    for step, z in kept:
        yield _frame(step, z, picture, k, reach)


@styled
def _frame(step: int, z: Tensor, picture: np.ndarray, k: int, reach: float) -> Figure:
    fig = empty(5.4)
    fig.set_layout_engine("none")  # which would measure each frame anew
    places = {"left": 0.01, "right": 0.99, "bottom": 0.05, "top": 0.95, "hspace": 0.42, "wspace": 0.22}
    grid = fig.add_gridspec(3, 2, width_ratios=(1, 2.6), **places)
    shown = fig.add_subplot(grid[0, 0])
    shown.imshow(picture.reshape(picture.shape[-2:]), cmap="gray_r")
    image(shown)
    p = z.softmax(0).numpy()
    y = np.eye(len(p))[k]
    words = fig.add_subplot(grid[1:, 0])
    image(words)
    words.text(0, 0.98, f"step {step}\n\np({k}) = {p[k]:.3f}\n\nL = -log p({k})\n   = {-np.log(p[k]):.2f}", va="top")
    colours = [GREEN if i == k else GREY for i in range(len(p))]
    for row, (values, title, limits) in enumerate(
        (
            (z.numpy(), "outputs z", (-reach, reach)),
            (p, "p = softmax(z), and y (line)", (0, 1.05)),
            (p - y, "gradient p - y", (-1.05, 1.05)),
        )
    ):
        ax = fig.add_subplot(grid[row, 1])
        ax.bar(range(len(p)), values, color=colours)
        if row == 1:
            ax.step(np.arange(len(p) + 2) - 1, [0, *y, 0], where="mid", color=INK, linewidth=1)
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.set(title=title, ylim=limits, xticks=range(len(p)), xlim=(-0.6, len(p) - 0.4))
        ax.grid(axis="x", visible=False)
    return fig


@styled
def curve(before: np.ndarray, after: np.ndarray, classes: int) -> Figure:
    """-log p, with the probability [N] of each image's right class on it before and after learning."""
    fig, (ax, below) = figure(2, 1, height=5.4)
    along = np.geomspace(2e-4, 1, 500)
    ax.plot(along, -np.log(along), color=INK, zorder=1)
    for p, colour, name in ((before, ORANGE, "before"), (after, BLUE, "after")):
        ax.plot(p, -np.log(p), "o", color=colour, alpha=0.35, markersize=5, markeredgewidth=0, label=f"{name} learning")
    ax.axvline(1 / classes, color=GREY, linestyle=":")
    ax.set(ylabel="L = -log p", xlim=(-0.02, 1.02))
    ax.legend()
    for p, colour in ((before, ORANGE), (after, BLUE)):
        below.hist(p, bins=25, range=(0, 1), color=colour, alpha=0.75)
    below.set(xlabel="probability p of the right class", ylabel="test images", xlim=(-0.02, 1.02))
    return fig
