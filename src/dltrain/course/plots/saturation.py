"""The slopes of cross-entropy and squared error by an output, with nets on them; and such nets on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dltrain.insight.plots import BLUE, GREEN, GREY, INK, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]  # epochs, values

_CLASSES = 10
_COLOURS = {"cross-entropy": BLUE, "squared error": ORANGE}
_DOTS = {"right": GREEN, "wrong": INK}
_DASHED = (0, (4, 3))


class Moment(NamedTuple):
    """A net after some epochs: its loss; of rows [N] ŷ of the first class, whether they are others, and wrong."""

    epoch: float
    loss: float
    said: np.ndarray
    others: np.ndarray
    wrong: np.ndarray


def reaches(name: str, said: np.ndarray) -> np.ndarray:
    """How much of the error ŷ - 0 [N] reaches the output: all of it by the cross-entropy, else times ŷ (1 - ŷ)."""
    return said * (said * (1 - said) if name == "squared error" else 1)


def _entropy(z: np.ndarray, rate: float) -> np.ndarray:
    """A step by the cross-entropy, where the other outputs are 0 and y is 0."""
    return rate * np.exp(z) / (np.exp(z) + _CLASSES - 1)


def _squared(z: np.ndarray, rate: float) -> np.ndarray:
    """A step by the mean squared error of sigmoid outputs, where y is 0."""
    s = 1 / (1 + np.exp(-z))
    return rate * 2 / _CLASSES * s * s * (1 - s)


@styled
def slopes(begin: Sequence[float], end: Sequence[float], rates: Sequence[float]) -> Figure:
    """rate * dL/dz over z where y is 0, and where two nets, of cross-entropy and of squared error, began and ended."""
    fig, axes = figure(2, 1, height=6.0)
    z = np.linspace(-8, 17, 501)
    for ax in axes:
        for k, (step, name, colour) in enumerate(
            ((_entropy, "cross-entropy", BLUE), (_squared, "squared error", ORANGE))
        ):
            ax.plot(z, step(z, rates[k]), color=colour, label=name)
            for at, mark in ((begin[k], "o"), (end[k], "s")):
                ax.plot(at, step(np.array(at), rates[k]), mark, color=colour, markersize=9)
        ax.set(ylabel="step, rate times slope")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    axes[1].set(yscale="log", ylim=(1e-8, 1), title="the same, by factors of ten")
    axes[1].set_xlabel("output z for the zero; the further right, the more wrong")
    return fig


@styled
def moment(ways: Mapping[str, Sequence[Moment]], usual: Mapping[str, Curve], number: int) -> Figure:
    """The moment of that number of nets that began sure and wrong, above their losses and accuracies until then.

    ways: of "cross-entropy" and of "squared error". usual: the accuracies of the same from a usual start.
    """
    fig, axes = figure(2, 2, height=6.2)
    for ax, (name, moments) in zip(axes, ways.items(), strict=False):
        _dots(ax, name, moments[number])
    axes[0].set_ylabel("error that gets through")
    left, right = axes[2:]
    for name, moments in ways.items():
        epochs = [each.epoch for each in moments[: number + 1]]
        left.plot(epochs, [each.loss for each in moments[: number + 1]], color=_COLOURS[name])
        right.plot(epochs, [1 - each.wrong.mean() for each in moments[: number + 1]], color=_COLOURS[name])
        right.plot(*usual[name], color=_COLOURS[name], linewidth=0.9, linestyle=_DASHED)
    losses = [each.loss for moments in ways.values() for each in moments]
    left.set(title="both losses", yscale="log", ylim=(0.7 * min(losses), 1.4 * max(losses)))
    left.yaxis.set_major_formatter("{x:g}")
    right.set(title="digits right", ylim=(0, 1.02))
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    _, moments = next(iter(ways.items()))
    for ax in (left, right):
        ax.set(xlabel=f"epoch ({moments[number].epoch:.1f})", xlim=(0, moments[-1].epoch))
    fig.legend(handles=_legend(), loc="outside lower center", ncols=3, columnspacing=1.2, handlelength=1.4)
    return fig


def _dots(ax: Axes, name: str, now: Moment) -> None:
    along = np.linspace(0, 1, 200)
    ax.plot(along, along, color=BLUE, linewidth=0.8, linestyle=":")
    ax.plot(along, reaches(name, along), color=_COLOURS[name], linewidth=1.4)
    for which, colour in zip((~now.wrong, now.wrong), _DOTS.values(), strict=True):
        at = now.said[which & now.others]
        if len(at):  # none, unclipped, would have no end, and leave the axes no room
            ax.plot(at, reaches(name, at), "o", color=colour, markersize=5, alpha=0.35, clip_on=False)
    ax.set(title=name, xlabel="ŷ of the zero", xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1))


def _legend() -> list[Line2D]:
    lines = [Line2D([], [], color=colour, label=name) for name, colour in _COLOURS.items()]
    usual = Line2D([], [], color=GREY, linewidth=0.9, linestyle=_DASHED, label="usual start")
    dots = [Line2D([], [], color=c, marker="o", linestyle="", label=f"image, {word}") for word, c in _DOTS.items()]
    return [lines[0], dots[0], lines[1], dots[1], usual]
