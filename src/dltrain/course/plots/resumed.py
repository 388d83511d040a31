"""Curves of runs that should lie on each other, and of one that should not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dltrain.insight.plots import BLUE, GREY, ORANGE, SKY, epoch_axis, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOKS = ((SKY, "-", 6.0), (ORANGE, "--", 1.8), (BLUE, ":", 2.2))


@styled
def curves(losses: Mapping[str, Sequence[tuple[float, float]]], *, at: float) -> Figure:
    """The validation losses (epoch, loss) of three runs, the second dashed over the first, and below how far they are
    from those of the first; a line at the epoch `at`.
    """
    fig, (ax, below) = figure(2, 1, height=5.4)
    first = dict(next(iter(losses.values())))
    for (name, points), (colour, style, width) in zip(losses.items(), _LOOKS, strict=True):
        ax.plot(*zip(*points, strict=True), linestyle=style, color=colour, linewidth=width, label=name)
        apart = [(epoch, loss - first[epoch]) for epoch, loss in points if epoch in first]
        below.plot(*zip(*apart, strict=True), linestyle=style, color=colour, linewidth=width)
    for panel in (ax, below):
        panel.axvline(at, color=GREY, linewidth=1)
        epoch_axis(panel)
    ax.annotate(
        "stopped here", (at, 1), xycoords=("data", "axes fraction"), xytext=(5, -12), textcoords="offset points"
    )
    ax.set(ylabel="validation loss", ylim=(0, None))
    below.set(xlabel="epoch", ylabel="less that of the first")
    ax.legend()
    return fig
