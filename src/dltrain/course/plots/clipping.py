"""The gradients of a run's steps before and after clipping, and clipping in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.patches import Circle, Rectangle

from dltrain.insight.plots import BLUE, GREEN, GREY, INK, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LARGEST = 1e4  # that is drawn as large as it is


class Steps(NamedTuple):
    """Of each step [N]: its number, its gradient's norm before clipping, what that was multiplied by, and its loss."""

    numbers: np.ndarray
    norms: np.ndarray
    factors: np.ndarray
    losses: np.ndarray


@styled
def norms(wild: Steps, tamed: Steps, bound: float | None) -> Figure:
    """A run that is not clipped, one that is clipped to a bound, and both losses, step by step."""
    fig, axes = figure(3, 1, height=8.4)
    before = "as back-propagation gives it"
    axes[0].plot(wild.numbers, np.minimum(wild.norms, _LARGEST), ".", color=BLUE, markersize=4)
    axes[0].set(title="norm of the gradient, not clipped")
    axes[1].plot(tamed.numbers, tamed.norms, ".", color=BLUE, markersize=4, label=before)
    after = tamed.norms * tamed.factors
    axes[1].plot(tamed.numbers, after, ".", color=ORANGE, markersize=4, label="as it is used for the step")
    axes[1].set(title="norm of the gradient, clipped")
    axes[1].legend(loc="lower left", markerscale=2, frameon=True, framealpha=0.85, edgecolor="none")
    for ax in axes[:2]:
        ax.set_yscale("log")
        if bound is not None:
            ax.axhline(bound, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    shown = [ax.get_ylim() for ax in axes[:2]]
    for ax in axes[:2]:
        ax.set_ylim(min(low for low, _ in shown), max(high for _, high in shown))
    for steps, colour, name in ((wild, GREY, "not clipped"), (tamed, GREEN, "clipped")):
        axes[2].plot(steps.numbers, np.minimum(steps.losses, 5.0), color=colour, linewidth=1.3, label=name)
    axes[2].axhline(np.log(10), color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="guessing among ten: ln 10")
    axes[2].set(title="loss of the step's rows", xlabel="step", ylim=(0, 3.6))
    axes[2].legend(loc="upper right", ncols=3, columnspacing=1.2, handlelength=1.6)
    last = max(steps.numbers.max(initial=1) for steps in (wild, tamed))
    for ax in axes:
        ax.set_xlim(0, last + 1)
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
