"""BatchNorm and LayerNorm: what each takes its mean over, how the layers' inputs are conditioned, rates that work."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan, make_plan
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.chapters import centred_data
from dltrain.course.plots import norms, valleys
from dltrain.engine.look import Seen as Passed
from dltrain.engine.look import observe
from dltrain.engine.trainer import seed_everything
from dltrain.training import resuming
from dltrain.training.diagnose import probe

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture

_LEARNS = 0.5  # test accuracy
_ROWS = 24  # of a batch, drawn
_NAMES = {"none": "without", "batch": "BatchNorm", "layer": "LayerNorm"}
_WITH = {"none": "without a norm", "batch": "with BatchNorm", "layer": "with LayerNorm"}
_EXPECTED = {  # of the last layer κ and λmax, and the largest rate that learns, over 5 seeds
    "none": ((5e7, 2e9), (2, 5), (1.0, 1.0)),
    "batch": ((100, 1e3), (5, 9), (3.0, 3.0)),
    "layer": ((5e3, 1e7), (13, 25), (0.3, 1.0)),
}


def study(done: Sequence[Done]) -> Seen:
    table = looks.table(done[0]).with_columns(pl.col("optimizer.lr").cast(pl.Float64))
    by_norm = {
        str(name[0]): rows.sort("optimizer.lr") for name, rows in table.group_by("model.norm", maintain_order=True)
    }
    plans = {norm: _plan(rows) for norm, rows in by_norm.items()}
    curvatures = {norm: [_curvatures(z) for z in _given(plan)] for norm, plan in plans.items()}
    conditions = {norm: [float(e[-1] / e[0]) for e in layers] for norm, layers in curvatures.items()}
    learns = {norm: _largest(rows) for norm, rows in by_norm.items()}
    without, with_batch = learns.get("none", nan), learns.get("batch", nan)
    factor = with_batch / without if without else inf
    doubled = {norm: _doubled(plan) for norm, plan in plans.items()}
    return Seen(
        [
            *(Number(f"κ, last layer, {_NAMES[n]}", k[-1], *_EXPECTED[n][0], ".1g") for n, k in conditions.items()),
            *(
                Number(f"λmax, last layer, {_NAMES[n]}", float(e[-1][-1]), *_EXPECTED[n][1], ".2g")
                for n, e in curvatures.items()
            ),
            *(Number(f"largest rate, {_NAMES[n]}", r, *_EXPECTED[n][2], "g") for n, r in learns.items()),
            *(
                Number(
                    f"‖∂L/∂W¹‖ with twice W¹, {_NAMES[n]}", r, *((0.75, 0.95) if n == "none" else (0.49, 0.51)), ".2f"
                )
                for n, r in doubled.items()
            ),
        ],
        3 if factor >= 2 else 1 if factor >= 1 else 2,
        f"With BatchNorm the net learns (test accuracy above {_LEARNS:.0%}) up to a rate of {with_batch:g}, without a "
        f"norm {f'up to {without:g}' if without else 'at none of them'}. After a norm the length of "
        "the weights before it does not count: where a step was too long, and made them twice as long, they have half "
        "the gradient, and the next step changes them less.",
        _pictures(by_norm, conditions, plans),
    )


def _pictures(
    by_norm: dict[str, pl.DataFrame], conditions: dict[str, list[float]], plans: dict[str, Plan]
) -> list[Picture]:
    over = (
        f"The activations a of the first layer, {_ROWS} rows of a batch, as they are and as each norm passes them on "
        "(γ = 1, β = 0); red is above zero, blue below. BatchNorm makes each column's mean 0 and its deviation 1, "
        "over the rows: no unit is off centre for the next layer. LayerNorm does so for each row, over its units: the "
        "stripes of the columns stay."
    )
    valley = (
        "As in the next chapter, on centred data, the squared error (of telling zeros from other digits) over two "
        "weights of the second layer, from the two units of the first that are furthest off centre, and 30 steps from "
        "zero (circle) towards the lowest point (star) at 0.9 of the largest stable rate. Each line is twice as far "
        "above the lowest loss as the one inside. LayerNorm leaves units off centre, and so the valley narrow."
    )
    both = (
        "Above, at first: κ of each layer's own squared error, z being what it is given. The whole nets have no κ: in "
        "some directions their loss curves downwards. Below: the runs. λmax at first, by which steps must be short, "
        "does not decide alone: it is smallest without a norm, where nothing heals a step that was too long. After "
        "either norm something does, as the length of the weights no longer counts; but LayerNorm leaves large "
        "activations off centre, λmax is two to four times that of BatchNorm, and large rates fail again. "
    )
    rates = {norm: (rows["optimizer.lr"].to_list(), _accuracies(rows)) for norm, rows in by_norm.items()}
    slowly = ", ".join(f"{accuracies[0]:.0%} {_WITH[norm]}" for norm, (_, accuracies) in rates.items())
    both += f"At the smallest rate what counts is how fast each learns: test accuracy {slowly}."
    first = next(iter(plans.values()))
    target = (probe(first)[1] == 0).double().numpy()
    units = {_NAMES[norm]: _off_centre(plan) for norm, plan in plans.items()}
    drawn = valleys.contours(units, target - target.mean(), ["weight of a unit", "of another"])
    return [
        looks.picture("norms.png", "What each normalises over", over, norms.over_what(_batch(first))),
        looks.picture("valleys.png", "The valley before and after", valley, drawn),
        looks.picture(
            "conditions.png", "Layer by layer, and rate by rate", both, norms.conditions_and_rates(conditions, rates)
        ),
    ]


def _plan(rows: pl.DataFrame) -> Plan:
    return make_plan(resuming.stored(Path(rows["folder"][0])), (), writes=False)


def _accuracies(rows: pl.DataFrame) -> list[float]:
    """Of the test part; of a run that broke down 0."""
    found = rows["test/accuracy"].to_list() if "test/accuracy" in rows.columns else [None] * len(rows)
    return [accuracy or 0.0 for accuracy in found]


def _largest(rows: pl.DataFrame) -> float:
    """The largest learning rate of a run that learned, 0 where none did."""
    pairs = zip(rows["optimizer.lr"].to_list(), _accuracies(rows), strict=True)
    return max((rate for rate, accuracy in pairs if accuracy > _LEARNS), default=0.0)


def _pass(plan: Plan) -> list[Passed]:
    """The layers of a fresh net, and what they make of some train rows, in training mode."""
    seed_everything(plan.seed)
    x, y = probe(plan)
    seen, _ = observe(build.make_model(plan).train(), x, lambda output: plan.loss(output, y))
    return seen


def _given(plan: Plan) -> list[Tensor]:
    """What each linear layer after the first is given [rows, units], at first."""
    seen = _pass(plan)
    before = [seen[i - 1].values for i, item in enumerate(seen) if isinstance(item.module, nn.Linear) and i]
    return before[1 if isinstance(seen[0].module, nn.Flatten) else 0 :]


def _curvatures(z: Tensor) -> Tensor:
    """The eigenvalues, rising, of 2/N Σ (z, 1)(z, 1)ᵗ, none so small that only rounding made it."""
    values = centred_data.curvatures(z)
    return values.clamp(min=float(values[-1]) * 1e-16)


def _off_centre(plan: Plan) -> np.ndarray:
    """What two units of the first layer pass on [rows, 2], whose means are largest beside their deviations."""
    z = _given(plan)[0].double()
    return z[:, (z.mean(0).abs() / z.std(0)).argsort(descending=True)[:2]].numpy()


def _doubled(plan: Plan) -> float:
    """The norm of the first layer's gradient where its weights and biases are twice as large, beside what it was."""
    seed_everything(plan.seed)
    net, (x, y) = build.make_model(plan).train(), probe(plan)
    first = next(module for module in net.modules() if isinstance(module, nn.Linear))

    def size() -> float:
        return float(torch.autograd.grad(plan.loss(net(x), y), first.weight)[0].norm())

    before = size()
    with torch.no_grad():
        for p in first.parameters():
            p *= 2
    return size() / (before or nan)


def _batch(plan: Plan) -> dict[str, np.ndarray]:
    """Activations [rows, units] of the first layer as they are, and after each norm."""
    a = next(item.values for item in _pass(plan) if isinstance(item.module, nn.Linear))[:_ROWS]
    batch = (a - a.mean(0)) / a.std(0, correction=0)
    layer = (a - a.mean(1, keepdim=True)) / a.std(1, correction=0, keepdim=True)
    return {"a, without a norm": a.numpy(), "BatchNorm(a)": batch.numpy(), "LayerNorm(a)": layer.numpy()}
