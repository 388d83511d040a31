"""Two choices, each with the same seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, PercentFormatter, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def pairs(accuracies: Mapping[str, Sequence[float]], interval: tuple[float, float]) -> Figure:
    """Two names with the test accuracies of the same seeds, and the 95 % interval of their mean difference in points.

    Above a line for each seed, below the differences.
    """
    fig, (above, below) = figure(2, 1, height=6.6)
    (first, left), (second, right) = ((name, np.asarray(values)) for name, values in accuracies.items())
    for one, other in zip(left, right, strict=True):
        above.plot([0, 1], [one, other], ".-", color=BLUE if one > other else ORANGE, linewidth=1.2, alpha=0.8)
    above.set(xlim=(-0.4, 1.4), title="test accuracy: a line for each seed")
    above.set_xticks([0, 1], [first, second])
    above.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    differences = 100 * (left - right)
    below.axvline(0, color=INK, linewidth=1)
    below.plot(differences, np.zeros(len(differences)), "o", color=GREY, alpha=0.6, markersize=8, label="a seed")
    mean = differences.mean()
    below.errorbar(
        mean,
        1,
        xerr=[[mean - interval[0]], [interval[1] - mean]],
        fmt="o",
        color=BLUE,
        markersize=9,
        capsize=6,
        linewidth=2.5,
        label="mean and its 95 % interval",
    )
    below.set(title=f"{first} − {second}, in points", ylim=(-0.7, 1.7), yticks=[])
    below.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2)
    return fig
