"""A regression's loss, and its weights by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, INK, ORANGE, epoch_axis, figure, plain, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def curve_and_weights(
    epochs: Sequence[float], losses: Sequence[float], names: Sequence[str], weights: np.ndarray
) -> Figure:
    """The train loss of each epoch, and below it the weights [D] of the inputs that are called `names`, by size."""
    fig, (above, below) = figure(2, 1, height=6.0)
    above.plot(epochs, losses)
    above.set(title="loss on the train part", xlabel="epoch", ylim=(0, None))
    epoch_axis(above)
    order = np.argsort(np.abs(weights))
    below.barh(
        [plain(names[i]) for i in order], weights[order], color=[BLUE if weights[i] > 0 else ORANGE for i in order]
    )
    below.axvline(0, color=INK, linewidth=0.8)
    below.set(title="weights")
    below.grid(axis="y", visible=False)
    return fig
