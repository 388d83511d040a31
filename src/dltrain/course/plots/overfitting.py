"""A net's answers at one moment of its training, above both losses up to then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, figure, regions, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"train": "on the points it trains on", "val": "on other points (validation)"}


@styled
def moment(
    net: nn.Module,
    scene: regions.Scene,
    epochs: Sequence[float],
    losses: Mapping[str, Sequence[float]],
    *,
    at: float,
    kept: float,
) -> Figure:
    """The answers of `net` over the scene after `at` epochs, and below them the losses until then.

    epochs [R], losses [R] by name. kept: the epoch that early stopping kept. The axes are those of all epochs.
    """
    fig, (above, below) = figure(2, 1, height=6.8)
    regions.areas(above, net, scene)
    above.set_title(f"epoch {at:.1f}" if at < 3 else f"epoch {at:.0f}", loc="right")
    above.set(xlabel="", ylabel="")
    seen = [n for n, epoch in enumerate(epochs) if epoch <= at]
    for (name, values), colour in zip(losses.items(), (BLUE, ORANGE), strict=True):
        below.plot([epochs[n] for n in seen], [values[n] for n in seen], color=colour, label=name)
    below.axvline(kept, color=GREY, linestyle=(0, (4, 3)), linewidth=1, label="kept by early stopping")
    most = max(max(values) for values in losses.values())
    below.set(ylabel="loss", xlabel="epoch", xlim=(0, max(epochs)), ylim=(0, 1.05 * most))
    below.plot([at], [0], "^", color=INK, clip_on=False, markersize=6, zorder=5)
    fig.legend(*below.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1.2)
    return fig
