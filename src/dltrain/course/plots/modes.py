"""A net in training mode and in evaluation mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from dltrain.insight.plots import BLUE, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def modes(accuracies: Mapping[str, Sequence[float]], chances: Mapping[str, Sequence[float]]) -> Figure:
    """By mode, for each time: the accuracy, and the probability of one row's true class."""
    fig, axes = figure(2, 1, height=6.2)
    for ax, values in zip(axes, (accuracies, chances), strict=True):
        for (name, each), colour in zip(values.items(), (ORANGE, BLUE), strict=True):
            ax.plot(range(1, len(each) + 1), each, "o", color=colour, markersize=4, label=f"{name} mode")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0].set(title="accuracy on the test part")
    axes[1].set(title="probability of one image's true class", xlabel="pass", ylim=(-0.03, 1.03))
    axes[0].legend(loc="center", bbox_to_anchor=(0.5, 0.62))
    return fig
