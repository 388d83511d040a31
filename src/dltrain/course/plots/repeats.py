"""Two choices, each with the same seeds."""

from __future__ import annotations

from collections import Counter
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
    for (one, other), count in Counter(zip(left, right, strict=True)).items():
        colour = GREY if one == other else BLUE if one > other else ORANGE
        above.plot([0, 1], [one, other], color=colour, linewidth=1.3 * count, alpha=0.8)
    for at, values in enumerate((left, right)):
        for value, count in Counter(values).items():
            above.plot(at, value, "o", color=INK, markersize=4 + 2 * (count - 1), zorder=5)
    above.set(xlim=(-0.4, 1.4), title="test accuracy: a line for each seed")
    above.set_xticks([0, 1], [first, second])
    above.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    differences = 100 * (left - right)
    below.axvline(0, color=INK, linewidth=1)
    below.plot(*stacked(differences), "o", color=GREY, markersize=8, label="a seed")
    mean = differences.mean()
    below.errorbar(
        mean,
        1.3,
        xerr=[[mean - interval[0]], [interval[1] - mean]],
        fmt="o",
        color=BLUE,
        markersize=9,
        capsize=6,
        linewidth=2.5,
        label="mean and its 95 % interval",
    )
    below.set(title=f"{first} − {second}, in points", ylim=(-0.4, 1.7), yticks=[])
    below.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2)
    return fig


def stacked(values: np.ndarray, step: float = 0.2) -> tuple[list[float], list[float]]:
    """Where dots [n] along an axis stand so that equal ones lie on each other: across, and up."""
    seen: Counter[float] = Counter()
    up: list[float] = []
    for value in values.round(6).tolist():
        up.append(step * seen[value])
        seen[value] += 1
    return values.tolist(), up
