"""Optimizer and schedule, tried on stand-ins for a model's parameters: their constructors know their own ranges."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from dltrain.config import construct, trials
from dltrain.config.checks import Known
from dltrain.config.compose import Composed
from dltrain.config.mistakes import Mistakes
from dltrain.config.policy import Part
from dltrain.config.settings import Settings
from dltrain.parts import metrics
from dltrain.parts.ranges import FLOAT32
from dltrain.parts.schedules import PureSchedule, TorchSchedule


def try_optimizer(mistakes: Mistakes, optimizer_part: Part) -> Known:
    for key, value in optimizer_part.arguments.items():
        most = _MOST_OF.get(key, FLOAT32)
        if isinstance(value, (int, float)) and abs(value) > most:
            mistakes.say(f"optimizer.{key}", f"{value:g} is too large: {most:g} is the most")
        elif key in _MOST_OF and isinstance(value, int) and value < 1:
            mistakes.say(f"optimizer.{key}", f"{value}: write a whole number above zero")
    return {"optimizer": trials.stand_in(optimizer_part)}


_MOST_OF = {"history_size": 10_000, "max_iter": 1_000_000, "max_eval": 1_000_000, "ns_steps": 100}  # of work in a step


def check_precision(mistakes: Mistakes, optimizer: Optimizer, settings: Settings) -> None:
    if isinstance(optimizer, torch.optim.LBFGS) and settings.precision == "fp16":
        why = "lbfgs takes many gradients a step, and fp16 scales one; use fp32 or bf16"
        mistakes.say("trainer.precision", why)


def try_schedule(
    mistakes: Mistakes,
    scheduler_part: Part,
    optimizer: Optimizer,
    *,
    monitor: str = "val/loss",
    steps_per_epoch: int = 100,
    schedule_steps: int = 1000,
) -> Known:
    """While there are no data to count, its knobs are tried with round numbers."""
    if "scheduler.monitor" in mistakes.lines:
        return {}
    made = construct.make_schedule(
        scheduler_part, optimizer, total_steps=schedule_steps, steps_per_epoch=steps_per_epoch, monitor=monitor
    )
    return {"schedule": made}


def run_through_schedule(
    scheduler_part: Part,
    schedule: PureSchedule | TorchSchedule,
    settings: Settings,
    total_steps: int,
    steps_per_epoch: int,
    notes: list[str],
) -> None:
    """Whether the schedule lasts as long as the run, does something, and watches its metric the right way round."""
    name = scheduler_part.function.__name__
    found = trials.schedule(schedule, name, steps=total_steps, per_epoch=steps_per_epoch)
    if not settings.fast_dev_run:
        notes.extend(found)
    if isinstance(schedule, TorchSchedule):
        best, set_to = metrics.mode(schedule.monitor.split("/")[1]), scheduler_part.arguments.get("mode")
        if set_to in ("min", "max") and set_to != best:
            better = {"min": "smaller", "max": "larger"}[best]
            notes.append(f"scheduler.mode={set_to}: of {schedule.monitor} the {better} is better; mode=auto knows it")


def find_rate_key(composed: Composed, optimizer_part: Part, scheduler_part: Part) -> Known:
    """The key that decides the highest learning rate.

    A schedule with a peak of its own does not ask the optimizer's rate, unless its peak is said to be that. Of a stored
    configuration, which has numbers alone, equal ones count as said to be.
    """
    peak, lr = scheduler_part.arguments.get("max_lr"), optimizer_part.arguments.get("lr")
    linked = composed.resolved.copies.get("scheduler.max_lr") == "optimizer.lr"
    follows = peak == lr if composed.stored else linked
    return {"rate_key": "optimizer.lr" if peak is None or follows else "scheduler.max_lr"}
