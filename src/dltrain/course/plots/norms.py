"""What norms do: over which numbers each takes its mean, and how well the inputs of each layer can be learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from dltrain.insight.plots import BLUE, GREEN, ORANGE, empty, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"none": ORANGE, "batch": BLUE, "layer": GREEN}
_REACH = 2.5  # activations that have the full colour
_NAMES = {"none": "without", "batch": "BatchNorm", "layer": "LayerNorm"}


@styled
def over_what(panels: Mapping[str, np.ndarray]) -> Figure:
    """Activations [rows, units] by title, with the mean of each unit below and of each row to the right."""
    fig = empty(2.7 * len(panels))
    grid = fig.add_gridspec(2 * len(panels), 2, width_ratios=[6, 1], height_ratios=[8, 2] * len(panels))
    for number, (title, values) in enumerate(panels.items()):
        ax = fig.add_subplot(grid[2 * number, 0])
        ax.imshow(values, cmap="RdBu_r", vmin=-_REACH, vmax=_REACH, aspect="auto", interpolation="nearest")
        ax.set(title=title, ylabel="rows", xticks=[], yticks=[])
        ax.grid(False)
        below, beside = fig.add_subplot(grid[2 * number + 1, 0]), fig.add_subplot(grid[2 * number, 1])
        rows, units = values.shape
        below.bar(range(units), values.mean(0), color=BLUE)
        below.set(xlim=(-0.5, units - 0.5), ylim=(-2, 2), xticks=[], yticks=[], xlabel="mean of each unit")
        beside.barh(range(rows), values.mean(1), color=ORANGE)
        beside.set(ylim=(rows - 0.5, -0.5), xlim=(-1, 1), xticks=[], yticks=[], xlabel="mean of\neach row")
        below.axhline(0, color=BLUE, linewidth=0.8)
        beside.axvline(0, color=ORANGE, linewidth=0.8)
        for each in (below, beside):
            each.grid(False)
    return fig


@styled
def conditions_and_rates(
    conditions: Mapping[str, Sequence[float]], rates: Mapping[str, tuple[Sequence[float], Sequence[float]]]
) -> Figure:
    """By norm the condition number of each layer after the first, and the accuracies [R] at learning rates [R]."""
    fig, (above, below) = figure(2, 1, height=6.4)
    for norm, numbers in conditions.items():
        layers = range(2, len(numbers) + 2)
        above.plot(layers, numbers, ".-", color=_COLOURS.get(norm), label=_NAMES.get(norm, norm), markersize=9)
    above.set(title="condition number κ of each layer's inputs", xlabel="layer", yscale="log", ylim=(10, None))
    above.set_xticks(range(2, 2 + max(map(len, conditions.values()))))
    above.legend(loc="upper left")
    for norm, (sizes, accuracies) in rates.items():
        below.plot(sizes, accuracies, ".-", color=_COLOURS.get(norm), label=_NAMES.get(norm, norm), markersize=9)
    below.set(title="test accuracy", xlabel="learning rate", xscale="log", ylim=(0, 1.02))
    below.yaxis.set_major_formatter(PercentFormatter(1.0))
    return fig
