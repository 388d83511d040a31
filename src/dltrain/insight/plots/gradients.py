"""How large the gradient of each layer's weights is, from the inputs to the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from matplotlib.ticker import MaxNLocator

from dltrain.insight.plots import BLUE, GREEN, INK, colours, epoch_axis, figure, plain, styled
from dltrain.runs.reading import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType

    from dltrain.insight.doctor import examine
    from dltrain.insight.history import Look

_MOST = 9  # layers that are drawn as lines
_FEWEST = 3  # layers with weights: of two there is no course to be seen


def of_looks(looks: Mapping[str, examine.Look | None]) -> Figure | None:
    """The same net at several moments, by their names; None where it has too few layers to be drawn."""
    nets = {name: [layer.weight_gradient or 0.0 for layer in look.weighted] for name, look in looks.items() if look}
    return by_layer(nets) if min(map(len, nets.values())) >= _FEWEST else None


@styled
def over_time(looks: Sequence[Look]) -> Figure | None:
    """Deviation of the outputs, and size of the weights' gradient, of layers with weights over the epochs; of many
    layers some, evenly from the first to the last.
    """
    names = [str(layer.get("name")) for layer in looks[-1].layers if is_number(layer.get("weight_gradient"))]
    if not names:
        return None
    names = names if len(names) <= _MOST else [names[round(i * (len(names) - 1) / (_MOST - 1))] for i in range(_MOST)]
    fig, axes = figure(2, 1, height=5.6 + 0.22 * -(-len(names) // 3))
    for ax, key, label in zip(axes, ("std", "weight_gradient"), ("deviation of outputs", "size of ∂L/∂W"), strict=True):
        for name, colour in zip(names, colours(len(names)), strict=True):
            found = [
                (look.epoch, value)
                for look in looks
                for own in look.layers
                if own.get("name") == name and _is(value := own.get(key))
            ]
            if found:
                epochs, sizes = zip(*found, strict=True)
                line(ax, epochs, sizes, label=plain(name.removeprefix("layers."), 20), color=colour)
        ax.set_ylabel(label)
        epoch_axis(ax)
    axes[-1].set_xlabel("epoch")
    handles, labels = axes[-1].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig


def _is(value: object) -> TypeGuard[float]:
    return is_number(value) and value > 0


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
    ax: Axes,
    across: Sequence[float],
    sizes: Sequence[float],
    *,
    label: str,
    color: ColorType | None = None,
    style: str = "-",
) -> None:
    """Sizes on a logarithmic axis, which has no place for zeros."""
    shown = [size if size > 0 else nan for size in sizes]
    ax.plot(across, shown, marker=".", label=label, color=color, linestyle=style)
    ax.set_yscale("log")


def layer_axis(ax: Axes) -> None:
    ax.set(xlabel="layer with weights (the last is next to the loss)", ylabel="size of ∂L/∂Wᵏ")
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
