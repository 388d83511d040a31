"""What the loop reports, and the clock by which it does."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dltrain.engine import devices
from dltrain.engine.guard import norm
from dltrain.engine.state import Trained
from dltrain.engine.steps.mistakes import counted


@dataclass(frozen=True)
class Record:
    """One report: `metrics` by name (train/loss, train/lr, val/loss, ...), and the loss of each step since the last.

    `step` counts optimizer updates done, `epoch` is the same in passes over the data; `losses` is float32 [steps] and
    `rows` int64 [steps], how many rows each of them is the mean of. Of the metrics, train/loss is the mean over all
    these rows, by their weights where they have such, train/lr the rate of the last step (of the first parameter
    group), train/grad_norm the norm of its gradient, clipped by value but not by norm, and train/clip_factor what
    clipping by norm then multiplied it by; train/mistakes is how many answers y f(x) <= 0 a perceptron gave in these
    steps. What is left over is as the weights are now.
    """

    step: int
    epoch: float
    metrics: dict[str, float]
    losses: Tensor
    rows: Tensor

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        return f"<Record of step {self.step:,}, epoch {self.epoch:.4g}: {found}>"


class Records(Iterator[Record]):
    """The reports of a training that goes on as they are asked for."""

    def __init__(self, made: Iterator[Record]) -> None:
        self._made, self._begun = made, False

    def __repr__(self) -> str:
        return "<Records: each is trained for when it is asked for, as in `for record in ...`>"

    def __next__(self) -> Record:
        self._begun = True
        return next(self._made)

    def __del__(self) -> None:
        if not self._begun:
            warnings.warn(
                "nothing was trained: fit trains while its records are asked for; write "
                "`for record in trainer.fit(...): ...`, or trainer.run(...)",
                stacklevel=2,
            )


class Meter:
    """The clock between two records, which stops for validation."""

    def __init__(self, rows_before: Sequence[int] = ()) -> None:
        """rows_before: of the steps since the last record that were made before this clock began."""
        self.since, self._unseen = time.perf_counter(), sum(rows_before)

    def paused(self, work: Callable[[], dict[str, float]]) -> dict[str, float]:
        begin = time.perf_counter()
        result = work()
        self.since += time.perf_counter() - begin
        return result

    def record(self, trainer: Trained, *, epoch: float, metrics: dict[str, float]) -> Record:
        """The report on the steps since the last one."""
        # The one time that the host waits for the device between two reports: all losses come in one copy.
        seen, rows = torch.stack(trainer.losses).float().cpu(), torch.tensor(trainer.rows)
        weights = torch.tensor(trainer.weights, dtype=torch.float64)
        seconds = time.perf_counter() - self.since  # the device is through with them
        own = {
            "train/loss": mean(seen, weights if len(weights) == len(rows) and weights.any() else rows),
            "train/lr": float(trainer.optimizer.param_groups[0]["lr"]),
            "train/grad_norm": trainer.gradient_norm(),
            "train/weight_norm": norm([p.detach() for p in trainer.parameters]),
            "train/samples_per_s": (int(rows.sum()) - self._unseen) / max(seconds, 1e-9),
        }
        if (mistakes := counted(trainer)) is not None:
            own["train/mistakes"] = float(mistakes.count())
            if trainer.ranks is not None:
                own["train/mistakes"] = trainer.ranks.total(own["train/mistakes"])
        if trainer.clip_norm is not None:
            own["train/clip_factor"] = clip_factor(own["train/grad_norm"], trainer.clip_norm)
        if trainer.penalty is not None:
            own["train/penalty"] = float(trainer.penalty().detach())
        self._unseen, self.since = 0, time.perf_counter()
        return Record(trainer.steps, epoch, {**own, **metrics}, seen, rows)


def clip_factor(norm: float, most: float) -> float:
    """What `torch.nn.utils.clip_grad_norm_` multiplies gradients of a common norm by, so that it is `most` at most."""
    return min(1.0, most / (norm + 1e-6))


def mean(losses: Tensor, counts: Tensor) -> float:
    """The mean over all rows of steps whose means are `losses` [steps], as float64. counts: their rows, or weights."""
    return float(devices.float64(losses) @ devices.float64(counts) / counts.sum().item())
