"""A regression's losses from several starts, and its weights by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, INK, ORANGE, epoch_axis, figure, plain, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]  # epochs, and the loss at each


@styled
def curves_and_weights(
    curves: Sequence[Curve], lowest: float, names: Sequence[str], weights: np.ndarray, best: np.ndarray
) -> Figure:
    """The train loss of each start above the lowest that there is, and below the weights [starts, D] of the inputs that
    are called `names`, by size, beside the best ones [D].
    """
    fig, (above, below) = figure(2, 1, height=6.4)
    for epochs, losses in curves:
        above.plot(epochs, losses, color=BLUE, alpha=0.6, linewidth=1.5)
    above.axhline(lowest, color=INK, linestyle="--", linewidth=1.2)
    above.text(curves[0][0][-1], lowest * 0.93, "least squares", ha="right", va="top", fontsize=11)
    above.set(title="loss on the train part", xlabel="epoch", ylim=(0, None))
    epoch_axis(above)
    order = np.argsort(np.abs(best))
    places = np.arange(len(names))
    span = weights[:, order]
    below.hlines(places, span.min(0), span.max(0), color=ORANGE, linewidth=6, alpha=0.35)
    for start in span:
        below.plot(start, places, "o", color=BLUE, markersize=5, alpha=0.6, label="_")
    below.plot(best[order], places, "o", markersize=10, markerfacecolor="none", markeredgecolor=INK)
    below.set_yticks(places, [plain(names[i]) for i in order])
    below.axvline(0, color=INK, linewidth=0.8)
    below.set(title="weights of each start, and of least squares (rings)")
    return fig
