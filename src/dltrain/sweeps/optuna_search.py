"""Trials that Optuna chooses. It is asked as a library: what it needs to know is told again from the ledger."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from dltrain.config.arguments import check_arguments
from dltrain.errors import ConfigError, did_you_mean
from dltrain.sweeps.space import Axis, Space, Trial

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

_OLDEST = (4, 9)


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
    """One of Optuna's samplers over the space; numbers that are listed count as ordered, other values as categories."""

    def __init__(self, space: Space, trials: int, *, sampler: str, options: dict[str, object], seed: int) -> None:
        self._optuna = _optuna()
        self._space, self.total = space, trials
        self._sampler, self._options, self._seed = _sampler(self._optuna, sampler), options, seed
        wrong = check_arguments(self._sampler, options, node="sweep.options", passed=("seed",))
        if wrong:
            raise ConfigError("\n".join(f"sweep.options.{key}: {message}" for key, message in wrong.items()))
        self._study = self._optuna.create_study(sampler=self._make(0))
        self._asked: dict[int, optuna.Trial] = {}

    def _make(self, known: int) -> optuna.samplers.BaseSampler:
        """A sampler; after so many trials it draws other numbers than at the start."""
        seeded = "seed" in inspect.signature(self._sampler).parameters
        extra = {"seed": self._seed + known} if seeded and "seed" not in self._options else {}
        try:
            return self._sampler(**self._options, **extra)
        except (ImportError, TypeError, ValueError) as error:
            raise ConfigError(f"sweep.sampler: {self._sampler.__name__}: {str(error).splitlines()[0]}") from error

    def trials(self, start: int) -> Iterator[Trial]:
        self._study.sampler = self._make(start)
        for number in range(start, self.total):
            trial = self._study.ask()
            job: dict[str, str] = {}
            for axis in sorted(self._space.axes, key=lambda axis: not axis.is_choice):  # choices decide what else is
                if axis.is_choice or self._space.applies(axis, job):
                    job[axis.key] = self._suggested(trial, axis)
            self._asked[number] = trial
            yield tuple(job[axis.key] for axis in self._space.axes if axis.key in job)

    def _suggested(self, trial: optuna.Trial, axis: Axis) -> str:
        if len(axis.values) == 1:
            return axis.texts()[0]
        found = trial._suggest(axis.key, _distribution(self._optuna, axis))
        if axis.interval:
            return f"{axis.key}={found:.6g}" if isinstance(found, float) else f"{axis.key}={found}"
        return f"{axis.key}={_ordered(axis)[found] if isinstance(found, int) else found}"

    def tell(self, number: int, trial: Trial, value: float | None, state: str) -> None:
        """A diverged trial counts as worse than all that ended; one that failed says nothing of its values."""
        states = self._optuna.trial.TrialState
        how = states.COMPLETE if value is not None else states.PRUNED if state == "diverged" else states.FAIL
        if (asked := self._asked.pop(number, None)) is not None:
            self._study.tell(asked, value, state=how)
            return
        params, distributions = self._read(trial)
        made = self._optuna.trial.create_trial(state=how, value=value, params=params, distributions=distributions)
        self._study.add_trial(made)

    def _read(self, trial: Trial) -> tuple[dict[str, object], Mapping[str, BaseDistribution]]:
        """A trial of an earlier command, as Optuna would have it."""
        typed = {text.partition("=")[0]: text.partition("=")[2] for text in trial}
        params: dict[str, object] = {}
        found: dict[str, BaseDistribution] = {}
        for axis in self._space.varied:
            if axis.key not in typed:
                continue
            text = typed[axis.key]
            found[axis.key] = _distribution(self._optuna, axis)
            if axis.interval:
                params[axis.key] = int(text) if axis.interval.is_whole else float(text)
            else:
                params[axis.key] = _ordered(axis).index(text) if _is_ordered(axis) else text
        return params, found


def _sampler(optuna: ModuleType, name: str) -> type[optuna.samplers.BaseSampler]:
    names = [n for n in dir(optuna.samplers) if n.endswith("Sampler") and n != "BaseSampler"]
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
