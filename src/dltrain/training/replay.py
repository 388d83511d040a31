"""A run done again in memory, to see the weights that it had on its way; the run folder is only read.

A run is a pure function of its configuration and data, so nothing has to be kept while it trains.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.engine.trainer import seed_everything
from dltrain.parts.schedules import TorchSchedule
from dltrain.runs import checkpoint


@dataclass(frozen=True)
class Way:
    """The weights (state dicts on the CPU) after each of `steps`, the first of them 0."""

    steps: tuple[int, ...]
    weights: tuple[dict[str, Tensor], ...]

    def ends_like(self, state: dict[str, Tensor]) -> bool:
        """Whether the last weights are bit for bit those of a state dict."""
        last = self.weights[-1]
        return last.keys() == state.keys() and all(torch.equal(last[name], state[name]) for name in last)


def moments(steps: int, count: int) -> list[int]:
    """At most `count` steps from 0 to `steps`, close together at first, when most changes."""
    return sorted({round(steps * (i / (count - 1)) ** 2) for i in range(count)})


def replay(plan: Plan, *, steps: int, wanted: Sequence[int], seconds: float) -> Way | None:
    """Trains `steps` steps from the seed, and keeps the weights after those that are wanted.

    None when it takes longer than `seconds`.
    """
    build.set_threads_and_determinism(plan)
    seed_everything(plan.seed)
    trainer = build.make_trainer(plan)
    train_loader, loaders = build.make_loaders(plan)
    evaluate, due = build.make_evaluate(plan), [step for step in wanted if step > 0]
    kept = [(0, checkpoint.copy_to_cpu(trainer.model.state_dict()))]

    def look() -> None:
        if due and trainer.steps >= due[0]:
            kept.append((trainer.steps, checkpoint.copy_to_cpu(trainer.model.state_dict())))
            while due and trainer.steps >= due[0]:
                del due[0]

    deadline = time.monotonic() + seconds
    watched = isinstance(trainer.schedule, TorchSchedule)  # others know no metrics
    for _ in trainer.fit(
        train_loader,
        steps=steps,
        report_every=plan.report_steps,  # as the training loss is reported a plateau may watch it
        eval_every=plan.eval_steps,
        validate=(lambda model: evaluate(model, loaders["val"])) if watched else None,
        limit_batches=plan.settings.limit_train_batches,
        progress=look,
        stop=lambda: time.monotonic() > deadline,
    ):
        pass
    return None if due else Way(*map(tuple, zip(*kept, strict=True)))
