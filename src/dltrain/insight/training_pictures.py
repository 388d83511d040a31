"""What training saw: its layers over time, where a run was diagnosed, and its images as they were changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dltrain.config import construct
from dltrain.config.plan import Plan
from dltrain.engine.look import Layer
from dltrain.errors.output import cut
from dltrain.insight import history, moments
from dltrain.insight.doctor import signs
from dltrain.insight.gallery import Gallery
from dltrain.insight.history import Look
from dltrain.insight.moments import Cell
from dltrain.insight.plots import gradients, images
from dltrain.runs.foreign import Values
from dltrain.runs.reading import Run, is_number

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure

_SAMPLES, _EPOCHS = 6, 3  # images that are shown, and as how many epochs had them
_LAYERS = (
    "As diagnose=true looked at each report: above the spread of each layer's outputs, below the root mean square of "
    "the loss's gradient by its weights. Outputs that shrink from layer to layer, or gradients many times smaller in "
    "the first layers than in the last, say that the first ones hardly learn."
)
_CHANGED = (
    "Train images as they are (above), and as {epochs} epochs had them: what the augmentation does must leave a person "
    "able to name them."
)
_BY_STEP = (
    "What diagnose=true saw at each report: the size of the loss's gradient by each layer's weights; what share of "
    "their size the next step changes (a thousandth is usual); flat, the share of its units that are dead (ReLU) or of "
    "its values that are saturated (sigmoid, tanh); and the deviation of its outputs. A bar reaches from one end of "
    "the scale under its title to the other, in equal factors where these are no shares; it is one for all moments."
)
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


def layers(gallery: Gallery, run: Run) -> None:
    """The outputs and the gradients of each layer over the training."""
    looks = history.looks(run.folder)
    if len(looks) > 1:
        gallery.add("layers.png", "Layer by layer", _LAYERS, lambda: gradients.over_time(looks))
        gallery.add_moments("layers_by_step", "Layer by layer, step by step", _BY_STEP, lambda: by_step(looks))


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
    found = {**{key: own.get(key) for key in _COLUMNS}, _FLAT: own.get("dead", own.get("saturated"))}
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


def augmented(gallery: Gallery, plan: Plan) -> None:
    """Images of the train part before and after what the run does to each."""
    regular, data = plan.regularisation, plan.data
    if not any(regular.augmentation.values()) or len(data.in_shape) != 3 or data.in_shape[0] not in (1, 3):
        return

    def draw() -> Figure:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            return images.changed(*_changed(plan))

    gallery.add("augmented.png", "What augmentation makes", _CHANGED.format(epochs=_EPOCHS), draw)


def _changed(plan: Plan) -> tuple[Tensor, list[Tensor]]:
    """Images [n, C, H, W] as they are, and as each of some epochs would have them."""
    data, regular = plan.data, plan.regularisation
    index = torch.arange(min(_SAMPLES, len(data.train)))
    rows = [data.train[i] for i in index.tolist()]
    x, y = torch.stack([row[0] for row in rows]).float(), torch.stack([torch.as_tensor(row[1]) for row in rows])
    policy = construct.make_policy(regular, data)
    change = construct.make_transform(regular, data, seed=plan.seed, outputs=plan.out_features)
    made = []
    for epoch in range(_EPOCHS):
        own = x if policy is None else torch.stack([policy(image) for image in x])
        made.append(own if change is None else change(own, y, index, epoch)[0])
    return x, made
