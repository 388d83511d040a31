"""Descent in the valley of a squared error: as the data come, centred, and scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, COLOURS, GREEN, GREY, INK, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEPS = 30
_SHARE = 0.9  # of the largest stable rate


@styled
def contours(kinds: Mapping[str, np.ndarray], y: np.ndarray, names: Sequence[str]) -> Figure:
    """Of each kind of inputs [N, 2] of targets y [N] the squared error over the two weights, and a descent from zero.

    The bias is held where it is best, so that each kind has the same lowest error. The last panel has the loss
    of each above its lowest, step by step.
    """
    fig, axes = figure(2, 2, height=6.2)
    for ax, (kind, x), colour in zip(axes, kinds.items(), (ORANGE, BLUE, GREEN), strict=False):
        centred = x - x.mean(0)
        curvature, lowest = 2 * x.T @ x / len(x), np.linalg.solve(centred.T @ centred, centred.T @ y)
        values = np.linalg.eigvalsh(curvature)
        way = _descend(curvature, lowest, _SHARE * 2 / values[-1])
        _valley(ax, curvature, lowest, way, colour)
        ax.set(title=f"{kind}: κ = {values[-1] / values[0]:.3g}", xlabel=names[0], ylabel=names[1])
        away = way - lowest
        axes[3].plot(np.einsum("ni,ij,nj->n", away, curvature, away) / 2, color=colour, label=kind)
    axes[3].set(title="loss above the lowest", xlabel="step", yscale="log", ylim=(1e-6, None))
    axes[3].legend(loc="best", handlelength=1)
    return fig


def _descend(curvature: np.ndarray, lowest: np.ndarray, rate: float) -> np.ndarray:
    """The weights [steps + 1, 2] from zero."""
    way = [np.zeros(2)]
    for _ in range(_STEPS):
        way.append(way[-1] - rate * curvature @ (way[-1] - lowest))
    return np.array(way)


def _valley(ax: Axes, curvature: np.ndarray, lowest: np.ndarray, way: np.ndarray, colour: str) -> None:
    """Contours of equal scale around the lowest point, each of twice the loss of the one inside."""
    reach = 1.35 * np.abs(way - lowest).max()
    sides = np.linspace(-reach, reach, 161)
    across, up = np.meshgrid(sides, sides)
    loss = (curvature[0, 0] * across**2 + 2 * curvature[0, 1] * across * up + curvature[1, 1] * up**2) / 2
    levels = loss.max() * 0.5 ** np.arange(9, -1, -1.0)
    ax.contour(lowest[0] + across, lowest[1] + up, loss, levels=levels, colors=GREY, linewidths=0.7)
    ax.plot(*way.T, ".-", color=colour, linewidth=1.3, markersize=4)
    ax.plot(*way[0], "o", color="white", markeredgecolor=INK, markersize=7)
    ax.plot(*lowest, "*", color=colour, markeredgecolor=INK, markersize=13)
    ax.set_aspect("equal")
    ax.locator_params(nbins=4)
    ax.grid(False)


@styled
def rates(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]) -> Figure:
    """Of each title the train loss over the steps, a line for each learning rate."""
    fig, axes = figure(len(panels), 1, height=3.1 * len(panels))
    for ax, (title, lines) in zip(axes, panels.items(), strict=True):
        for (name, (steps, losses)), colour in zip(lines.items(), (BLUE, GREEN, ORANGE, *COLOURS[3:]), strict=False):
            ax.plot(steps, losses, color=colour, label=name)
        ax.set(title=title, xscale="log", yscale="log", ylabel="train loss", ylim=(0.4, 30))
        ax.legend(loc="upper left", title="learning rate")
    axes[-1].set_xlabel("step")
    return fig
