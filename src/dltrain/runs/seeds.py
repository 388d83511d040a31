"""Runs that differ in their seed or their fold alone: `seeds=N` and `folds=N` make them, and what they reached is told
as mean and deviation.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dltrain.errors import ConfigError, key_of
from dltrain.parts.metrics import larger_is_better
from dltrain.runs import key_roles, reading
from dltrain.runs.key_roles import FOLD, Role
from dltrain.runs.reading import Run

_MOST = 10_000
_DATA = (Role.PROBLEM, Role.PREPARATION, Role.PLACE)
OUT_OF_FOLD = "out_of_fold.csv"  # in the folder of a sweep over folds
_BAD = ("diverged", "failed")  # whatever such a run had reached, it is none that anybody would take


class Repeats(NamedTuple):
    """With how many seeds each choice is trained, and on how many folds of its rows; 0 where that was not typed."""

    seeds: int = 0
    folds: int = 0


def split(overrides: Sequence[str]) -> tuple[list[str], Repeats, list[str]]:
    """What was typed without `seeds=N` and `folds=N`; these; and what is wrong with them.

    Without -m they are the only keys that may make several runs.
    """
    typed = {key: [o for o in overrides if re.match(rf"\+{{0,2}}{key}=", o)] for key in Repeats._fields}
    others = [o for o in overrides if not any(o in words for words in typed.values())]
    found, mistakes = Repeats(), list[str]()
    for (key, words), least in zip(typed.items(), (1, 2), strict=True):
        wrong = [o for o in words if not re.fullmatch(r"[^=]*=[1-9]\d{0,9}", o)]
        wrong = wrong or [o for o in words if not least <= int(o.partition("=")[2]) <= _MOST]
        if wrong:
            mistakes.append(
                f"`{wrong[0]}`: {key} must be a whole number of {least} or more (at most {_MOST:,}): {key}=5"
            )
        elif words:
            found = found._replace(**{key: int(words[-1].partition("=")[2])})
    return others, found, mistakes


def axis(first: object, count: int) -> str:
    """The override that makes `count` runs, from the seed `first` on; raises ConfigError where that is none."""
    if type(first) is not int:
        raise ConfigError(f"seed: {first!r} is not a whole number, from which seeds={count} could count")
    return f"seed={','.join(str(first + i) for i in range(count))}"


def fold_axis(count: int) -> str:
    """The override that makes a run for each of `count` folds."""
    return f"{FOLD}={','.join(f'{number}/{count}' for number in range(1, count + 1))}"


def keys(found: Sequence[Run]) -> tuple[str, ...]:
    """By which keys alone runs of one configuration may differ."""
    return ("seed", FOLD) if any(_folds(run) for run in found) else ("seed",)


def _folds(run: Run) -> int:
    return key_roles.folds(run.config.get(FOLD))


def with_other_data(found: Sequence[Run]) -> list[Run]:
    """Runs that had other rows, by the fingerprints in data.json, than the first on the same configuration of the data:
    a file was changed in between, and their numbers can't be compared.
    """
    first: dict[str, dict[str, object]] = {}
    others: list[Run] = []
    for run in found:
        then = reading.node(reading.node(reading.read_json(run.folder / "data.json")[0]).get("sha256"))
        part = run.config.get("trainer.overfit_batches")  # whose size is that of the steps
        if then and not part and first.setdefault(_of_data(run), then) != then:
            others.append(run)
    return others


def _of_data(run: Run) -> str:
    """All that decides which rows a run has; its seed may, where data have none of their own."""
    drawn = "data.split_seed" not in run.config
    deciding = {key for key in run.config if key_roles.of(key) in _DATA or (drawn and key == "seed")}
    return json.dumps({key: run.config[key] for key in deciding}, sort_keys=True, default=str)


def over_folds(sweep: Path) -> bool:
    """Whether a sweep was begun with `folds=N`, as its record says, also where none of its jobs is there."""
    typed = reading.node(reading.read_json(sweep / "sweep.json")[0]).get("overrides")
    axes = [o for o in typed if isinstance(o, str) and key_of(o) == FOLD] if isinstance(typed, list) else []
    return any("," in o and key_roles.folds(o.partition("=")[2].partition(",")[0]) for o in axes)


def groups(found: Sequence[Run]) -> list[list[Run]]:
    """Those runs together that have one configuration but for seed and fold, in the order of the first of each.

    A run that failed before it had one belongs to those that were typed alike.
    """
    configured = [None if run.unwritten else _configured(run) for run in found]
    known: dict[tuple[str, ...], str] = {}
    if None in configured:
        known = {_typed(run): own for run, own in zip(found, configured, strict=True) if own is not None}
    together: dict[str | tuple[str, ...], list[Run]] = {}
    for run, own in zip(found, configured, strict=True):
        together.setdefault(own or known.get(_typed(run), _typed(run)), []).append(run)
    return list(together.values())


def _typed(run: Run) -> tuple[str, ...]:
    return without(run.overrides, keys([run]))


def without(overrides: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """What was typed but for some keys."""
    return tuple(o for o in overrides if key_of(o) not in names)


def _configured(run: Run) -> str:
    fixed = {k: key_roles.shared(k, v) for k, v in run.config.items() if k not in ("seed", *key_roles.UNSEEN)}
    return json.dumps(fixed, sort_keys=True, default=str)


def repeat(run: Run) -> tuple[str, str]:
    """By what a run may differ from others of its configuration: its seed, and its fold where it has one."""
    return str(run.config.get("seed")), str(run.config[FOLD]) if _folds(run) else ""


def words(found: Sequence[Run]) -> str:
    """What the runs of one configuration are told as: seeds, folds, or both."""
    of_seeds, of_folds = ({*each} for each in zip(*map(repeat, found), strict=True)) if found else ({""}, {""})
    return "seeds" if of_folds == {""} else "folds and seeds" if len(of_seeds) > 1 else "folds"


def differ(group: Sequence[Run]) -> bool:
    """Whether they are several runs, each with a seed or a fold of its own: not one twice, as with two numbers of
    workers.
    """
    return len({repeat(run) for run in group}) == len(group) > 1


def failed(group: Sequence[Run]) -> bool:
    """Whether a run of it diverged or failed: it then has no result, and ranks after all that have one."""
    return any(run.status in _BAD for run in group)


def rank(group: Sequence[Run], metric: str) -> tuple[bool, bool, float, float]:
    """The one order of results, the better first: by the mean over the runs that have it of a metric, equals by that of
    the validation loss; then what has no such number, and last what `failed`, each in the same order.
    """
    value, loss = (spread(values(group, name))[0] for name in (metric, "best/loss"))
    return failed(group), *reading.rank(value, loss, larger=larger_is_better(metric))


def ranked(found: Sequence[Run]) -> list[list[Run]]:
    """The groups of one configuration, best first, and in each its runs, best first, by the metric that chose the best
    epochs (of the first run that has one). Those that another metric chose follow.
    """
    metric = criterion(found)
    each = (sorted(group, key=lambda run: _place([run], metric)) for group in groups(found))
    return sorted(each, key=lambda group: _place(group, metric))


def _place(group: Sequence[Run], metric: str) -> tuple[bool, bool, bool, float, float]:
    """Its rank; runs whose best epochs another metric chose come after those that can be compared."""
    otherwise = any(run.criterion not in ("", metric) for run in group)
    bad, unknown, value, loss = rank(group, metric)
    return bad, otherwise, unknown, value, loss


def in_order(found: Sequence[Run]) -> list[Run]:
    """The runs of `ranked`, one after the other."""
    return [run for group in ranked(found) for run in group]


def best(found: Sequence[Run]) -> Run | None:
    """The best run of the best configuration of all that is no longer in progress; None where none has a best epoch."""
    ended = in_order([run for run in found if run.status != "running"])
    return next((run for run in ended if run.criterion in run.numbers), None)


def criterion(found: Sequence[Run]) -> str:
    """The metric that ranks: that which chose the best epoch of the first run that has it; empty where none has."""
    return next((run.criterion for run in found if run.criterion in run.numbers), "")


def values(group: Sequence[Run], name: str) -> list[float]:
    """A metric of each run of a group that has it."""
    return [run.numbers[name] for run in group if name in run.numbers]


def spread(numbers: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1 in the denominator); None where there are too few."""
    mean = statistics.fmean(numbers) if numbers else None
    return mean, statistics.stdev(numbers) if len(numbers) > 1 else None
