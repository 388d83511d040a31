"""Activation functions with the units of a net on them, and the borders of those units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dltrain.insight.equations import derivative
from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, PALE, figure, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Net = tuple[dict[str, Tensor], dict[str, Tensor], nn.Module]  # its first weights, its last ones, and itself


@styled
def units(layers: Mapping[str, tuple[nn.Module, Tensor]]) -> Figure:
    """Of each net its g and g', a row of two; on them the units of its first layer, whose activations are a [N, K].

    The dots are the units on the first example, the area beneath says how often each a comes on all of them.
    """
    fig, axes = figure(len(layers), 2, height=0.5 + 1.75 * len(layers))
    for row, (name, (g, a)) in enumerate(layers.items()):
        left, right = axes[2 * row : 2 * row + 2]
        along = torch.linspace(-6, 6, 1200)
        for ax, of, colour in ((left, g, BLUE), (right, partial(derivative, g), ORANGE)):
            _areas(ax, a)
            ax.plot(along, of(along).detach(), color=colour, zorder=2)
            ax.plot(a[0], of(a[0]).detach(), "o", color=INK, markersize=5, alpha=0.75, zorder=3)
            ax.set(xlim=(-6, 6), xticks=(-6, -3, 0, 3, 6))
        left.set(ylim=(-1.25, 3.2) if name.endswith("relu") else (-1.25, 1.25), title=f"{plain(name)}: z = g(a)")
        right.set(ylim=(-0.12, 1.2), yticks=(0, 0.25, 0.5, 0.75, 1), title="g'(a)")
    for ax in axes[-2:]:
        ax.set_xlabel("activation a")
    return fig


def _areas(ax: Axes, a: Tensor) -> None:
    """How often each activation comes, as an area on the ground."""
    counts, edges = np.histogram(a.numpy(), bins=48, range=(-6, 6))
    ground = ax.twinx()
    ground.stairs(counts / max(1, counts.max()), edges, fill=True, color=PALE)
    ground.set(ylim=(0, 2.2), yticks=())
    ground.grid(False)
    ground.spines["right"].set_visible(False)
    ax.set_zorder(ground.get_zorder() + 1)
    ax.patch.set_visible(False)


@styled
def borders(x: np.ndarray, y: np.ndarray, nets: Mapping[str, Net]) -> Figure:
    """The points x [N, 2] of two classes y, what each net answers, and where each unit of its first layer has a = 0,
    first and last, but for the identity, which has no bend there.
    """
    rows = -(-len(nets) // 2)
    fig, axes = figure(rows, 2 if len(nets) > 1 else 1, height=0.3 + 1.9 * rows)
    low, high = x.min(0) - 0.4, x.max(0) + 0.4
    for ax, (name, (first, last, net)) in zip(axes, nets.items(), strict=False):
        across, up = (np.linspace(a, b, 120) for a, b in zip(low, high, strict=True))
        places = torch.from_numpy(np.stack(np.meshgrid(across, up), -1).reshape(-1, 2).astype(np.float32))
        with torch.inference_mode():
            answers = net(places).reshape(120, 120).numpy()
        ax.contourf(across, up, answers > 0, levels=[-0.5, 0.5, 1.5], colors=[BLUE, ORANGE], alpha=0.18)
        for label, colour in ((0, BLUE), (1, ORANGE)):
            ax.plot(*x[y == label].T, ".", color=colour, alpha=0.4, markersize=2.5)
        if name != "identity":
            _lines(ax, across, first, "--", GREY)
            _lines(ax, across, last, "-", INK)
        ax.set(title=plain(name), xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        ax.grid(False)
    for ax in axes[len(nets) :]:
        ax.set_axis_off()
        ax.plot([], [], "--", color=GREY, label="a = 0 at first")
        ax.plot([], [], "-", color=INK, label="a = 0 at the end")
        ax.legend(loc="center")
    return fig


def _lines(ax: Axes, across: np.ndarray, weights: dict[str, Tensor], style: str, colour: str) -> None:
    """Where w0 x0 + w1 x1 + b is 0, of each row of the first layer."""
    named = {name.rpartition(".")[2]: value for name, value in reversed(weights.items())}  # the first of each name
    for (w0, w1), b in zip(named["weight"].tolist(), named["bias"].tolist(), strict=True):
        ax.plot(across, -(w0 * across + b) / (w1 or 1e-9), style, color=colour, linewidth=0.9, alpha=0.8)
