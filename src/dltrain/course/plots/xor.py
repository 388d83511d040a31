"""Exclusive or: a perceptron's lines and mistakes, and nets with hidden units as lines in the plane of x and of z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import MaxNLocator
from torch import nn

from dltrain.insight.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, empty, figure, regions, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType

_DASHED = (0, (4, 2))
_UNITS = (GREEN, PURPLE)


@styled
def unrest(x: np.ndarray, y: np.ndarray, planes: Sequence[np.ndarray], mistakes: Sequence[int]) -> Figure:
    """x [N, 2] and y [N] with the line of each of (w₁, w₂, b), one an epoch, and below the mistakes of each epoch."""
    fig = empty(6.6)
    above, below = fig.subplots(2, 1, height_ratios=[2.2, 1])
    _points(above, x, y)
    low, high = float(x.min()) - 0.2, float(x.max()) + 0.2
    for number, plane in enumerate(planes, start=1):
        last = number == len(planes)
        _line(above, plane, INK if last else GREY, width=2.2 if last else 1.3, style="-")
    above.set(xlabel="x₁", ylabel="x₂", xlim=(low, high), ylim=(low, high), aspect="equal")
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    bars = below.bar(range(1, len(mistakes) + 1), mistakes, color=GREY, width=0.7)
    bars[-1].set_color(INK)
    if len(mistakes) <= 12:
        below.bar_label(bars, padding=2, fontsize=9.5)
    below.set(xlabel="epoch", ylabel="mistakes", ylim=(0, 1.2 * max(mistakes)))
    below.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    below.grid(axis="x", visible=False)
    return fig


@styled
def moment(
    net: nn.Module,
    scene: regions.Scene,
    planes: tuple[np.ndarray, np.ndarray],
    inside: tuple[np.ndarray, np.ndarray],
    *,
    epoch: float,
) -> Figure:
    """A net of two hidden units: its areas with the lines of the units, and its points as its output layer sees them.

    planes: (w, b) of each unit of both layers, [units, 3]. inside: z [N, 2], and y [N].
    """
    fig, (above, below) = figure(2, 1, height=8.2)
    _net(above, net, scene, planes[0])
    above.set(aspect="equal", xlabel="x₁", ylabel="x₂")
    above.set_title(f"epoch {epoch:.1f}" if 0 < epoch < 3 else f"epoch {epoch:.0f}", loc="left")
    if legend := above.get_legend():  # it leaves the left to the title
        legend.set_loc("lower right")
        legend.set_bbox_to_anchor((1.0, 1.0))
    _points(below, *inside)
    for plane in planes[1]:
        _line(below, plane, INK, width=2, style="-")
    below.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    below.set_title("what the output layer sees")
    below.set_xlabel("z₁", color=GREEN)
    below.set_ylabel("z₂", color=PURPLE)
    return fig


@styled
def starts(panels: Sequence[tuple[str, nn.Module, np.ndarray]], scene: regions.Scene) -> Figure:
    """Nets over one scene, with the lines of their units (w, b) [units, 3]: (title, net, lines) each, three a row."""
    rows = -(-len(panels) // 3)
    fig = empty(2.0 * rows)
    for ax, (title, net, planes) in zip(fig.subplots(rows, 3, squeeze=False).flat, panels, strict=False):
        _net(ax, net, scene, planes)
        if legend := ax.get_legend():
            legend.remove()
        ax.set(xlabel="", ylabel="", xticks=[], yticks=[], aspect="equal")
        ax.set_title(title, fontsize=10)
    for ax in fig.axes[len(panels) :]:
        ax.remove()
    return fig


def _net(ax: Axes, net: nn.Module, scene: regions.Scene, planes: np.ndarray) -> None:
    regions.areas(ax, net, scene)
    for number, (plane, colour) in enumerate(zip(planes, _UNITS, strict=False), start=1):
        _line(ax, plane, colour, width=2.2, style=_DASHED, label=f"unit {number}")


def _points(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    for label, colour in ((0, BLUE), (1, ORANGE)):
        ax.plot(*x[y == label].T, ".", color=colour, alpha=0.5, markersize=5, label=f"class {label}")


def _line(ax: Axes, plane: np.ndarray, colour: ColorType, *, width: float, style: object, label: str = "") -> None:
    """Where w₁ x₁ + w₂ x₂ + b = 0; nothing for weights of zero, which have no such line."""
    w, b = plane[:2].astype(float), float(plane[2])
    if not w.any():
        return
    x, y = -b / (w @ w) * w
    halo: list[AbstractPathEffect] = [withStroke(linewidth=width + 2, foreground="white", alpha=0.8)]
    drawn = ax.axline((x, y), (x - w[1], y + w[0]), color=colour, linewidth=width, linestyle=style)
    drawn.set_path_effects(halo)
    drawn.set_in_layout(False)  # what lies outside the picture may not make it smaller
