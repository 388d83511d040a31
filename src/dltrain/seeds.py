"""Runs that differ in their seed alone: `seeds=N` makes them, and what they reached is told as mean and deviation."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

from dltrain.reading import Run

_MOST = 10_000


def split(overrides: Sequence[str]) -> tuple[list[str], int, list[str]]:
    """What was typed without `seeds=N`; N, which is 0 where it was not typed; and what is wrong with it.

    Without -m it is the only key that may make several runs.
    """
    typed = [o for o in overrides if re.match(r"\+{0,2}seeds=", o)]
    others = [o for o in overrides if o not in typed]
    wrong = [o for o in typed if not re.fullmatch(r"[^=]*=[1-9]\d{0,9}", o) or int(o.partition("=")[2]) > _MOST]
    if wrong:
        return others, 0, [f"`{wrong[0]}`: seeds must be a whole number of 1 or more (at most {_MOST:,}): seeds=5"]
    return others, int(typed[-1].partition("=")[2]) if typed else 0, []


def axis(first: int, count: int) -> str:
    """The override that makes `count` runs, from the seed `first` on."""
    return f"seed={','.join(str(first + i) for i in range(count))}"


def groups(found: Sequence[Run]) -> list[list[Run]]:
    """The runs with those together that were typed alike, but for the seed; in the order of the first of each."""
    together: dict[tuple[str, ...], list[Run]] = {}
    for run in found:
        together.setdefault(configuration(run), []).append(run)
    return list(together.values())


def configuration(run: Run) -> tuple[str, ...]:
    """What was typed, without the seed."""
    return tuple(o for o in run.overrides if not o.startswith("seed="))


def values(group: Sequence[Run], name: str) -> list[float]:
    """A metric of each run of a group that has it."""
    return [run.numbers[name] for run in group if name in run.numbers]


def spread(numbers: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1 in the denominator); None where there are too few."""
    mean = statistics.fmean(numbers) if numbers else None
    return mean, statistics.stdev(numbers) if len(numbers) > 1 else None
