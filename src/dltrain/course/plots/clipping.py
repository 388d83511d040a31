"""The gradients of a run's steps before and after clipping, one of them from the side, and clipping in the plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import NullLocator, PercentFormatter

from dltrain.insight.plots import BLUE, GREEN, GREY, INK, ORANGE, figure, gradients, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"not clipped": ORANGE, "clipped": GREEN}


class Steps(NamedTuple):
    """Of each step [N]: its number, its gradient's norm before clipping, what that was multiplied by, and its loss."""

    numbers: np.ndarray
    norms: np.ndarray
    factors: np.ndarray
    losses: np.ndarray


class Side(NamedTuple):
    """The loss [N] after steps of so many lengths [N] along a gradient: its own is `whole`, and `cut` what is left."""

    lengths: np.ndarray
    losses: np.ndarray
    cut: float
    whole: float


@styled
def side(seen: Side) -> Figure:
    """The loss along a gradient, and where the step begins, where it ends, and where it would end unclipped."""
    fig, (ax,) = figure(height=3.4)
    ax.plot(seen.lengths, seen.losses, color=INK)
    for at, words, colour in (
        (0.0, "before the step", GREY),
        (seen.cut, f"clipped to {seen.cut:g}", GREEN),
        (seen.whole, "not clipped", ORANGE),
    ):
        loss = float(np.interp(at, seen.lengths, seen.losses))
        ax.plot(at, loss, "o", color=colour, markeredgecolor="white", markersize=10, zorder=5)
        right = at < seen.whole / 2
        place = {"xytext": (8 if right else -10, 7 if not at else -16 if right else -4), "textcoords": "offset points"}
        ax.annotate(f"{words}: {loss:.2g}", (at, loss), ha="left" if right else "right", color=INK, **place)
    ax.set(title="loss of the step's rows", xlabel="length of the step along −g", yscale="log")
    ax.set_ylim(bottom=0.5 * seen.losses.min())
    ax.yaxis.set_major_formatter("{x:g}")
    return fig


@styled
def norms(tamed: Steps, wild: Steps, bound: float | None, rates: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """A run that is clipped to a bound, its losses beside those of one that is not, and accuracies by rate."""
    fig, axes = figure(3, 1, height=8.4)
    gradients.before_and_after(axes[0], tamed.numbers, tamed.norms, tamed.norms * tamed.factors, bound)
    axes[0].set(title="norm of the gradient, clipped")
    for steps, name in ((wild, "not clipped"), (tamed, "clipped")):
        losses = np.minimum(steps.losses, 5.0)
        axes[1].plot(steps.numbers, losses, color=_COLOURS[name], linewidth=1.3, label=name)
    axes[1].axhline(np.log(10), color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="guessing among ten: ln 10")
    axes[1].set(title="loss of the step's rows", xlabel="step", ylim=(0, 4))
    axes[1].legend(loc="upper right")  # in one column: at the left are the first steps of both, which are long
    last = max(steps.numbers.max(initial=1) for steps in (wild, tamed))
    for ax in axes[:2]:
        ax.set_xlim(0, last + 1)
    for name, points in rates.items():
        axes[2].plot(*zip(*points, strict=True), "o-", color=_COLOURS[name], label=name)
    axes[2].set(title="test accuracy", xlabel="learning rate", xscale="log", ylim=(-0.03, 1.03))
    axes[2].set_xticks(sorted({rate for points in rates.values() for rate, _ in points}))
    axes[2].xaxis.set_major_formatter("{x:g}")
    axes[2].xaxis.set_minor_locator(NullLocator())
    axes[2].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[2].legend(loc="lower left")
    return fig


@styled
def arrows(given: np.ndarray, by_norm: np.ndarray, by_value: np.ndarray) -> Figure:
    """Gradients [N, 2], and each clipped to 1 by norm and by value, to one scale."""
    fig, axes = figure(1, 2, height=3.3)
    _arrows(axes[0], given, by_norm)
    axes[0].add_patch(Circle((0, 0), 1, fill=False, color=INK, linewidth=1, linestyle=(0, (4, 3))))
    axes[0].set_title("by norm")
    _arrows(axes[1], given, by_value)
    axes[1].add_patch(Rectangle((-1, -1), 2, 2, fill=False, color=INK, linewidth=1, linestyle=(0, (4, 3))))
    axes[1].set_title("by value")
    return fig


def _arrows(ax: Axes, before: np.ndarray, after: np.ndarray) -> None:
    zeros = np.zeros(len(before))
    whole = {"angles": "xy", "scale_units": "xy", "scale": 1}
    ax.quiver(zeros, zeros, *before.T, color=BLUE, alpha=0.3, width=0.012, **whole)
    ax.quiver(zeros, zeros, *after.T, color=ORANGE, width=0.016, **whole)
    far = 1.08 * np.abs(before).max()
    ax.set(xlabel="g₁", ylabel="g₂", xlim=(-far, far), ylim=(-far, far), aspect="equal", xticks=(-1, 0, 1))
    ax.set_yticks((-1, 0, 1))
