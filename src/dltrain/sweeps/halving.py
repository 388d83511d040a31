"""Pruning that loses nothing: jobs are trained to a rung, the rest pause there, the best go on from their checkpoints.

Successive halving (Jamieson and Talwalkar 2016), and its asynchronous form (Li et al. 2020). Schedules are those of the
whole run, so that a job that goes on has the bits of one that was never paused. All follows from the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import final

from dltrain.parts import metrics
from dltrain.runs import reading
from dltrain.runs.foreign import Values, is_number
from dltrain.sweeps.ledger import ENDED
from dltrain.sweeps.settings import Settings

Result = tuple[float | None, float | None]  # the monitor's best value, and the validation loss there


def halving(knobs: Settings, seeds: int) -> Halving | None:
    """What `sweep.prune` asks for. seeds: jobs of a trial."""
    if knobs.prune is None:
        return None
    shares = tuple(knobs.factor ** -float(n) for n in range(knobs.rungs, 0, -1))
    return Halving(shares, knobs.factor, seeds=max(1, seeds), at_once=knobs.prune == "asha")


@final
@dataclass
class Halving:
    """Who goes on. rungs: shares of a job's steps; `len(rungs)` stands for its end. Of the trials at a rung one in
    `factor` goes on, ranked by the mean over its seeds. at_once: as soon as a trial is among the best so far.
    """

    rungs: Sequence[float]
    factor: int = 3
    seeds: int = 1
    at_once: bool = False
    _larger: bool = False
    _typed: dict[int, tuple[str, ...]] = field(default_factory=dict)  # of each job
    _heading: dict[int, int] = field(default_factory=dict)  # the rung that a job goes to, or is paused at
    _at: dict[tuple[int, int], Result] = field(default_factory=dict)  # by job and rung
    _end: dict[int, Result] = field(default_factory=dict)  # of jobs that ended by themselves, wherever

    def until(self, rung: int) -> float | None:
        """The share of its steps at which a job on its way to a rung pauses; None: at its end."""
        return self.rungs[rung] if 0 <= rung < len(self.rungs) else None

    def typed(self, job: int) -> tuple[str, ...]:
        """The overrides of a job."""
        return self._typed[job]

    def take(self, line: Values) -> None:
        """A line of the ledger."""
        job, state, rung = line["job"], line["state"], line.get("rung")
        if state == "same":
            self._typed.pop(job, None)
            return
        if isinstance(typed := line.get("overrides"), (list, tuple)):
            self._typed[job] = tuple(map(str, typed))
        if type(rung) is int:
            self._heading[job] = rung
        if name := reading.plain_name(str(line.get("monitor") or "")):
            self._larger = metrics.larger_is_better(name)
        value, loss = (v if is_number(v := line.get(key)) else None for key in ("value", "loss"))
        self._end.pop(job, None)
        if state == "pruned" and type(rung) is int:
            self._at[job, rung] = value, loss
        elif state in ENDED:
            self._end[job] = (value, loss) if state in reading.ENDED else (None, None)

    def promoted(self) -> list[tuple[int, int]]:
        """Asynchronously: the jobs of one more trial that is among the best of its rung, and the rung that they go to;
        none where there is none.
        """
        for rung in reversed(range(len(self.rungs) if self.at_once else 0)):
            there = [jobs for jobs in self._trials() if all(self._has(job, rung) for job in jobs)]
            for jobs in self._best(there, rung, len(there) // self.factor):
                paused = [job for job in jobs if job not in self._end and self._heading.get(job, 0) <= rung]
                if paused:
                    return [(job, rung + 1) for job in paused]
        return []

    def due(self, on_their_way: Container[int]) -> list[tuple[int, int]]:
        """Once no job runs: those that go on, and the rung that they go to; none while there are others on their way,
        or when all is done.
        """
        there = self._trials()
        for rung in range(len(self.rungs) + 1):
            behind = [job for jobs in there for job in jobs if not self._has(job, rung)]
            if behind:
                return [] if any(job in on_their_way for job in behind) else [(job, rung) for job in behind]
            there = self._best(there, rung, math.ceil(len(there) / self.factor))
        return []

    def _trials(self) -> list[list[int]]:
        """The jobs of each trial, but for those that are another's double."""
        found: dict[int, list[int]] = {}
        for job in sorted(self._typed):
            found.setdefault(job // self.seeds, []).append(job)
        return [*found.values()]

    def _has(self, job: int, rung: int) -> bool:
        return job in self._end or (job, rung) in self._at

    def _best(self, trials: Sequence[list[int]], rung: int, count: int) -> list[list[int]]:
        """The best of these trials, in their order, without those that have no result."""

        def order(jobs: list[int]) -> tuple[bool, float, float]:
            results = [self._at.get((job, rung)) or self._end[job] for job in jobs]
            value, loss = (_mean([result[i] for result in results]) for i in (0, 1))
            return reading.rank(value, loss, larger=self._larger)

        ranks = [order(jobs) for jobs in trials]
        best = sorted(range(len(trials)), key=lambda i: ranks[i])[:count]
        return [trials[i] for i in sorted(best) if not ranks[i][0]]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None
