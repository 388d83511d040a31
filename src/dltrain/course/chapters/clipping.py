"""Clipping: the norms of a net's gradients before and after it, and what a large rate does with and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import clipping
from dltrain.runs import reading
from dltrain.trained.whole_run import load

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun

_EXPECTED = {  # accuracy, share of clipped steps: of 6 seeds, by rate and whether it is clipped
    (0.1, False): (0.93, 0.98),
    (0.1, True): (0.88, 0.95),
    (1.0, False): (0.0, 0.3),
    (1.0, True): (0.91, 0.98),
}


@dataclass(frozen=True)
class _Clipped:
    rate: float
    bound: float | None
    accuracy: float  # 0 where it broke down
    alive: float  # share of the last hidden layer's units that differ from one train row to another
    steps: clipping.Steps

    @property
    def name(self) -> str:
        return f"rate {self.rate:g}, {'not clipped' if self.bound is None else f'clipped to {self.bound:g}'}"

    @property
    def share(self) -> float:
        """Of the steps that were cut."""
        return float((self.steps.factors < 1).mean())


def study(done: Sequence[Done]) -> Seen:
    folders = looks.table(done[0])["folder"]
    pairs = zip(folders, looks.numbers(done[0], "test/accuracy"), strict=True)
    runs = [_look(Path(folder), accuracy) for folder, accuracy in pairs]
    kinds = {(run.rate, run.bound is not None): run for run in runs}
    wild, tamed = kinds.get((1.0, False), runs[0]), kinds.get((1.0, True), runs[-1])
    accuracy = tamed.accuracy
    numbers = [
        Number(f"accuracy, {run.name}", run.accuracy, *_EXPECTED.get(kind, (-inf, inf)), ".1%")
        for kind, run in kinds.items()
    ]
    numbers += [
        Number(f"longest gradient, {wild.name}", max(wild.steps.norms, default=inf), 5, inf, ".3g"),
        Number(f"steps that were clipped, {tamed.name}", tamed.share, 0.6, 0.8, ".0%"),
        Number(f"live units of the last layer, {wild.name}", wild.alive, 0, 0.1, ".0%"),
        Number(f"live units of the last layer, {tamed.name}", tamed.alive, 0.9, 1.0, ".0%"),
    ]
    caption = (
        f"Each dot is a step. Above the norm of its gradient with {wild.name}, below with {tamed.name}, where the "
        "orange dots are what is left of the blue ones. A few long steps at the start cost the first net its units: "
        "they are never on again, hardly any gradient passes through them, and its loss stays that of guessing."
    )
    arrows = (
        "Gradients of two numbers, pale as they were, dark as they are cut to c = 1. By norm each keeps its direction; "
        "by value one that is long in both components is turned towards a diagonal."
    )
    return Seen(
        numbers,
        1 if accuracy < 0.3 else 2 if accuracy < 0.8 else 3,
        f"With {tamed.name}, it has {accuracy:.1%} of the digits right, and {tamed.share:.0%} of its steps were cut; "
        f"with {wild.name}, {wild.accuracy:.1%}.",
        [
            looks.picture(
                "norms.png", "Before and after", caption, clipping.norms(wild.steps, tamed.steps, tamed.bound)
            ),
            looks.picture("arrows.png", "By norm and by value", arrows, clipping.arrows(*_arrows())),
        ],
    )


def _look(folder: Path, accuracy: float) -> _Clipped:
    """What a run's log has of its steps, until it broke down where it did: such a run may have left no weights."""
    broken, config = accuracy == inf, reading.read(folder).config
    rows = [row for row in reading.read_log(folder) if isfinite(row.get("train/grad_norm") or inf)]
    norms, losses = (np.array([row[f"train/{name}"] for row in rows]) for name in ("grad_norm", "loss"))
    factors = np.array([row.get("train/clip_factor", 1.0) for row in rows])
    steps = clipping.Steps(np.array([row["step"] for row in rows]), norms, factors, losses)
    rate, bound = config["optimizer.lr"], config["regularisation.clip_norm"]
    return _Clipped(rate, bound, 0.0 if broken else accuracy, 0.0 if broken else _alive(load(folder)), steps)


def _alive(run: TrainedRun) -> float:
    net = build.make_model(looks.plan(run)).eval()
    net.load_state_dict(looks.last_weights(run))
    output = [module for module in net.modules() if isinstance(module, torch.nn.Linear)][-1]
    z = looks.given(net, output, looks.rows(run)[0])
    return float((z.max(0).values > z.min(0).values).float().mean())


def _arrows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients [N, 2], and the same as PyTorch clips them to 1 by norm and by value."""
    angles = torch.arange(12) * torch.pi / 6 + 0.35
    lengths = torch.tensor([0.6, 2.0, 1.5, 2.4])[torch.arange(12) % 4]
    given = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
    by_norm, by_value = given.clone(), given.clone()
    for row in by_norm:
        one = torch.zeros(2, requires_grad=True)
        one.grad = row
        torch.nn.utils.clip_grad_norm_([one], 1.0)
    by_value.clamp_(-1.0, 1.0)
    return given.numpy(), by_norm.numpy(), by_value.numpy()
