"""An image that is learned, beside its loss and its rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dltrain.insight.plots import BLUE, INK, ORANGE, empty, image, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LOWEST = 1e-6  # that is told apart from nothing


@styled
def moment(
    pixels: Tensor, title: str, losses: Mapping[str, Sequence[float]], rates: Mapping[str, Sequence[float]], *, at: int
) -> Figure:
    """pixels [1, H, W] from 0 to 1 after `at` steps of the first of two ways; the losses of both, above the lowest, and
    their rates, with a dot where each is.
    """
    fig = empty(3.9)
    grid = fig.add_gridspec(2, 2, width_ratios=[1, 1.15], height_ratios=[1.7, 1])
    shown = fig.add_subplot(grid[:, 0])
    image(shown, frame=True)
    shown.imshow(pixels[0].numpy(), cmap="gray", vmin=0, vmax=1)
    shown.set_title(title, loc="center")
    for row, (name, ways) in enumerate((("loss above the lowest", losses), ("learning rate", rates))):
        ax = fig.add_subplot(grid[row, 1])
        for (label, values), colour in reversed([*zip(ways.items(), (BLUE, ORANGE), strict=True)]):
            values = values if row else [max(value, _LOWEST) for value in values]
            ax.plot(range(len(values)), values, color=colour, label=label, linewidth=1.4)
            now = min(at, len(values) - 1)
            ax.plot([now], [values[now]], "o", color=colour, markeredgecolor=INK, markersize=8, zorder=5)
        ax.set_title(name)
        ax.set_xlabel("step" if row else "")
        if not row:
            ax.set_yscale("log")
            ax.legend(loc="upper right", reverse=True)
    return fig
