"""What the loop reports, and the meter that makes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Record:
    """One report: `metrics` by name (train/loss, train/lr, val/loss, ...), and the loss of each step since the last.

    `step` counts optimizer updates done, `epoch` is the same in passes over the data; `losses` is float32 [steps] and
    `rows` int64 [steps], how many rows each of them is the mean of. Of the metrics, train/loss is the mean over all
    these rows, train/lr the rate of the last step (of the first parameter group), and train/grad_norm the norm of its
    gradient, clipped by value but not by norm. What is left over is as the weights are now.
    """

    step: int
    epoch: float
    metrics: dict[str, float]
    losses: Tensor
    rows: Tensor


class Meter:
    """Makes a record of what the trainer gathered since the last one; its clock stops for validation."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.since = trainer, time.perf_counter()
        self._unseen = sum(trainer.rows)  # of steps that were made before this clock began

    def paused(self, work: Callable[[], dict[str, float]]) -> dict[str, float]:
        begin = time.perf_counter()
        result = work()
        self.since += time.perf_counter() - begin
        return result

    def record(self, epoch: float, metrics: dict[str, float]) -> Record:
        trainer = self.trainer
        losses, rows = torch.stack(trainer.losses).float().cpu(), torch.tensor(trainer.rows)
        seconds = time.perf_counter() - self.since
        trainer.guard.ask()
        own = {
            "train/loss": mean(losses, rows),
            "train/lr": float(trainer.optimizer.param_groups[0]["lr"]),
            "train/grad_norm": trainer.gradient_norm(),
            "train/weight_norm": float(nn.utils.get_total_norm([p.detach() for p in trainer.parameters])),
            "train/samples_per_s": (int(rows.sum()) - self._unseen) / max(seconds, 1e-9),
        }
        if trainer.penalty is not None:
            own["train/penalty"] = float(trainer.penalty().detach())
        record = Record(trainer.steps, epoch, {**own, **metrics}, losses, rows)
        trainer.losses, trainer.rows = [], []
        self._unseen, self.since = 0, time.perf_counter()
        return record


def mean(losses: Tensor, rows: Tensor) -> float:
    """The mean over all rows of steps whose means are `losses` [steps], as float64."""
    return float(losses.double() @ rows.double() / rows.sum())
