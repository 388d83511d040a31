"""Deep nets of sigmoid and ReLU, with norms and without: what they reach, and the gradient of each of their layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, nan
from typing import TYPE_CHECKING

import torch

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.config.policy import Part
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import vanishing
from dltrain.engine.look import observe
from dltrain.engine.trainer import seed_everything
from dltrain.insight.doctor.examine import look
from dltrain.training.diagnose import probe

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture

_DEPTHS = (1, 2, 3, 4, 6, 8, 10, 12)
_NORMS = {"none": "", "batch": " + BatchNorm", "layer": " + LayerNorm"}
_ACCURACIES = {  # of 5 seeds, by activation and norm
    ("sigmoid", "none"): (0.08, 0.13),
    ("sigmoid", "batch"): (0.92, 0.99),
    ("sigmoid", "layer"): (0.08, 0.13),
    ("relu", "none"): (0.90, 0.99),
    ("relu", "batch"): (0.93, 0.995),
    ("relu", "layer"): (0.92, 0.99),
}
_SHARES = {
    ("sigmoid", "none"): (1e-6, 2e-5),
    ("sigmoid", "batch"): (0.1, 1.0),
    ("sigmoid", "layer"): (5e-5, 2e-3),
    ("relu", "none"): (0.2, 1.5),
    ("relu", "batch"): (0.4, 2.5),
    ("relu", "layer"): (0.1, 1.0),
}


def study(done: Sequence[Done]) -> Seen:
    accuracies = [accuracy for each in done for accuracy in looks.numbers(each, "test/accuracy")]
    plans = [looks.plan(run) for each in done for run in looks.runs(each)]
    nets = {_name(plan): _net(plan) for plan in plans}
    kinds = [(net.activation, net.norm) for net in nets.values()]
    asked = kinds.index(("sigmoid", "batch")) if ("sigmoid", "batch") in kinds else 0
    share = [net.by_layer[0] / (net.by_layer[-1] or nan) for net in nets.values()]
    accuracy, name, first = accuracies[asked], [*nets][asked], next(iter(nets))
    return Seen(
        [
            *(
                Number(f"accuracy, {n}", a, *_ACCURACIES.get(kind, (-inf, inf)), ".1%")
                for n, kind, a in zip(nets, kinds, accuracies, strict=True)
            ),
            *(
                Number(f"first : last ∂L/∂W, {n}", s, *_SHARES.get(kind, (-inf, inf)), ".1g")
                for n, kind, s in zip(nets, kinds, share, strict=True)
            ),
        ],
        1 if accuracy < 0.2 else 2 if accuracy < 0.8 else 3,
        f"With {name} the net has {accuracy:.1%} of the digits right: in the first step the gradient of its first "
        f"layer is {share[asked]:.1g} of the last one's, and with {first} alone {share[0]:.1g}.",
        _pictures(nets, plans[0]),
    )


def _pictures(nets: dict[str, vanishing.Net], plan: Plan) -> list[Picture]:
    caption = (
        "The first step, root mean square over each layer's weights, on a logarithmic axis: a straight line down to "
        "the left is a factor for each layer, of about 1/4 for sigmoids. ReLU has Kaiming's first weights, which make "
        "up for the half of the units that are off; sigmoids have Xavier's. BatchNorm divides by the small deviation "
        "of each unit, and so undoes the factor. LayerNorm divides by the deviation over the units of a row, which is "
        "large even where all rows are nearly alike, and undoes only a part of it. Below the same of nets of other "
        "depths."
    )
    slopes = (
        "σ′ is nowhere more than 1/4 and hardly anything where σ is flat; ReLU′ is 1 wherever the unit is on. The grey "
        "band is where the activations of the first net stand: not in the flat parts, and even so the error loses a "
        "factor in each layer."
    )
    return [
        looks.picture("gradients.png", "The gradient, layer by layer", caption, vanishing.by_layer_and_depth(nets)),
        looks.picture("sigmoid.png", "σ and σ′", slopes, vanishing.sigmoid_and_derivative(_activations(plan).numpy())),
    ]


def _name(plan: Plan) -> str:
    model = plan.parts["model"].arguments
    activation = {"relu": "ReLU"}.get(model["activation"], model["activation"])
    return f"{activation}{_NORMS[model['norm']]}"


def _net(plan: Plan) -> vanishing.Net:
    model = plan.parts["model"].arguments
    width = model["widths"][0]
    depths = {depth: _gradients(_deep(plan, [width] * depth)) for depth in _DEPTHS}
    shares = {depth: sizes[0] / (sizes[-1] or nan) for depth, sizes in depths.items()}
    return vanishing.Net(model["activation"], model["norm"], _gradients(plan), shares)


def _deep(plan: Plan, widths: list[int]) -> Plan:
    """The plan with other hidden layers."""
    model = plan.parts["model"]
    return replace(plan, parts={**plan.parts, "model": Part(model.function, {**model.arguments, "widths": widths})})


def _gradients(plan: Plan) -> list[float]:
    """The root mean square of ∂L/∂Wᵏ of each linear layer, with the first weights."""
    seed_everything(plan.seed)
    return [layer.weight_gradient or 0.0 for layer in look(plan, build.make_model(plan)).weighted]


def _activations(plan: Plan) -> torch.Tensor:
    """What stands before the non-linearities of a fresh net, for some train rows, all layers together."""
    seed_everything(plan.seed)
    x, y = probe(plan)
    seen, _ = observe(build.make_model(plan), x, lambda output: plan.loss(output, y))
    return torch.cat([item.values.flatten() for item in seen if item.name.startswith("layers.linear")][:-1])
