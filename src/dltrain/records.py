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

    `step` counts optimizer updates done, `epoch` is the same in passes over the data; `losses` is float32 [steps].
    """

    step: int
    epoch: float
    metrics: dict[str, float]
    losses: Tensor


class Meter:
    """Makes a record of what the trainer gathered since the last one; its clock stops for validation."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.samples, self.since = trainer, 0, time.perf_counter()

    def paused(self, work: Callable[[], dict[str, float]]) -> dict[str, float]:
        begin = time.perf_counter()
        result = work()
        self.since += time.perf_counter() - begin
        return result

    def record(self, epoch: float, metrics: dict[str, float]) -> Record:
        trainer = self.trainer
        losses = torch.stack(trainer.losses).float().cpu()
        seconds = time.perf_counter() - self.since
        trainer.guard.ask()
        own = {
            "train/loss": losses.double().mean().item(),
            "train/lr": float(trainer.optimizer.param_groups[0]["lr"]),
            "train/grad_norm": trainer.gradient_norm(),
            "train/weight_norm": float(nn.utils.get_total_norm([p.detach() for p in trainer.parameters])),
            "train/samples_per_s": self.samples / max(seconds, 1e-9),
        }
        if trainer.penalty is not None:
            own["train/penalty"] = float(trainer.penalty().detach())
        record = Record(trainer.steps, epoch, {**own, **metrics}, losses)
        trainer.losses, self.samples, self.since = [], 0, time.perf_counter()
        return record
