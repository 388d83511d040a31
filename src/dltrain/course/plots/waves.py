"""Curves as sums of their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dltrain.insight.plots import COLOURS, GREY, INK, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """What a net answers along its one input [A], and each of its units, times its weight of layer 2 [A, units]."""

    answer: np.ndarray
    units: np.ndarray


@styled
def sums(
    along: np.ndarray,
    curves: Sequence[Curve],
    line: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    most: float,
    title: str,
) -> Figure:
    """Above each net's answers at the places `along` [A] among the points x [N], y [N], with those of a linear layer;
    below, between -most and most, the units of which they are the sum.
    """
    fig, axes = figure(2, len(curves), height=4.6)
    for ax, curve in zip(axes, curves, strict=False):
        ax.plot(x, y, ".", color=GREY, alpha=0.35, markersize=3, markeredgewidth=0, rasterized=True)
        ax.plot(along, line, "--", color=ORANGE, label="linear layer", linewidth=1.4)
        ax.plot(along, curve.answer, color=INK, label="the class, a sum of its tanh units")
        units = curve.units.shape[1]
        ax.set(title=f"{units} unit{'s' * (units > 1)}", ylim=(-2.1, 2.1), xticks=(-1, 0, 1), xticklabels=())
    for ax, curve in zip(axes[len(curves) :], curves, strict=True):
        for values, colour in zip(curve.units.T, (COLOURS[0], *COLOURS[2:]), strict=False):
            ax.plot(along, values, color=colour)
        ax.set(ylim=(-most, most), xticks=(-1, 0, 1), xlabel="x")
    for ax in (*axes[1 : len(curves)], *axes[len(curves) + 1 :]):
        ax.set_yticklabels(())
    axes[0].set_ylabel("ŷ")
    axes[len(curves)].set_ylabel("w²ᵢ tanh(aᵢ)")
    fig.suptitle(title, x=0.99, ha="right", fontsize=11.5, weight="bold")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig
