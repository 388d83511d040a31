"""Curves of runs that should lie on each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from dltrain.insight.plots import GREY, ORANGE, SKY, epoch_axis, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def curves(histories: Mapping[str, pl.DataFrame], *, at: float) -> Figure:
    """The validation losses of two runs, the second dashed over the first; a line at the epoch `at`."""
    fig, (ax,) = figure(height=3.8)
    for (name, history), (colour, style, width) in zip(
        histories.items(), ((SKY, "-", 6), (ORANGE, "--", 1.8)), strict=True
    ):
        seen = history.drop_nulls("val/loss")
        ax.plot(seen["epoch"].to_list(), seen["val/loss"].to_list(), style, color=colour, linewidth=width, label=name)
    ax.axvline(at, color=GREY, linewidth=1)
    ax.annotate(
        "stopped here", (at, 1), xycoords=("data", "axes fraction"), xytext=(5, -12), textcoords="offset points"
    )
    ax.set(xlabel="epoch", ylabel="loss on the validation part", ylim=(0, None))
    epoch_axis(ax)
    ax.legend()
    return fig
