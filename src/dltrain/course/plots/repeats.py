"""Two choices, each with the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, GREY, ORANGE, PercentFormatter, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def pairs(accuracies: Mapping[str, Sequence[float]]) -> Figure:
    """Two names with the test accuracies of the same seeds: a line for each seed, and means with deviations."""
    fig, (ax,) = figure(height=4.0)
    left, right = (np.asarray(values) for values in accuracies.values())
    for one, other in zip(left, right, strict=True):
        ax.plot([0, 1], [one, other], ".-", color=GREY, linewidth=1, alpha=0.8)
    for place, values, colour in ((-0.12, left, BLUE), (1.12, right, ORANGE)):
        ax.errorbar(place, values.mean(), values.std(ddof=1), fmt="o", color=colour, markersize=9, capsize=4)
        text = f"{values.mean():.1%}\n± {values.std(ddof=1):.1%}"
        ax.annotate(
            text,
            (place, values.mean()),
            xytext=(14 if place > 0 else -14, 0),
            textcoords="offset points",
            ha="left" if place > 0 else "right",
            va="center",
        )
    ax.set(xlim=(-0.75, 1.75), ylabel="test accuracy")
    ax.set_xticks([0, 1], list(accuracies))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    return fig
