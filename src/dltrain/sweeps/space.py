"""What a sweep varies: the axes as they were typed, each value checked before any job, and the grid that they span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from dltrain.config import hydra
from dltrain.config.choices import GROUPS, Groups, groups
from dltrain.config.compose import has_key
from dltrain.config.composer import Composer
from dltrain.config.intervals import Interval
from dltrain.config.nodes import first_look
from dltrain.errors import ConfigError, key_of

_MOST_JOBS = 1_000_000
Trial = tuple[str, ...]  # the overrides of a job, without seed and fold where one of several is tried each time
_ALL = "experiment"  # a group whose files set keys of all others


@dataclass(frozen=True)
class Axis:
    """One thing that was typed: a key or a group, with its values as they would be typed, each once."""

    key: str  # with a + or ~ before it
    values: tuple[str, ...]
    is_choice: bool  # of a group, or another change of which keys there are
    interval: Interval | None = None  # from which values are drawn; `values` are then its ends

    @property
    def name(self) -> str:
        """The key alone."""
        return key_of(self.key)

    @property
    def group(self) -> str:
        """The group that the key belongs to."""
        return self.name.partition(".")[0]

    def texts(self) -> list[str]:
        """The overrides that it stands for."""
        return [f"{self.key}={value}" if value or not self.key.startswith("~") else self.key for value in self.values]


class Space:
    """All that was typed for a sweep, in its order. Raises ConfigError where nothing can be made of it."""

    def __init__(self, overrides: Sequence[str], config_dir: Groups, composer: Composer) -> None:
        known = groups(config_dir)
        parse, found = hydra.parser(known), dict[str, Axis]()
        for text in overrides:
            read = parse(text)
            computed = not read.several and "${" in text  # which Hydra would write as a text of no meaning
            values = (text.partition("=")[2],) if computed else tuple(dict.fromkeys(read.texts()))
            found[read.key] = Axis(read.key, values, read.name in known or text[0] in "+~", read.interval)
        self.axes = [*found.values()]
        self._composer = composer
        self._exists: dict[tuple[str, ...], bool] = {}

    @cached_property
    def varied(self) -> list[Axis]:
        """The axes of several values."""
        return [axis for axis in self.axes if len(axis.values) > 1]

    # -- what depends on a choice ----------------------------------------------------------------------------------

    def _choices(self, axis: Axis) -> list[Axis]:
        """The varied choices that decide whether an axis's key exists."""
        own = axis.group, _ALL
        return [a for a in self.varied if a.is_choice and a is not axis and (a.name in own or a.name not in GROUPS)]

    def applies(self, axis: Axis, job: Mapping[str, str]) -> bool:
        """Whether the key of an axis exists under the choices of a job, which are overrides by key."""
        deciding = self._choices(axis)
        if axis.is_choice or not deciding:
            return True
        chosen = tuple(job[a.key] for a in deciding)
        if (found := self._exists.get((axis.key, *chosen))) is None:
            base = self._composer.chosen(self._fixed_choices(dict(zip((a.key for a in deciding), chosen, strict=True))))
            found = self._exists[axis.key, *chosen] = has_key(base.values, axis.name)
        return found

    def _fixed_choices(self, chosen: Mapping[str, str]) -> tuple[str, ...]:
        """The choices of a job, with the first value where none is given."""
        return tuple(chosen.get(a.key, a.texts()[0]) for a in self.axes if a.is_choice)

    # -- the grid ------------------------------------------------------------------------------------------------

    def grid(self) -> Iterator[tuple[str, ...]]:
        """The overrides of each job: every combination once, in the order of Hydra's own sweeper.

        Where the key of an axis does not exist with what else is chosen, it is left out.
        """
        texts = [axis.texts() for axis in self.axes]
        for picked in itertools.product(*(range(len(t)) for t in texts)):
            typed = {a.key: t[i] for a, t, i in zip(self.axes, texts, picked, strict=True)}
            left_out = {a.key: i for a, i in zip(self.axes, picked, strict=True) if not self.applies(a, typed)}
            if not any(left_out.values()):  # the others differ in what is left out alone
                yield tuple(text for key, text in typed.items() if key not in left_out)

    def size(self) -> int:
        """How many jobs the grid has; raises ConfigError for too many."""
        if endless := next((axis for axis in self.axes if axis.interval), None):
            raise ConfigError(
                f"`{endless.key}`: an interval has no end of values; give them, as choice(0.1,0.3) or range(0,1,0.1), "
                "or have some drawn: sweep=random, sobol or tpe"
            )
        choices = [axis for axis in self.varied if axis.is_choice]
        others = [axis for axis in self.varied if not axis.is_choice]
        if (most := math.prod(len(axis.values) for axis in self.varied)) > _MOST_JOBS:
            raise ConfigError(f"{most:,} jobs: a sweep may have {_MOST_JOBS:,}; give fewer values, or sweep=random")
        if not any(map(self._choices, others)):
            return most
        total = 0
        for chosen in itertools.product(*(axis.texts() for axis in choices)):
            job = dict(zip((axis.key for axis in choices), chosen, strict=True))
            total += math.prod(len(axis.values) for axis in others if self.applies(axis, job))
        return total

    # -- checks --------------------------------------------------------------------------------------------------

    def first(self) -> tuple[str, ...]:
        """The overrides of a job in which every axis has its first value that goes with the others."""
        return next(self.grid())

    def check(self, allow: Sequence[str]) -> list[str]:
        """Looks at each value of each axis by itself, in the first job; returns in words what is left out where.

        Raises ConfigError with all that is wrong, as far as it shows without torch.
        """
        mistakes: dict[str, None] = {}
        notes: list[str] = []
        for axis in self.axes:
            wrong, note = self._check(axis, allow) if axis in self.varied or self._choices(axis) else ([], [])
            mistakes |= dict.fromkeys(wrong)
            notes += note
        if mistakes:
            raise ConfigError("\n".join(mistakes))
        return notes

    def samples(self, most: int) -> list[tuple[str, ...]]:
        """Jobs that show the values of the axes which a look without torch can't judge, at most so many: the first job,
        and for each value one that differs from it in that alone.
        """
        axes = [axis for axis in self.varied if axis.group in GROUPS or axis.is_choice]
        found = dict.fromkeys([self.first()])
        for axis in axes:
            step = max(1, len(axis.values) * len(axes) // most)
            for text in axis.texts()[::step]:
                job = self._with(axis, text)
                found |= dict.fromkeys([job] if job else [])
        return [*found][: most + 1]

    def _first_values(self) -> dict[str, str]:
        return {axis.key: axis.texts()[0] for axis in self.axes}

    def _jobs(self, axis: Axis) -> Iterator[dict[str, str]]:
        """The first values, with each combination of the choices that decide whether an axis's key exists."""
        deciding = self._choices(axis)
        for chosen in itertools.product(*(a.texts() for a in deciding)):
            yield self._first_values() | dict(zip((a.key for a in deciding), chosen, strict=True))

    def _with(self, axis: Axis, text: str) -> tuple[str, ...] | None:
        """The first job with one value of an axis, under choices that it goes with."""
        for job in self._jobs(axis):
            if self.applies(axis, job):
                job[axis.key] = text
                return tuple(job[a.key] for a in self.axes if self.applies(a, job))
        return None

    def _check(self, axis: Axis, allow: Sequence[str]) -> tuple[list[str], list[str]]:
        jobs, without = [*self._jobs(axis)], list[str]()
        wrong: dict[str, None] = {}
        for job in jobs:
            if not self.applies(axis, job):
                without.append(" ".join(job[a.key] for a in self._choices(axis)))
                continue
            for text in axis.texts():
                wrong |= dict.fromkeys(self._look({**job, axis.key: text}, axis, allow))
        if len(without) == len(jobs):  # in no job: the first one says what there is
            return self._look(self._first_values(), axis, allow, all_of_it=True), []
        return [*wrong], [f"{axis.name} is left out where there is none: with {', '.join(without)}"] * bool(without)

    def _look(self, job: Mapping[str, str], axis: Axis, allow: Sequence[str], *, all_of_it: bool = False) -> list[str]:
        typed = [job[a.key] for a in self.axes if all_of_it or self.applies(a, job)]
        try:
            composed = self._composer(typed)
            if composed.mistakes:
                return [*composed.mistakes]
            sources = composed.resolved.copies.items()
            copies = [key for key, source in sources if f"{source}.".startswith(f"{axis.name}.")]
            only = None if axis.is_choice else {axis.group, *(key.partition(".")[0] for key in copies)}
            first_look(composed, allow, only=only)
        except ConfigError as error:
            return str(error).splitlines()
        return []
