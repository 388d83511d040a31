"""Points of two classes, and the straight borders of linear nets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dltrain.insight.plots import BLUE, COLOURS, INK, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def lines(x: np.ndarray, y: np.ndarray, nets: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """x [N, 2], y [N] of two classes; of each net W [K, 2], b [K], whose answers are W x + b, for K of 1 or 2."""
    fig, (ax,) = figure(height=4.2)
    for label, colour in ((0, BLUE), (1, ORANGE)):
        ax.plot(*x[y == label].T, ".", color=colour, alpha=0.5, markersize=5, label=f"class {label}")
    across = np.array([x[:, 0].min() - 0.3, x[:, 0].max() + 0.3])
    styles = ("-", "--", ":")
    for number, (name, (weight, bias)) in enumerate(nets.items()):
        w, b = (t.numpy() for t in (weight, bias))
        (a0, a1), c = (w[0], b[0]) if len(w) == 1 else (w[1] - w[0], b[1] - b[0])
        ax.plot(across, -(a0 * across + c) / a1, styles[number % 3], color=[INK, *COLOURS[2:]][number], label=name)
    ax.set(xlabel="x₁", ylabel="x₂", xlim=across, ylim=(x[:, 1].min() - 0.3, x[:, 1].max() + 0.3))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return fig
