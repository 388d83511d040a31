"""The weights of each layer on the way of a training, as pixels under a slider."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dltrain.config.plan import Plan
from dltrain.errors.output import cut
from dltrain.insight import moments
from dltrain.insight.plots import weights
from dltrain.parts.modules import working

if TYPE_CHECKING:
    from dltrain.training.replay import Way

_MOST = 12_800  # pixels of a moment: what more weighs is more than its sight is worth
_TILES = 64  # units of a layer that looks at images
_LOW, _HIGH, _WIDE = 12, 320, 400  # of a matrix on the screen: a row at least, all rows at most, about its width
CAPTION = (
    "The weights of each layer from {start} to {end}: red is above zero, blue below, and what has no colour is near "
    "zero. Each layer has one scale of colours for all moments."
)


def of_layers(plan: Plan, model: nn.Module, way: Way) -> str | None:
    """The layers of a net, each as it was at some moments of its way; None where none can be shown.

    Those of the first layer are drawn as pictures where its inputs are images, those of others as a matrix, its longer
    side across. The largest layers of a net that has too many weights for a page are left out.
    """
    kept = moments.some(len(way.steps))
    names = [when(plan, way.steps[k]) for k in kept]
    drawn = [*_drawn(plan, model, [way.weights[k] for k in kept])]
    return moments.slider(names, *drawn) if drawn else None


def when(plan: Plan, step: int) -> str:
    return f"step {step:,}, epoch {round(step / plan.steps_per_epoch, 2):g}"


def _drawn(plan: Plan, model: nn.Module, states: Sequence[dict[str, Tensor]]) -> Iterator[str]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    left, first = _MOST, True
    for name, module in working(model):
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or (key := known.get(id(module.weight))) is None:
            continue
        values = torch.stack([state[key].detach().float().cpu() for state in states])  # [moments, units, ...]
        shape = _image(plan, values[0]) if first else None
        first = False
        place = cut(name.removeprefix("layers."))
        if shape is not None and math.prod(shape) <= left:
            values, told = _largest(values.unflatten(2, shape) if values.dim() == 3 else values, left)
            frames = _tiles(values)
            left -= values[0].numel()
            yield _labelled(place, told, values, moments.pixels(frames, f"{place}: {told}."))
        elif values[0].numel() <= left:
            left -= values[0].numel()
            yield _matrix(place, values.flatten(2))


def _image(plan: Plan, weight: Tensor) -> tuple[int, int, int] | None:
    """Which image [C, H, W] a unit [units, ...] of the first layer looks at, if it is one."""
    if weight.dim() == 4:
        channels, height, width = weight.shape[1:]
        return (channels, height, width) if channels in (1, 3) and width > 1 else None
    return weights.picture(plan.data.in_shape) if weight.shape[1] == math.prod(plan.data.in_shape) else None


def _largest(values: Tensor, left: int) -> tuple[Tensor, str]:
    """Of [moments, units, C, H, W] the units that are largest at the end, in their order, and what they are."""
    units, (channels, height, width) = values.shape[1], values.shape[2:]
    most = min(_TILES, left // (channels * height * width))
    chosen = weights.largest(values[-1], most)
    which = f"{units:,} units" if len(chosen) == units else f"the {len(chosen)} largest of {units:,} units"
    return values[:, chosen], f"{which}, each over {height} x {width} inputs{' of three colours' * (channels == 3)}"


def _tiles(values: Tensor) -> np.ndarray:
    """Units [moments, units, C, H, W] beside each other, from -1 to 1: [moments, H, W] or [moments, H, W, 3]."""
    scaled = (values / _limit(values)).clamp(-1, 1).permute(0, 1, 3, 4, 2).numpy()
    count, (height, width, channels) = scaled.shape[1], scaled.shape[2:]
    columns = weights.columns(count)
    rows = math.ceil(count / columns)
    made = np.full((len(scaled), rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan)
    for unit in range(count):
        top, left = unit // columns * (height + 1), unit % columns * (width + 1)
        made[:, top : top + height, left : left + width] = scaled[:, unit]
    return made[..., 0] if channels == 1 else made


def _matrix(place: str, values: Tensor) -> str:
    """Weights [moments, units, inputs] with the longer side across."""
    units, inputs = values.shape[1:]
    across, down = f"{units:,} unit{'s' * (units > 1)}", f"{inputs:,} input{'s' * (inputs > 1)}"
    turned = values.transpose(1, 2)
    if inputs > units:
        across, down, turned = down, across, values
    told = f"{across} across, {down} down"
    rows, columns = turned.shape[1:]
    tall = rows * max(_WIDE / columns, min(float(_LOW), _HIGH / rows))
    frames = (turned / _limit(values)).clamp(-1, 1).numpy()
    return _labelled(place, told, values, moments.pixels(frames, f"{place}: {told}.", tall=min(round(tall), _WIDE)))


def _limit(values: Tensor) -> float:
    """The number that gets the full colour at all moments."""
    finite = values[values.isfinite()]
    return weights.limit(finite) if len(finite) else 1.0


def _labelled(place: str, told: str, values: Tensor, drawn: str) -> str:
    return moments.label(f"{place}: {told}; full colour at {_limit(values):.2g}") + drawn
