"""What is asked at a validation: how good the model is, and how good its answers were while it was trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from dltrain.engine import accepted
from dltrain.engine.ranks import Ranks
from dltrain.engine.steps.answers import ROWS, Answers
from dltrain.engine.timetable import Timetable

Validate = Callable[[nn.Module], dict[str, float] | float | None]  # from the model to judge to its metrics
Measure = Callable[[Tensor, Tensor, Tensor | None], dict[str, float]]  # outputs, targets, weights -> metrics by name


class Stopped(Exception):  # noqa: N818 - not an error
    """A validation was left in the middle, because the run is to stop; its report is made when the run goes on."""


class _Trained(Protocol):
    steps: int
    rows: list[int]
    answers: Answers
    model: nn.Module
    loss: nn.Module
    ranks: Ranks | None

    @property
    def best_model(self) -> nn.Module: ...


class Judges:
    """`validate` of the model as it is, `measure` of what it answered to the last rows of its batches."""

    def __init__(self, validate: Validate | None, measure: Measure | None) -> None:
        accepted.called("validate", validate, "a function of the model, as lambda m: evaluate(m, data.val, ...)")
        accepted.called("measure", measure, "a function (outputs, targets, weights) -> metrics")
        self.validate, self.measure = validate, measure

    def stretch(self, table: Timetable, steps: int) -> tuple[int, int]:
        """The step after so many at which the loop stops, and that from which on answers are kept for the next
        validation; the end of the run where none are asked for.
        """
        asked = self.measure is not None
        opens = table.closing(table.next_evaluated(steps), ROWS) if asked else table.total
        return table.next_due(steps), opens

    def metrics(self, trainer: _Trained, table: Timetable) -> dict[str, float]:
        """train/* of the answers, if all of them are there, and val/*."""
        found: dict[str, float] = {}
        if (ranks := trainer.ranks) is not None:
            ranks.broadcast_buffers(trainer.model, trainer.loss, trainer.best_model)
        if self.measure is not None:
            opens, last = table.closing(trainer.steps, ROWS), trainer.steps - len(trainer.rows)  # a report
            rows = sum(map(table.rows, range(opens, last))) + sum(trainer.rows[max(opens - last, 0) :])
            if (kept := trainer.answers.complete(rows, ranks)) is not None:
                found |= _named("train", self.measure(*kept))
        if self.validate is not None:
            found |= _named("val", accepted.metrics(self.validate(trainer.best_model)))
        return found


def _named(part: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{part}/{name}": value for name, value in metrics.items()}
