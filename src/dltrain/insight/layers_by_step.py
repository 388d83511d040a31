"""What each layer was like at the moments of a training, as bars under a slider."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.engine.look import Layer
from dltrain.errors.output import cut
from dltrain.insight import moments
from dltrain.insight.doctor import examine, signs
from dltrain.insight.gallery import Gallery
from dltrain.insight.history import Look
from dltrain.insight.moments import Cell
from dltrain.runs.foreign import Values
from dltrain.runs.reading import is_number

if TYPE_CHECKING:
    from dltrain.training.replay import Way

_NAME, _TITLE = "layers_by_step", "Layer by layer, step by step"
_CAPTION = (
    "{seen}: the size of the loss's gradient by each layer's weights; {step}flat, how many of its units are dead "
    "(ReLU) or of its values saturated (sigmoid, tanh); and the deviation of its outputs. Bars lie on the scale under "
    "their title, which is the same at all moments, and logarithmic but for shares.{more}"
)
_LOGGED = {
    "seen": "What diagnose=true saw at each report",
    "step": "what share of their size the next step changes (a thousandth is usual); ",
    "more": "",
}
_TRAINED_AGAIN = {
    "seen": "What becomes of some train rows, as the run is trained again",
    "step": "",
    "more": " With diagnose=true it is seen at each report, with what a step changes.",
}
_FLAT = "flat"
_COLUMNS = {  # what stands above the numbers of each layer
    "weight_gradient": "∂L/∂W",
    "update": "step",
    _FLAT: "flat",
    "std": "deviation",
}
_SEEN = 0.02  # of a bar's length, below which there seems to be none
_ROWS = 24  # layers of one table: of more the first and the last ones
_IDLE = ("Flatten", "Dropout", "Identity")
_SHORT = 30  # letters of a layer's name


def logged(gallery: Gallery, looks: Sequence[Look]) -> None:
    """As a run with diagnose=true wrote it down."""
    gallery.add_moments(_NAME, _TITLE, _CAPTION.format_map(_LOGGED), lambda: by_step(looks))


def on_the_way(gallery: Gallery, plan: Plan, way: Way) -> None:
    """As the weights of a way make it, where nothing was written down."""
    if all(made.name != _NAME for made in gallery.pictures):
        gallery.add_moments(_NAME, _TITLE, _CAPTION.format_map(_TRAINED_AGAIN), lambda: by_step(_looks(plan, way)))


def _looks(plan: Plan, way: Way) -> list[Look]:
    moving, looks = build.make_model(plan), list[Look]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        for k in moments.some(len(way.steps)):
            moving.load_state_dict(way.weights[k])
            seen = [asdict(layer) for layer in examine.look(plan, moving).layers]
            looks.append(Look(way.steps[k] / plan.steps_per_epoch, seen, way.steps[k]))
    return looks


def by_step(looks: Sequence[Look]) -> str | None:
    """A table of layers with a slider over what was seen of them; None where that is nothing."""
    looks = [looks[k] for k in moments.some(len(looks))]
    last = (own for own in looks[-1].layers if own.get("kind") not in _IDLE)
    names = [name for own in last if isinstance(name := own.get("name"), str)]
    names = names if len(names) <= _ROWS else [*names[: _ROWS // 2], *names[-_ROWS // 2 :]]
    each = [{str(own.get("name")): _numbers(own) for own in look.layers} for look in looks]
    ends: dict[str, tuple[float, float]] = {}
    for key in _COLUMNS:
        values = [value for seen in each for n in names if (value := seen.get(n, {}).get(key)) is not None]
        if (found := _ends(key, values)) is not None:
            ends[key] = found
    if not ends:
        return None
    rows = [[[_cell(seen.get(n, {}).get(key), *own) for key, own in ends.items()] for n in names] for seen in each]
    titles = [(_COLUMNS[key], f"{low:g} to {high:g}" if low else "0% to 100%") for key, (low, high) in ends.items()]
    shown = [cut(name.removeprefix("layers."), _SHORT) for name in names]
    return moments.slider(
        [_when(look) for look in looks],
        moments.sentence([signs.told([*map(_layer, look.layers)]) for look in looks]),
        moments.table([("", ""), *titles], shown, rows, look="bars"),
    )


def _when(look: Look) -> str:
    epoch = f"epoch {round(look.epoch, 2):g}"
    return epoch if look.step is None else f"step {look.step:,}, {epoch}"


def _numbers(own: Values) -> dict[str, float]:
    """What is known of a layer at a moment, by the names of the columns."""
    flat = own.get("saturated") if own.get("dead") is None else own.get("dead")
    found = {**{key: own.get(key) for key in _COLUMNS}, _FLAT: flat}
    return {key: float(value) for key, value in found.items() if is_number(value) and value >= 0}


def _ends(key: str, values: Sequence[float]) -> tuple[float, float] | None:
    """Where the bars of a column begin and end: at 0 and 1 of shares, else at powers of ten."""
    if key == _FLAT:
        return (0.0, 1.0) if values else None
    powers = [max(-300.0, math.log10(value)) for value in values if value]
    if not powers:
        return None
    low = math.floor(min(powers))
    return 10.0**low, 10.0 ** max(low + 1, math.ceil(max(powers)))


def _cell(value: float | None, low: float, high: float) -> Cell:
    if value is None:
        return Cell()
    if not low:
        return Cell(f"{value:.0%}", value)
    if not value:
        return Cell("0")
    first, last = math.log10(low), math.log10(high)
    return Cell(f"{value:.2g}", max(_SEEN, (math.log10(value) - first) / (last - first)))


def _layer(own: Values) -> Layer:
    """A layer as far as signs are seen in it."""
    gradient, dead, saturated, weight = (
        float(value) if is_number(value := own.get(key)) else None
        for key in ("gradient", "dead", "saturated", "weight")
    )
    unasked = {"mean": math.nan, "std": math.nan, "low": math.nan, "high": math.nan}
    name, kind = str(own.get("name")), str(own.get("kind"))
    return Layer(name, kind, gradient=gradient, dead=dead, saturated=saturated, weight=weight, **unasked)
