"""Pruning that loses nothing: jobs are trained to a rung, the rest pause there, the best go on from their checkpoints.

Successive halving (Jamieson and Talwalkar 2016), its asynchronous form (Li et al. 2020), and the same by the median
(Golovin et al. 2017). Schedules are those of the whole run, so that a job that goes on has the bits of one that was
never paused. All follows from the ledger.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import final

from dltrain.parts import metrics
from dltrain.runs import reading
from dltrain.runs.foreign import Values, is_number
from dltrain.sweeps.ledger import ENDED
from dltrain.sweeps.settings import Settings

STARTUP = 5  # trials that no median stops at a rung, as of Optuna's MedianPruner
Result = tuple[float | None, float | None]  # the monitor's best value, and the validation loss there


def halving(knobs: Settings, each: int) -> Halving | None:
    """What `sweep.prune` asks for. each: jobs of a trial."""
    if knobs.prune is None:
        return None
    shares = tuple(knobs.factor ** -float(n) for n in range(knobs.rungs, 0, -1))
    median = knobs.prune == "median"
    factor, startup = (2, STARTUP) if median else (knobs.factor, 0)
    return Halving(shares, factor, each=max(1, each), at_once=knobs.prune != "halving", startup=startup)


@final
@dataclass
class Halving:
    """Who goes on. rungs: shares of a job's steps; `len(rungs)` stands for its end. Of the trials at a rung one in
    `factor` goes on, ranked by the mean over its jobs. at_once: as soon as a trial is among the best so far. startup:
    so many go on at least.
    """

    rungs: Sequence[float]
    factor: int = 3
    each: int = 1
    at_once: bool = False
    startup: int = 0
    _larger: bool = False
    _typed: dict[int, tuple[str, ...]] = field(default_factory=dict)  # of each job
    _heading: dict[int, int] = field(default_factory=dict)  # the rung that a job goes to, or is paused at
    _at: dict[tuple[int, int], Result] = field(default_factory=dict)  # by job and rung
    _end: dict[int, Result] = field(default_factory=dict)  # of jobs that ended by themselves, wherever
    _next: int = 0  # the first job that is not known

    def __post_init__(self) -> None:
        self._there = [_Ranked() for _ in self.rungs]  # trials that have been at a rung
        self._paused = [_Ranked() for _ in self.rungs]  # those of them that may go on

    def until(self, rung: int) -> float | None:
        """The share of its steps at which a job on its way to a rung pauses; None: at its end."""
        return self.rungs[rung] if 0 <= rung < len(self.rungs) else None

    def typed(self, job: int) -> tuple[str, ...]:
        """The overrides of a job."""
        return self._typed[job]

    def take(self, line: Values) -> None:
        """A line of the ledger."""
        job, state, rung = line["job"], line["state"], line.get("rung")
        self._next = max(self._next, job + 1)
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
        elif state == "same":
            self._typed.pop(job, None)
        elif state in ENDED:
            self._end[job] = (value, loss) if state in reading.ENDED else (None, None)
        if self.at_once:
            self._place(job // self.each)

    def promoted(self) -> list[tuple[int, int]]:
        """Asynchronously: the jobs of one more trial that is among the best of its rung, and the rung that they go to;
        none where there is none.
        """
        for rung in reversed(range(len(self.rungs))):
            there, paused = self._there[rung].keys, self._paused[rung].keys
            median = self.startup > 0  # which the middle one is not worse than
            few = max(self.startup, (len(there) + median) // self.factor)
            if paused and bisect_left(there, paused[0]) < few:
                return [(job, rung + 1) for job in self._staying(paused[0][-1], rung)]
        return []

    def due(self, on_their_way: Container[int]) -> list[tuple[int, int]]:
        """Once no job runs: those that go on, and the rung that they go to; none while there are others on their way,
        or when all is done.
        """
        there = [self._jobs(trial) for trial in sorted({job // self.each for job in self._typed})]
        for rung in range(len(self.rungs) + 1):
            behind = [job for jobs in there for job in jobs if not self._has(job, rung)]
            if behind:
                return [] if any(job in on_their_way for job in behind) else [(job, rung) for job in behind]
            there = self._best(there, rung, max(self.startup, math.ceil(len(there) / self.factor)))
        return []

    def _jobs(self, trial: int) -> list[int]:
        """Those of a trial, but for another's doubles."""
        return [job for job in range(trial * self.each, (trial + 1) * self.each) if job in self._typed]

    def _staying(self, trial: int, rung: int) -> list[int]:
        """The jobs of a trial that are paused at a rung."""
        return [job for job in self._jobs(trial) if job not in self._end and self._heading.get(job, 0) <= rung]

    def _place(self, trial: int) -> None:
        """Ranks a trial at each rung where all of its jobs have been."""
        jobs = self._jobs(trial) if (trial + 1) * self.each <= self._next else []
        for rung, (there, paused) in enumerate(zip(self._there, self._paused, strict=True)):
            arrived = bool(jobs) and all(self._has(job, rung) for job in jobs)
            key = (*self._order(jobs, rung), trial) if arrived else None
            there.put(trial, key)
            paused.put(trial, key if key and not key[0] and self._staying(trial, rung) else None)

    def _has(self, job: int, rung: int) -> bool:
        return job in self._end or (job, rung) in self._at

    def _order(self, jobs: list[int], rung: int) -> tuple[bool, float, float]:
        """What sorts trials at a rung, the better first."""
        results = [self._at.get((job, rung)) or self._end[job] for job in jobs]
        value, loss = (_mean([result[i] for result in results]) for i in (0, 1))
        return reading.rank(value, loss, larger=self._larger)

    def _best(self, trials: Sequence[list[int]], rung: int, count: int) -> list[list[int]]:
        """The best of these trials, in their order, without those that have no result."""
        ranks = [self._order(jobs, rung) for jobs in trials]
        best = sorted(range(len(trials)), key=lambda i: ranks[i])[:count]
        return [trials[i] for i in sorted(best) if not ranks[i][0]]


@final
class _Ranked:
    """Trials in their order, the best first."""

    def __init__(self) -> None:
        self.keys: list[_Key] = []
        self._of: dict[int, _Key] = {}

    def put(self, trial: int, key: _Key | None) -> None:
        """Puts a trial where it belongs now, or nowhere."""
        if (old := self._of.get(trial)) == key:
            return
        if old is not None:
            del self.keys[bisect_left(self.keys, old)], self._of[trial]
        if key is not None:
            insort(self.keys, key)
            self._of[trial] = key


_Key = tuple[bool, float, float, int]  # a rank, and the trial


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None
