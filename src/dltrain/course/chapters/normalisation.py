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
from dltrain.course.plots import norms
from dltrain.engine.look import Seen as Passed
from dltrain.engine.look import observe
from dltrain.engine.trainer import seed_everything
from dltrain.training import resuming
from dltrain.training.diagnose import probe

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture

_LEARNS = 0.7  # test accuracy
_ROWS = 24  # of a batch, drawn
_NAMES = {"none": "without", "batch": "BatchNorm", "layer": "LayerNorm"}
_EXPECTED = {  # κ of the last layer and the largest rate that learns, over 5 seeds
    "none": ((5e7, 2e9), (1.0, 1.0)),
    "batch": ((100, 1e3), (3.0, 3.0)),
    "layer": ((5e3, 1e7), (0.3, 1.0)),
}


def study(done: Sequence[Done]) -> Seen:
    table = looks.table(done[0]).with_columns(pl.col("optimizer.lr").cast(pl.Float64))
    by_norm = {
        str(name[0]): rows.sort("optimizer.lr") for name, rows in table.group_by("model.norm", maintain_order=True)
    }
    conditions = {norm: _conditions(_plan(rows)) for norm, rows in by_norm.items()}
    learns = {norm: _largest(rows) for norm, rows in by_norm.items()}
    without, with_batch = learns.get("none", nan), learns.get("batch", nan)
    factor = with_batch / without if without else inf
    first = _plan(next(iter(by_norm.values())))
    return Seen(
        [
            *(Number(f"κ, last layer, {_NAMES[n]}", k[-1], *_EXPECTED[n][0], ".1g") for n, k in conditions.items()),
            *(Number(f"largest rate, {_NAMES[n]}", r, *_EXPECTED[n][1], "g") for n, r in learns.items()),
        ],
        3 if factor >= 2 else 1 if factor >= 1 else 2,
        f"With BatchNorm the net learns (test accuracy above {_LEARNS:.0%}) up to a rate of {with_batch:g}, without a "
        f"norm {f'up to {without:g}' if without else 'at none of them'}.",
        _pictures(by_norm, conditions, first),
    )


def _pictures(by_norm: dict[str, pl.DataFrame], conditions: dict[str, list[float]], plan: Plan) -> list[Picture]:
    over = (
        f"The activations a of the first layer, {_ROWS} rows of a batch, as they are and as each norm passes them on "
        "(γ = 1, β = 0). BatchNorm makes each column's mean 0 and its deviation 1, over the rows: no unit is off "
        "centre for the next layer. LayerNorm does so for each row, over its units: the stripes of the columns stay."
    )
    both = (
        "Above, at first: the largest eigenvalue of 2/N Σ (z, 1)(z, 1)ᵗ divided by the smallest, z being what a layer "
        "is given. It is the condition number of that layer's own squared error, as in the chapter on centred data, "
        "and grows from layer to layer unless each is centred. Below: the runs, which learn where they have "
        "more than 70 % right."
    )
    rates = {norm: (rows["optimizer.lr"].to_list(), _accuracies(rows)) for norm, rows in by_norm.items()}
    return [
        looks.picture("norms.png", "What each normalises over", over, norms.over_what(_batch(plan))),
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


def _conditions(plan: Plan) -> list[float]:
    """κ of what each linear layer after the first is given."""
    seen = _pass(plan)
    before = [seen[i - 1].values for i, item in enumerate(seen) if isinstance(item.module, nn.Linear) and i]
    return [_condition(z) for z in before[1 if isinstance(seen[0].module, nn.Flatten) else 0 :]]


def _condition(z: Tensor) -> float:
    rows = torch.cat([z.double(), torch.ones(len(z), 1, dtype=torch.float64)], dim=1)
    values = torch.linalg.eigvalsh(2 * rows.T @ rows / len(rows))
    return float(values[-1] / values[0].clamp(min=values[-1] * 1e-16))


def _batch(plan: Plan) -> dict[str, np.ndarray]:
    """Activations [rows, units] of the first layer as they are, and after each norm."""
    a = next(item.values for item in _pass(plan) if isinstance(item.module, nn.Linear))[:_ROWS]
    batch = (a - a.mean(0)) / a.std(0, correction=0)
    layer = (a - a.mean(1, keepdim=True)) / a.std(1, correction=0, keepdim=True)
    return {"a, without a norm": a.numpy(), "BatchNorm(a)": batch.numpy(), "LayerNorm(a)": layer.numpy()}
