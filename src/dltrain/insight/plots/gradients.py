"""How large the gradient of each layer's weights is, from the inputs to the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from dltrain.insight.plots import BLUE, GREEN, INK, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dltrain.insight.doctor.examine import Look

_FEWEST = 3  # layers with weights: of two there is no course to be seen


def of_looks(looks: Mapping[str, Look | None]) -> Figure | None:
    """The same net at several moments, by their names; None where it has too few layers to be drawn."""
    nets = {name: [layer.weight_gradient or 0.0 for layer in look.weighted] for name, look in looks.items() if look}
    return by_layer(nets) if min(map(len, nets.values())) >= _FEWEST else None


@styled
def by_layer(nets: Mapping[str, Sequence[float]]) -> Figure:
    """The root mean square of the loss's gradient by each layer's weights, of nets or moments of one, by name."""
    fig, (ax,) = figure(height=3.2)
    for name, gradients in nets.items():
        line(ax, range(1, len(gradients) + 1), gradients, label=name)
    layer_axis(ax)
    if len(nets) > 1:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return fig


@styled
def clipped(steps: np.ndarray, norms: np.ndarray, most: float) -> Figure:
    """The norms of a run's gradients [N] over its steps, before and after clipping them to `most`."""
    fig, (ax,) = figure(height=3.2)
    before_and_after(ax, steps, norms, np.minimum(norms, most), most)
    ax.set(xlabel="step", ylabel="norm of the gradient")
    return fig


def before_and_after(ax: Axes, steps: np.ndarray, before: np.ndarray, after: np.ndarray, most: float | None) -> None:
    """Norms of gradients on a logarithmic axis, as they were and as they were used, and where they are clipped."""
    ax.plot(steps, before, ".", color=BLUE, markersize=4, label="as back-propagation gives it")
    ax.plot(steps, after, ".", color=GREEN, markersize=4, label="as it is used for the step")
    ax.set_yscale("log")
    if most is not None:
        ax.axhline(most, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    ax.legend(loc="lower left", markerscale=2, frameon=True, framealpha=0.85, edgecolor="none")


def line(
    ax: Axes, across: Sequence[float], sizes: Sequence[float], *, label: str, color: str | None = None, style: str = "-"
) -> None:
    """Sizes on a logarithmic axis, which has no place for zeros."""
    shown = [size if size > 0 else nan for size in sizes]
    ax.plot(across, shown, marker=".", label=label, color=color, linestyle=style)
    ax.set_yscale("log")


def layer_axis(ax: Axes) -> None:
    ax.set(xlabel="layer with weights (the last is next to the loss)", ylabel="size of ∂L/∂Wᵏ")
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
