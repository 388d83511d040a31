"""The weights of the first layer, as the pictures or the table of inputs that they look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.ticker import FixedLocator, MaxNLocator
from torch import Tensor, nn

from dltrain.insight.plots import BLUE, GREY, apart, figure, image, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MOST = 64  # units shown: more would be too small to see on a phone
_POINTS = 4000  # of a curve
_NAMED = 30  # inputs that have room for a name
_BESIDE = 40  # letters that stand beside each other


def first_layer(model: nn.Module) -> Tensor | None:
    """The weights that touch the inputs: [units, inputs] of a Linear or [units, C, H, W] of a Conv2d, on the CPU."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            return module.weight.detach().float().cpu()
    return None


@styled
def weights(
    weight: Tensor, in_shape: Sequence[int], *, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> Figure | None:
    """One picture for each unit where the inputs are images or a square of numbers, else a heat map.

    `inputs` names the columns, `outputs` the units (of a net of one layer they are the classes). None where there
    is nothing to see: a convolution of 1x1 or over many channels.
    """
    if weight.dim() == 4:
        small = weight.shape[1] not in (1, 3) or weight.shape[-1] < 2
        return None if small else _tiles(weight, outputs)
    shape = picture(in_shape)
    if weight.shape[1] == math.prod(in_shape) and shape is not None:
        return _tiles(weight.unflatten(1, shape), outputs)
    return _table(weight, inputs, outputs)


@styled
def sizes(nets: Mapping[str, np.ndarray], zero: float) -> Figure:
    """The weights of each net by its name, from the largest to the smallest; labels count those below `zero`."""
    fig, (ax,) = figure(height=3.2)
    by_size(ax, nets, zero, colors=(GREY, BLUE)[-len(nets) :])
    return fig


def by_size(ax: Axes, nets: Mapping[str, np.ndarray], zero: float, *, colors: Sequence[str]) -> None:
    """One falling curve for each net."""
    for (name, weights), colour in zip(nets.items(), colors, strict=True):
        sizes = np.sort(np.abs(weights), axis=None)[::-1]
        places = np.unique(np.linspace(0, len(sizes) - 1, _POINTS).astype(int))  # all of a small net
        label = f"{name}: {(sizes < zero).sum():,} below {zero:g}"
        ax.plot(places + 1, sizes[places], color=colour, label=label)
    ax.set(xlabel="weights, sorted by size", ylabel="|w|", ylim=(0, None))
    ax.legend(loc="upper right")


def picture(in_shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Inputs as an image [C, H, W] of one or three channels, if they are one, or a square of at least 5 x 5."""
    if len(in_shape) == 3:
        channels, height, width = in_shape
        return (channels, height, width) if channels in (1, 3) else None
    side = math.isqrt(math.prod(in_shape))
    return (1, side, side) if len(in_shape) == 1 and side >= 5 and side * side == in_shape[0] else None


def largest(weight: Tensor, most: int) -> list[int]:
    """The units of a layer's weights [units, ...] that are largest, in their order."""
    return weight.flatten(1).norm(dim=1).argsort(descending=True)[:most].sort().values.tolist()


def columns(count: int) -> int:
    """How many of so many small pictures stand beside each other."""
    return min(8, max(4, math.ceil(math.sqrt(count)))) if count > 3 else count


def _tiles(weight: Tensor, names: Sequence[str]) -> Figure:
    """weight: [units, C, H, W]; the units with the largest weights, in their order."""
    shown = largest(weight, _MOST)
    across = columns(len(shown))
    rows = math.ceil(len(shown) / across)
    fig, axes = figure(rows, across, height=5.4 / across * rows + (0.55 if weight.shape[1] == 1 else 0))
    most = limit(weight)
    drawn: AxesImage | None = None
    for ax in axes:
        image(ax)
    for ax, unit in zip(axes, shown, strict=False):
        if weight.shape[1] == 3:
            ax.imshow((weight[unit].permute(1, 2, 0) / (2 * most) + 0.5).clamp(0, 1).numpy())
        else:
            drawn = ax.imshow(weight[unit, 0].numpy(), cmap="RdBu_r", vmin=-most, vmax=most)
        if names:
            ax.set_title(plain(names[unit], 14), fontsize=9, fontweight="normal", loc="center", pad=3)
    if drawn is not None:
        fig.colorbar(drawn, ax=axes, location="bottom", shrink=0.7, aspect=40, label="weight", pad=0.02)
    return fig


def _table(weight: Tensor, inputs: Sequence[str], outputs: Sequence[str]) -> Figure:
    units, columns = weight.shape
    fig, (ax,) = figure(height=min(6.0, max(2.6, 1.6 + 0.16 * units)))
    ax.grid(False)
    most = limit(weight)
    drawn = ax.imshow(weight.numpy(), cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    if len(inputs) == columns <= _NAMED:
        names = apart(inputs, 18)
        turned = sum(map(len, names)) > _BESIDE
        ax.set_xticks(range(columns), names, rotation=45 * turned, ha="right" if turned else "center", fontsize=9)
    else:
        ax.set_xlabel("input")
        _number(ax.xaxis, columns)
    if len(outputs) == units <= _NAMED:
        ax.set_yticks(range(units), apart(outputs, 14), fontsize=9)
    else:
        ax.set_ylabel("unit")
        _number(ax.yaxis, units)
    fig.colorbar(drawn, ax=ax, label="weight", pad=0.02)
    return fig


def _number(axis: Axis, count: int) -> None:
    """Whole numbers along an axis of so many cells."""
    axis.set_major_locator(MaxNLocator(8, integer=True) if count > 8 else FixedLocator(range(count)))


def limit(weight: Tensor) -> float:
    """The weight that gets the full colour: one in five hundred is larger."""
    magnitudes = weight.abs().flatten()
    count = max(1, math.ceil(0.998 * len(magnitudes)))
    return max(float(torch.kthvalue(magnitudes, count).values), 1e-12)
