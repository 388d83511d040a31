"""What is told of a perceptron's run: its mistakes, and how many there can be where a hyperplane separates the classes.

A mistake is an answer with y f(x) <= 0, so that a tie is one: with `< 0` nothing would ever move weights of zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.data import Tensors, separation
from dltrain.engine.trainer import seed_everything
from dltrain.parts import losses, models, schedules
from dltrain.runs.reading import Report, is_number

_SHOWN = 8  # counts in a line


def counted(reports: Sequence[Report]) -> list[tuple[float, int]]:
    """The epoch at the end of each report, and the mistakes in it; none of a run that counts none."""
    pairs = ((report.get("epoch"), report.get("train/mistakes")) for report in reports)
    return [(epoch, int(n)) for epoch, n in pairs if is_number(epoch) and is_number(n)]


def settled(reports: Sequence[Report]) -> bool:
    """Whether the last report had no mistake."""
    counts = counted(reports)
    return bool(counts) and not counts[-1][1]


def bound(plan: Plan) -> float | None:
    """The most mistakes that there can be: infinite where no hyperplane separates the classes; None where the theorem
    says nothing, or it is not known.
    """
    train = plan.data.train
    if plan.data.task != "binary" or not isinstance(train, Tensors) or not as_stated(plan):
        return None
    return separation.bound(train.x, train.y)


def as_stated(plan: Plan) -> bool:
    """Whether it is Rosenblatt's perceptron: from weights of zero, one row a step, and w + lr y x for a mistake."""
    optimizer, regular = plan.parts["optimizer"], plan.regularisation
    off = ("l1", "l2", "max_norm", "input_noise", "clip_norm", "clip_value", "mixup", "cutmix")
    return (
        isinstance(plan.loss, losses.Perceptron)
        and plan.parts["model"].function is models.Perceptron
        and optimizer.function is torch.optim.SGD
        and not any(optimizer.arguments.get(knob) for knob in ("momentum", "weight_decay", "maximize"))
        and plan.parts["scheduler"].function is schedules.constant
        and plan.batch_size == 1
        and plan.settings.accumulate == 1
        and not any(getattr(regular, knob) for knob in off)
        and not any(regular.augmentation.values())
    )


def told(plan: Plan, reports: Sequence[Report]) -> str | None:
    """The mistakes of each report, all of them, and the bound; None of a run that counts none."""
    counts = [n for _, n in counted(reports)]
    if not counts:
        return None
    shown = [f"{n:,}" for n in counts]
    if len(shown) > _SHOWN:
        shown = [*shown[: _SHOWN - 3], "...", *shown[-2:]]
    each = "an epoch" if plan.settings.report_every == 1 else "a report"
    most = bound(plan)
    why = "" if most is None else "; no hyperplane separates the classes, and they never end"
    if most is not None and math.isfinite(most):
        why = f"; a hyperplane separates the classes, and there can be (R/γ)² = {most:,.0f} at most"  # noqa: RUF001 - gamma
    return f"{', '.join(shown)} {each}, {sum(counts):,} in all{why}"


@dataclass(frozen=True)
class Mistake:
    """A step that changed the weights: its row x [D] of class y, 0 or 1, and w [D] and b before and after it."""

    step: int
    x: Tensor
    y: int
    before: tuple[Tensor, float]
    after: tuple[Tensor, float]


def replayed(plan: Plan, *, steps: int, most: int, seconds: float) -> list[Mistake]:
    """The first mistakes of a run, at most `most`, and as many as `seconds` allow: it is trained again in memory.

    The plan is one that `as_stated` is true of, with one output.
    """
    build.set_threads_and_determinism(plan)
    seed_everything(plan.seed)
    trainer, deadline = build.make_trainer(plan), time.monotonic() + seconds
    found: list[Mistake] = []
    for step, (x, y, index) in enumerate(islice(_batches(plan), steps), start=1):
        before, count = _weights(trainer.parameters), trainer.mistakes.count()
        trainer.step([(x, y, index)])
        if trainer.mistakes.count() > count:
            found.append(Mistake(step, x[0].cpu().clone(), int(y), before, _weights(trainer.parameters)))
        if len(found) == most or time.monotonic() > deadline:
            break
    return found


def _batches(plan: Plan) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Those of the steps, in their order, without an end."""
    loader, epoch = build.make_loaders(plan)[0], 0
    while True:
        for x, y, index, *_ in islice(loader.epoch(epoch), plan.steps_per_epoch):
            yield x, y, index
        epoch += 1


def _weights(parameters: Sequence[Tensor]) -> tuple[Tensor, float]:
    weight, bias = (p.detach().cpu().flatten() for p in parameters)
    return weight.clone(), float(bias)
