"""The picture of a learning rate range test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain.insight import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plots.styled
def draw(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    start: float,
    edge: float | None,
    suggested: float | None,
) -> Figure:
    """The loss of each step against its rate, their running mean, the first loss, the edge and the suggestion."""
    fig, (ax,) = plots.figure()
    ax.scatter(rates, losses, s=7, color=plots.SKY, alpha=0.5, linewidths=0, label="one step")
    ax.plot(rates, smooth, color=plots.BLUE, label="mean of neighbours")
    ax.axhline(start, color=plots.GREY, linewidth=0.9, linestyle=":")
    if edge is not None:
        text = f"back at its start, {edge:.2g}"
        ax.axvline(edge, color=plots.ORANGE, linewidth=1.2, linestyle="--", label=text)
    if suggested is not None:
        ax.axvline(suggested, color=plots.GREEN, linewidth=1.6, label=f"suggested, {suggested:g}")
    lowest = min(smooth)
    if lowest < start:
        spread = max(start - lowest, 0.1 * abs(start))
        ax.set_ylim(lowest - 0.15 * spread, start + 0.4 * spread)  # what lies above is lost anyway
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning rate range test")
    ax.legend(loc="lower left" if lowest < start else "best")
    return fig
