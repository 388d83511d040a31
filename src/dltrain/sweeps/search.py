"""How trials of a sweep are chosen: all of a grid, at random, by a Sobol sequence, or where earlier ones were good."""

from __future__ import annotations

import itertools
import math
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from dltrain.errors import ConfigError, key_of
from dltrain.runs import seeds
from dltrain.runs.foreign import is_number
from dltrain.sweeps.settings import Settings
from dltrain.sweeps.space import Axis, Space, Trial

_TRIES = 1_000  # draws without anything new, after which a space counts as drawn out


class Search(Protocol):
    """Chooses trials, each known by its number."""

    total: int  # at most

    def trials(self, start: int) -> Iterator[Trial]:
        """Trials from one number on, as they are asked for; the same for the same number, or as told until then."""
        ...

    def tell(self, number: int, trial: Trial, value: float | None, state: str, rung: int | None = None) -> None:
        """How a trial ended, or what it has come to at a rung; `queued` is one of an earlier command.

        value: the smaller the better; None where it has none.
        """
        ...


def search(space: Space, knobs: Settings) -> Search:
    """What `sweep.method` names. Raises ConfigError."""
    if knobs.method == "grid":
        return Grid(space)
    trials = min(knobs.trials or 1, _most(space))
    if knobs.method == "optuna":
        from dltrain.sweeps.optuna_search import Optuna

        drawn = Drawn(space, sys.maxsize, _random(space, knobs.seed)).trials(0)
        return Optuna(space, trials, sampler=str(knobs.sampler), options=knobs.options, seed=knobs.seed, drawn=drawn)
    return Drawn(space, trials, _random(space, knobs.seed) if knobs.method == "random" else _sobol(space, knobs.seed))


def _most(space: Space) -> int:
    """How many trials a space has, where they can be counted."""
    with suppress(ConfigError):
        return space.size()
    return sys.maxsize


class Grid:
    """Every combination."""

    def __init__(self, space: Space) -> None:
        self._space, self.total = space, space.size()

    def trials(self, start: int) -> Iterator[Trial]:
        return itertools.islice(self._space.grid(), start, None)

    def tell(self, number: int, trial: Trial, value: float | None, state: str, rung: int | None = None) -> None:
        """A grid goes on as it is."""


class Drawn:
    """Points of the space by numbers from 0 to 1, one for each axis; what comes again is passed over."""

    def __init__(self, space: Space, trials: int, points: Callable[[], Iterator[Sequence[float]]]) -> None:
        self._space, self.total, self._points = space, trials, points

    def trials(self, start: int) -> Iterator[Trial]:
        return itertools.islice(self._new(), min(start, self.total), self.total)

    def _new(self) -> Iterator[Trial]:
        seen: set[Trial] = set()
        idle = 0
        for point in self._points():
            trial = at(self._space, dict(zip((a.key for a in self._space.axes), point, strict=False)))
            idle = idle + 1 if trial in seen else 0
            if idle > _TRIES:
                return
            if trial not in seen:
                seen.add(trial)
                yield trial

    def tell(self, number: int, trial: Trial, value: float | None, state: str, rung: int | None = None) -> None:
        """What is drawn does not depend on it."""


def at(space: Space, point: Mapping[str, float]) -> Trial:
    """The trial at a point of the unit cube."""
    job = {axis.key: _value(axis, point[axis.key]) for axis in space.axes}
    return tuple(text for axis in space.axes if space.applies(axis, job) for text in [job[axis.key]])


def _value(axis: Axis, share: float) -> str:
    if axis.interval:
        return f"{axis.key}={axis.interval.at(share)}"
    return axis.texts()[min(int(share * len(axis.values)), len(axis.values) - 1)]


def _random(space: Space, seed: int) -> Callable[[], Iterator[Sequence[float]]]:
    """A trial has so many numbers as overrides may be typed; those that it does not need are passed over at once."""
    needed = len(space.axes)

    def points() -> Iterator[Sequence[float]]:
        draw = random.Random(f"dltrain sweep {seed}")
        while True:
            yield [draw.random() for _ in range(needed)]
            draw.getrandbits((_AXES - needed) * _BITS)

    return points


_AXES = 1_000  # as many overrides may be typed
_BITS = 64  # that `random()` takes


def _sobol(space: Space, seed: int) -> Callable[[], Iterator[Sequence[float]]]:
    """Only what varies is a dimension."""
    varied = [axis.key in {a.key for a in space.varied} for axis in space.axes]

    def points() -> Iterator[Sequence[float]]:
        from scipy.stats import qmc

        made = qmc.Sobol(d=max(1, sum(varied)), rng=seed)
        while True:
            with warnings.catch_warnings(action="ignore"):  # that so many are no power of two
                drawn = iter(made.random(1)[0].tolist())
            yield [next(drawn) if v else 0.0 for v in varied]

    return points


# -- several seeds and folds -------------------------------------------------------------------------------------------


@dataclass
class Trials:
    """The jobs of a search: each trial once, or once with each of several seeds and folds (`repeats`, the overrides of
    each), whose mean is then its value.
    """

    search: Search
    repeats: Sequence[Trial] = ()
    _found: dict[int, dict[int, tuple[float, float | None, str]]] = field(default_factory=dict)  # by trial and job

    @property
    def total(self) -> int:
        """How many jobs there will be at most."""
        return self.search.total * self._each

    @property
    def _each(self) -> int:
        return max(1, len(self.repeats))

    def jobs(self, start: int, begun: Trial = ()) -> Iterator[Trial]:
        """The jobs from a number on. begun: what the last trial is, where some of its jobs are still to come."""
        trial, done = divmod(start, self._each)
        if done:
            for texts in self.repeats[done:]:
                yield (*self._trial(begun), *texts)
            trial += 1
        for found in self.search.trials(trial):
            if not self.repeats:
                yield found
            for texts in self.repeats:
                yield (*found, *texts)

    def known(self, number: int, job: Trial) -> None:
        """A job of an earlier command, however it goes on."""
        self.search.tell(number // self._each, self._trial(job), None, "queued")

    def ended(
        self, number: int, job: Trial, value: float | None, state: str, *, larger: bool, rung: int | None = None
    ) -> None:
        """How a job ended, or that it is paused at a rung; the search is told when all of its trial are as far."""
        trial = number // self._each
        found = self._found.setdefault(trial, {})
        before = self._reached(found)
        found[number] = math.inf if rung is None else rung, -value if is_number(value) and larger else value, state
        if (reached := self._reached(found)) == before != math.inf:
            return
        values, states = [found[n][1] for n in sorted(found)], {each[2] for each in found.values()}
        numbers = [v for v in values if is_number(v)]
        mean = sum(numbers) / len(numbers) if len(numbers) == len(values) else None
        if reached == math.inf and states.isdisjoint(("failed", "diverged")):  # which may be tried again
            del self._found[trial]
        state = "diverged" if "diverged" in states else state
        self.search.tell(trial, self._trial(job), mean, state, None if reached == math.inf else int(reached))

    def _reached(self, found: Mapping[int, tuple[float, float | None, str]]) -> float:
        """The rung where all jobs of a trial have been; -1 where one has not come to any, infinity for their ends."""
        return min(reached for reached, _, _ in found.values()) if len(found) == self._each else -1

    def _trial(self, job: Trial) -> Trial:
        return seeds.without(job, [key_of(text) for text in self.repeats[0]]) if self.repeats else job
