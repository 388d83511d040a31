"""What two nets answer along one input, the others at their means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, GREY, ORANGE, figure, plain, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = tuple[str, np.ndarray, np.ndarray, np.ndarray]  # the input's name, two nets' answers [A], its values [N]


@styled
def slices(along: np.ndarray, panels: Sequence[Panel]) -> Figure:
    """Of each input the answers of a net of one's own and of a linear layer at the places `along` [A]."""
    rows = -(-len(panels) // 2)
    fig, axes = figure(rows, 2, height=0.5 + 2.2 * rows)
    most = 1.1 * max(np.abs(values).max() for _, own, linear, _ in panels for values in (own, linear))
    for ax, (name, own, linear, values) in zip(axes, panels, strict=False):
        ax.plot(along, linear, "--", color=ORANGE, label="linear layer")
        ax.plot(along, own, color=BLUE, label="Linear-Tanh-Linear")
        ax.plot(values, np.full(len(values), -0.96 * most), "|", color=GREY, alpha=0.35, markersize=7)
        ax.set(title=plain(name), xlim=(along[0], along[-1]), ylim=(-most, most))
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    fig.supylabel("answer, in deviations", fontsize=11)
    fig.supxlabel("measurement, in deviations", fontsize=11)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return fig
