"""A net in training mode and in evaluation mode, and the loop with a line left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.ticker import PercentFormatter

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, figure, styled

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
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


@styled
def left_out(accuracies: Mapping[str, Sequence[float]]) -> Figure:
    """By what is left out of the loop: the accuracy before it begins and after each epoch."""
    fig, (ax,) = figure(height=3.4)
    for (name, values), colour, style in zip(accuracies.items(), (INK, ORANGE, GREY), ("o-", "s-", "o--"), strict=True):
        ax.plot(range(len(values)), values, style, color=colour, markersize=4, label=name)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set(xlabel="epoch", ylim=(0, 1), title="accuracy on the test part, in evaluation mode")
    fig.legend(loc="outside lower center", ncols=3)
    return fig
