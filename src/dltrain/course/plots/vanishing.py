"""Gradients that vanish: by layer and by depth, and the derivative that makes them so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from dltrain.insight.plots import BLUE, COLOURS, GREY, INK, ORANGE, figure, styled
from dltrain.insight.plots.gradients import layer_axis, line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {"none": "-", "batch": "--", "layer": ":"}


class Net(NamedTuple):
    """What is drawn of a net: ∂L/∂Wᵏ of each layer, and by depth the first layer's as a share of the last one's."""

    activation: str
    norm: str
    by_layer: Sequence[float]
    by_depth: Mapping[int, float]


@styled
def by_layer_and_depth(nets: Mapping[str, Net]) -> Figure:
    """Two panels that share their lines: an activation is a colour, a norm a style."""
    fig, (above, below) = figure(2, 1, height=7.0)
    activations = dict.fromkeys(net.activation for net in nets.values())
    colours = dict(zip(activations, (ORANGE, BLUE, *COLOURS[2:]), strict=False))
    for name, net in nets.items():
        color, style = colours[net.activation], _STYLES.get(net.norm, "-")
        line(above, range(1, len(net.by_layer) + 1), net.by_layer, label=name, color=color, style=style)
        line(below, [*net.by_depth], [*net.by_depth.values()], label=name, color=color, style=style)
    layer_axis(above)
    below.axhline(1, color=GREY, linewidth=0.8)
    below.set(xlabel="hidden layers", ylabel="first layer's as a share of the last's")
    below.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    fig.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return fig


@styled
def sigmoid_and_derivative(activations: np.ndarray) -> Figure:
    """σ and its derivative beside ReLU's, and where the activations a of a net stand, by their 1 % and 99 % points."""
    fig, (above, below) = figure(2, 1, height=5.6)
    a = np.linspace(-8, 8, 400)
    sigmoid = 1 / (1 + np.exp(-a))
    low, high = np.quantile(activations, [0.01, 0.99])
    for ax in (above, below):
        ax.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, label="98 % of this net's a")
        ax.set_xlim(-8, 8)
    above.plot(a, sigmoid, color=ORANGE, label="σ(a)")
    above.plot(a, np.maximum(a, 0), color=BLUE, label="ReLU(a)")
    above.set(title="the functions", ylim=(-0.1, 2))
    below.plot(a, sigmoid * (1 - sigmoid), color=ORANGE, label="σ′(a)")
    below.plot(a, np.where(a > 0, 1.0, 0.0), color=BLUE, label="ReLU′(a)")
    below.axhline(0.25, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    below.annotate("1/4, at a = 0", (7.9, 0.27), ha="right", color=INK)
    for at in (-6, 6):
        below.annotate("saturated", (at, 0.05), ha="center", color=ORANGE)
    below.set(title="their derivatives: factors of δ", xlabel="a", ylim=(-0.05, 1.1))
    for ax in (above, below):
        ax.legend(loc="upper left")
    return fig
