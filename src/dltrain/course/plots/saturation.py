"""The slopes of cross-entropy and squared error by an output, with nets on them; and the accuracies of such nets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import PercentFormatter

from dltrain.insight.plots import BLUE, ORANGE, epoch_axis, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLASSES = 10


def _entropy(a: np.ndarray, rate: float) -> np.ndarray:
    """A step by the cross-entropy, where the other outputs are 0 and y is 0."""
    return rate * np.exp(a) / (np.exp(a) + _CLASSES - 1)


def _squared(a: np.ndarray, rate: float) -> np.ndarray:
    """A step by the mean squared error of sigmoid outputs, where y is 0."""
    s = 1 / (1 + np.exp(-a))
    return rate * 2 / _CLASSES * s * s * (1 - s)


@styled
def slopes(begin: Sequence[float], end: Sequence[float], rates: Sequence[float]) -> Figure:
    """rate * dL/da over a where y is 0, and where two nets, of cross-entropy and of squared error, began and ended."""
    fig, axes = figure(2, 1, height=6.0)
    a = np.linspace(-12, 12, 481)
    for ax in axes:
        for k, (step, name, colour) in enumerate(
            ((_entropy, "cross-entropy", BLUE), (_squared, "squared error", ORANGE))
        ):
            ax.plot(a, step(a, rates[k]), color=colour, label=name)
            for at, mark in ((begin[k], "o"), (end[k], "s")):
                ax.plot(at, step(np.array(at), rates[k]), mark, color=colour, markersize=9)
        ax.set(ylabel="step, rate times slope")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    axes[1].set(yscale="log", ylim=(1e-7, 1), title="the same, by factors of ten")
    axes[1].set_xlabel("output a for the zero; the further right, the more wrong")
    return fig


@styled
def accuracies(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """The validation accuracy of nets over the epochs: those that begin sure and wrong are dashed."""
    fig, (ax,) = figure(height=4.0)
    for name, (epochs, values) in curves.items():
        style = "--" if "wrong" in name else "-"
        ax.plot(epochs, values, style, color=ORANGE if name.startswith("squared") else BLUE, label=name)
    ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    epoch_axis(ax)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    return fig
