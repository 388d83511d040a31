"""What one look into a net shows by itself, before anything is known of how it fares."""

from __future__ import annotations

from collections.abc import Sequence

from dltrain.engine.look import Layer

# Glorot & Bengio 2010 want gradients of the same size in all layers. A thousandth means a thousand times slower
# learning under SGD; healthy nets here have between a thirtieth and a few times the last layer's.
VANISHED, EXPLODED = 1e-3, 1e3
HALF = 0.5  # of the units of a layer dead, or of its values saturated


def weighted(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with weights, norms left out."""
    return [layer for layer in layers if layer.kind in ("Linear", "Conv1d", "Conv2d", "Conv3d")]


def inner(layers: Sequence[Layer]) -> list[Layer]:
    """All layers but those after the last one with weights."""
    last = max((i for i, layer in enumerate(layers) if layer.weight is not None), default=0)
    return list(layers[:last])


def dead(layers: Sequence[Layer]) -> Layer | None:
    """The first ReLU layer most of whose units are zero for every row."""
    return next((layer for layer in inner(layers) if layer.dead is not None and layer.dead > HALF), None)


def saturated(layers: Sequence[Layer]) -> Layer | None:
    """The first sigmoid or tanh layer most of whose values lie in the flat part of the curve."""
    return next((layer for layer in inner(layers) if layer.saturated is not None and layer.saturated > HALF), None)


def ratios(layers: Sequence[Layer]) -> list[float]:
    """The gradient by the output of each layer with weights, as a share of the last one's; none without a gradient."""
    own = weighted(layers)
    last = own[-1].gradient if own else None
    return [(layer.gradient or 0.0) / last for layer in own] if last else []


def told(layers: Sequence[Layer]) -> str:
    """What stands out at this moment. It need not harm: half of the units may be dead in a net that learns well."""
    found = [
        *(f"{one.dead:.0%} of the units of {_place(one)} are dead" for one in [dead(layers)] if one),
        *(f"{one.saturated:.0%} of the values of {_place(one)} are saturated" for one in [saturated(layers)] if one),
    ]
    if shares := ratios(layers):
        first = f"at {_place(weighted(layers)[0])} it is {shares[0]:.0e} of the last layer's"
        if min(shares) < VANISHED:
            found.append(f"the gradient vanishes on its way back ({first})")
        elif shares[0] >= EXPLODED:
            found.append(f"the gradient explodes on its way back ({first.replace(' of the', ' times the')})")
    text = "; ".join(found) or "nothing stands out"
    return f"{text[0].upper()}{text[1:]}."


def _place(layer: Layer) -> str:
    return layer.name.removeprefix("layers.")
