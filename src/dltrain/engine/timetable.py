"""What comes next in a run: where a step's batches lie, which step is due for a report, how many are one program.

Numbers alone, and functions of the number of steps done: a resumed run asks the same and is told the same.
"""

from __future__ import annotations

import math


class Timetable:
    """A run over epochs of `batches` batches; a step takes `accumulate` of them, the last of an epoch what is left.

    samples: of an epoch, batch_size: of all batches but the last; limit: of an epoch's batches; epochs, or steps, that
    are to be done in all: a part of an epoch is one step at least. report_every and eval_every are in steps, an epoch
    if not given. Raises ValueError for one of these that is below 1.
    """

    def __init__(
        self,
        batches: int,
        *,
        samples: int,
        batch_size: int,
        accumulate: int = 1,
        limit: int | None = None,
        epochs: float | None = None,
        steps: int | None = None,
        report_every: int | None = None,
        eval_every: int | None = None,
    ) -> None:
        for name, number in (("limit_batches", limit), ("report_every", report_every), ("eval_every", eval_every)):
            if number is not None and number < 1:
                raise ValueError(f"{name}={number}: give 1 or more, or None")
        self.batches, self.accumulate = min(batches, limit or batches), accumulate
        self.per_epoch = math.ceil(self.batches / accumulate)
        self.total = steps if steps is not None else self._steps(1.0 if epochs is None else epochs)
        self.report_every, self.eval_every = report_every or self.per_epoch, eval_every or self.per_epoch
        self.whole = min(self.batches, samples // batch_size) // accumulate  # steps of an epoch that lack no row
        self.row = min(self.whole, self.report_every, self.eval_every)  # at most so many steps in a row are alike
        self._of_step, self._of_epoch = batch_size * accumulate, min(samples, self.batches * batch_size)

    def _steps(self, epochs: float) -> int:
        return max(min(1, self.per_epoch), round(epochs * self.per_epoch)) if epochs > 0 else 0

    def place(self, n: int) -> tuple[int, int]:
        """The epoch after n steps, and the batch of it with which the next step begins."""
        epoch, done = divmod(n, self.per_epoch)
        return epoch, done * self.accumulate

    def rows(self, n: int) -> int:
        """How many rows the step after n steps takes."""
        return min(self._of_step, self._of_epoch - n % self.per_epoch * self._of_step)

    def next_due(self, n: int) -> int:
        """The first step after n at which the loop stops for more than a step: the end of an epoch is one, too.

        Asked once for each of them, and not at each step, which then compares two numbers.
        """
        periods = (self.per_epoch, self.report_every, self.eval_every)
        return min(self.total, *(n - n % every + every for every in periods))

    def next_evaluated(self, n: int) -> int:
        """The first step after n after which there is a validation."""
        return min(self.total, n - n % self.eval_every + self.eval_every)

    def closing(self, due: int, rows: int) -> int:
        """After how many steps begin the last ones before the validation `due` that have so many rows: since the one
        before it.
        """
        return max((due - 1) // self.eval_every * self.eval_every, due - math.ceil(rows / self._of_step))

    def ends_epoch(self, n: int) -> bool:
        return n % self.per_epoch == 0

    def is_evaluated(self, n: int) -> bool:
        return n % self.eval_every == 0 or n == self.total

    def is_reported(self, n: int) -> bool:
        """Whether there is a report after n steps, even where nothing was evaluated."""
        return n % self.report_every == 0 or n == self.total

    def together(self, n: int, most: int) -> int:
        """How many of the steps after n are one program of `most`: it, or one where a report or a short step is among
        them. Programs begin where they would have begun in a run that was not stopped.
        """
        last = n + most - 1  # a report after the last of them is not among them
        fits = n % self.per_epoch + most <= self.whole and last < self.total
        return most if fits and all(n // k == last // k for k in (self.report_every, self.eval_every)) else 1
