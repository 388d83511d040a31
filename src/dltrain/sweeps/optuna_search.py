"""Trials that Optuna chooses. It is asked as a library: what it needs to know is told again from the ledger."""

from __future__ import annotations

import inspect
import random
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from dltrain.config.arguments import check_arguments
from dltrain.errors import ConfigError, did_you_mean
from dltrain.sweeps.space import Axis, Space, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_OLDEST = (4, 9)
_WITHOUT_MEMORY = ("TPESampler", "RandomSampler")  # a new one for each trial has the same draws after a resume
_DRAWS = 10  # of one trial, until it is another than all before
_UNFIT = {
    "GridSampler": "sweep=grid trains every combination",
    "PartialFixedSampler": "leave it out: a key that has one value is fixed",
}


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("this search needs Optuna: pip install 'dltrain[sweep]' (or sweep=random, sobol)") from error
    found = tuple(int(part) for part in re.findall(r"\d+", optuna.__version__)[:2])
    if found < _OLDEST:
        raise ConfigError(f"this search needs Optuna 4.9 or newer, and {optuna.__version__} is installed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Optuna:
    """One of Optuna's samplers over the space; numbers that are listed count as ordered, other values as categories.

    No trial comes twice: where the sampler finds no other, it is the first of `drawn` that is new. drawn: trials of the
    space in an order that is always the same, until there are no more.
    """

    def __init__(
        self,
        space: Space,
        trials: int,
        *,
        sampler: str,
        options: dict[str, object],
        seed: int,
        drawn: Iterator[Trial],
    ) -> None:
        self._optuna = _optuna()
        self._space, self.total = space, trials
        self._axes = sorted(space.axes, key=lambda axis: not axis.is_choice)  # choices decide what else there is
        self._sampler, self._options, self._seed = _sampler(self._optuna, sampler), options, seed
        wrong = check_arguments(self._sampler, options, node="sweep.options", passed=("seed",))
        if wrong:
            raise ConfigError("\n".join(f"sweep.options.{key}: {message}" for key, message in wrong.items()))
        self._try()
        self._study = self._begun()
        self._numbers: dict[int, int] = {}  # what the study calls a trial
        self._seen: set[Trial] = set()
        self._drawn = drawn

    def _make(self, known: int) -> optuna.samplers.BaseSampler:
        """A sampler; after so many trials it draws other numbers than at the start."""
        options = self._options
        if "seed" in inspect.signature(self._sampler).parameters:
            seed = random.Random(f"{options.get('seed', self._seed)} {known}").getrandbits(32)
            options = {**options, "seed": seed}
        with warnings.catch_warnings(action="ignore", category=self._optuna.exceptions.ExperimentalWarning):
            return self._sampler(**options)

    def _begun(self) -> optuna.Study:
        """A new study. A sampler that has drawn all there is would stop it; that is seen by what it draws next."""
        study = self._optuna.create_study(sampler=self._make(0))
        setattr(study, "stop", lambda: None)  # noqa: B010 - Optuna's raises an error outside of its own loop
        return study

    def _try(self) -> None:
        """Two trials of another study: what the sampler can't do, or lacks, mostly shows before any job starts."""
        with self._in_words():
            study = self._begun()
            for _ in range(2):
                trial = study.ask()
                for axis in self._space.varied:
                    self._suggested(trial, axis)
                study.tell(trial, 0.0)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (ImportError, TypeError, ValueError) as error:
            raise ConfigError(f"sweep.sampler: {self._sampler.__name__}: {str(error).splitlines()[0]}") from error

    def trials(self, start: int) -> Iterator[Trial]:
        self._study.sampler = self._make(start)
        for number in range(start, self.total):
            if self._sampler.__name__ in _WITHOUT_MEMORY:
                self._study.sampler = self._make(number)
            with self._in_words():
                trial = self._study.ask()
                typed = self._new(trial)
            if typed is None:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                return
            self._seen.add(typed)
            self._numbers[number] = trial.number
            kept = self._kept(number)
            kept.params, kept.distributions = self._read(typed)  # as they are typed: with fewer digits
            yield typed

    def _new(self, trial: optuna.Trial) -> Trial | None:
        """What a trial of the study is to be; None when the space is drawn out. Draws that are passed over leave
        nothing there, so that a resume draws the same.
        """
        for draw in range(_DRAWS):
            if draw:
                kept = self._study.get_trials(deepcopy=False)[trial.number]
                kept.params, kept.distributions = self._read(())
                trial = self._optuna.Trial(self._study, trial._trial_id)
            if (typed := self._typed(trial)) not in self._seen:
                return typed
        return next((typed for typed in self._drawn if typed not in self._seen), None)

    def _typed(self, trial: optuna.Trial) -> Trial:
        """The overrides of a trial."""
        job: dict[str, str] = {}
        for axis in self._axes:
            if axis.is_choice or self._space.applies(axis, job):
                job[axis.key] = self._suggested(trial, axis)
        return tuple(job[axis.key] for axis in self._space.axes if axis.key in job)

    def _suggested(self, trial: optuna.Trial, axis: Axis) -> str:
        if len(axis.values) == 1:
            return axis.texts()[0]
        found = trial._suggest(axis.key, _distribution(self._optuna, axis))
        if axis.interval:
            return f"{axis.key}={found:.6g}" if isinstance(found, float) else f"{axis.key}={found}"
        return f"{axis.key}={_ordered(axis)[found] if isinstance(found, int) else found}"

    def tell(self, number: int, trial: Trial, value: float | None, state: str, rung: int | None = None) -> None:
        """A paused trial counts as worse than those that ended, by its value at the rung, until it has come to more; a
        diverged one as worse than all others; one that failed says nothing of its values.
        """
        states = self._optuna.trial.TrialState
        if number not in self._numbers:
            self._seen.add(trial)
            self._numbers[number] = len(self._study.get_trials(deepcopy=False))
            try:
                params, found = self._read(trial)
                known = self._optuna.trial.create_trial(state=states.RUNNING, params=params, distributions=found)
            except ValueError as error:
                raise ConfigError(f"jobs.jsonl: trial {number} is none of this space; the file is damaged") from error
            self._study.add_trial(known)
        if state == "queued":
            return
        kept = self._kept(number)
        kept.state, kept.datetime_complete, kept.values = states.RUNNING, None, None  # what it was until now is gone
        if value is None:
            kept.intermediate_values.clear()
            self._study.tell(kept.number, state=states.PRUNED if state == "diverged" else states.FAIL)
        elif rung is None:
            self._study.tell(kept.number, value)
        else:
            kept.intermediate_values[rung] = value
            self._study.tell(kept.number, state=states.PRUNED)

    def _kept(self, number: int) -> optuna.trial.FrozenTrial:
        """A trial as the study has it, to be changed there: Optuna itself lets none go on that was pruned."""
        return self._study.get_trials(deepcopy=False)[self._numbers[number]]

    def _read(self, trial: Trial) -> tuple[dict[str, object], dict[str, BaseDistribution]]:
        """A trial of an earlier command, as Optuna would have it."""
        typed = {text.partition("=")[0]: text.partition("=")[2] for text in trial}
        params: dict[str, object] = {}
        found: dict[str, BaseDistribution] = {}
        for axis in self._axes:  # in the order in which they are drawn, which a sampler may go by
            if axis.key not in typed or len(axis.values) == 1:
                continue
            text = typed[axis.key]
            found[axis.key] = _distribution(self._optuna, axis)
            if ends := axis.interval:
                found_value = int(text) if ends.is_whole else float(text)
                params[axis.key] = min(max(found_value, ends.first), ends.last)
            else:
                params[axis.key] = _ordered(axis).index(text) if _is_ordered(axis) else text
        return params, found


def _sampler(optuna: ModuleType, name: str) -> type[optuna.samplers.BaseSampler]:
    if name in _UNFIT:
        raise ConfigError(f"sweep.sampler: {name}: {_UNFIT[name]}")
    names = [n for n in dir(optuna.samplers) if re.fullmatch("(?!Base).+Sampler", n) and n not in _UNFIT]
    if name not in names:
        near = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        raise ConfigError(f"sweep.sampler: Optuna has no sampler `{name}`{near}")
    return getattr(optuna.samplers, name)


def _is_ordered(axis: Axis) -> bool:
    return not axis.is_choice and all(re.fullmatch(r"[-+]?[\d.]+([eE][-+]?\d+)?", value) for value in axis.values)


def _ordered(axis: Axis) -> list[str]:
    """Numbers by size, other values as they were typed."""
    return sorted(axis.values, key=float) if _is_ordered(axis) else [*axis.values]


def _distribution(optuna: ModuleType, axis: Axis) -> BaseDistribution:
    found = optuna.distributions
    if ends := axis.interval:
        if ends.is_whole:
            return found.IntDistribution(int(ends.first), int(ends.last), log=ends.log)
        return found.FloatDistribution(ends.first, ends.last, log=ends.log)
    if _is_ordered(axis):
        return found.IntDistribution(0, len(axis.values) - 1)
    return found.CategoricalDistribution(axis.values)
