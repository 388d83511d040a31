"""What is told of a perceptron's run: its mistakes, and how many there can be where a hyperplane separates the classes.

A mistake is an answer with y f(x) <= 0, so that a tie is one: with `< 0` nothing would ever move weights of zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dltrain.config.plan import Plan
from dltrain.data import Tensors, separation
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
    if plan.data.task != "binary" or not isinstance(train, Tensors) or not _as_stated(plan):
        return None
    return separation.bound(train.x, train.y)


def _as_stated(plan: Plan) -> bool:
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
        why = f"; a hyperplane separates the classes, and (R/γ)² = {most:,.0f} are the most"  # noqa: RUF001 - gamma
    return f"{', '.join(shown)} {each}, {sum(counts):,} in all{why}"
