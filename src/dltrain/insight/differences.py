"""Whether entries differ by more than noise: t-tests over seeds and folds, or tests over the rows that two single runs
were judged on; and one sentence of it.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from dltrain.insight.entries import Entry
from dltrain.parts import metrics

LEVEL = 0.05  # of the tests
_PAIRS = 200  # of entries that are tested against each other, beside the first against each
_NAMED = 6  # entries in a sentence
FEW = 4  # runs of an entry, below which t-tests miss also what anyone sees


@dataclass(frozen=True)
class Difference:
    """The mean of one entry less that of another, with its 95 % interval; by a paired t-test over seeds and folds, or
    by Welch's where these are not the same; of two single runs over the test rows. p is two-sided.
    """

    mean: float
    low: float
    high: float
    p: float
    paired: bool
    rows: int = 0  # that two single runs were judged on, where it is of these


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean, by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(1 - LEVEL / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def difference(one: Entry, base: Entry, metric: str) -> Difference | None:
    """How much larger a metric is in `one` than in `base`; None where either has fewer than two values."""
    by_repeat = [entry.by_repeat(metric) for entry in (one, base)]
    left, right = one.values(metric), base.values(metric)
    if min(len(left), len(right)) < 2:
        return None
    paired = by_repeat[0].keys() == by_repeat[1].keys() and len(by_repeat[0]) == len(left) == len(right)
    if paired:
        left, right = ([values[key] for key in by_repeat[0]] for values in by_repeat)
    mean = statistics.fmean(left) - statistics.fmean(right)
    steps = [a - b for a, b in zip(left, right, strict=True)] if paired else [*left, *right]
    if statistics.pstdev(steps) < 1e-12 * max(map(abs, [*left, *right, 1e-300])) or (
        not paired and not statistics.pstdev(left) and not statistics.pstdev(right)
    ):
        return Difference(mean, mean, mean, 1.0 if abs(mean) < 1e-12 else 0.0, paired)  # no noise: nothing to test
    from scipy import stats

    with warnings.catch_warnings(action="ignore"):  # of precision, where the values hardly differ
        result = stats.ttest_rel(left, right) if paired else stats.ttest_ind(left, right, equal_var=False)
        low, high = result.confidence_interval(1 - LEVEL)
    return Difference(mean, float(low), float(high), float(result.pvalue), paired)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, by Holm's method (1979)."""
    order, adjusted, largest = sorted(range(len(values)), key=lambda i: values[i]), [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class Tested:
    """An entry beside the first one, and p adjusted for the number of tests; None without a test."""

    entry: Entry
    difference: Difference | None
    p: float | None = None


def with_p_values(others: Sequence[Entry], found: Sequence[Difference | None]) -> list[Tested]:
    """Each with its difference to the first entry, and p adjusted for the number of tests."""
    ps = iter(holm([d.p for d in found if d]))
    return [Tested(entry, d, next(ps) if d else None) for entry, d in zip(others, found, strict=True)]


def sentence(base: Entry, found: Sequence[Tested], metric: str) -> str:
    """Who is better than whom; of what is not tested nothing is said."""
    known = [(t.entry, t.difference.mean, t.p) for t in found if t.difference and t.p is not None]
    larger, what = metrics.larger_is_better(metric), metric.replace("best/", "val/")
    alike = [(entry, p) for entry, _, p in known if p >= LEVEL]
    better = [(entry, p) for entry, mean, p in known if p < LEVEL and (mean > 0) == larger]
    worse = [(entry, p) for entry, mean, p in known if p < LEVEL and (mean > 0) != larger]
    parts = []
    if alike:
        least = _floor(min(p for _, p in alike))
        parts.append(f"{_names([base, *(e for e, _ in alike)])} can't be told apart in {what} (p > {least})")
    if worse:
        everyone = bool(alike) and _each_beats([e for e, _ in alike], [e for e, _ in worse], metric)
        who = ("both beat" if len(alike) == 1 else "all beat") if everyone else f"{base.name} beats"
        parts.append(f"{who} {_names([e for e, _ in worse])}{'' if alike else f' in {what}'} ({_most(worse)})")
    if better:
        beats = "beats" if len(better) == 1 else "beat"
        parts.append(f"{_names([e for e, _ in better])} {beats} {base.name} in {what} ({_most(better)})")
    fewest = min((len(entry.values(metric)) for entry in [base, *(e for e, _ in alike)]), default=0)
    if alike and fewest < FEW and not any(t.difference.rows for t in found if t.difference):
        parts.append(f"{fewest} runs of each tell little: more seeds would tell more")
    return "; ".join(parts)


def _each_beats(better: Sequence[Entry], worse: Sequence[Entry], metric: str) -> bool:
    """Whether each of these is better than each of those, all of it tested."""
    if len(better) * len(worse) > _PAIRS:
        return False
    found = [difference(one, other, metric) for one in better for other in worse]
    if not all(found):
        return False
    known = [d for d in found if d]
    up = all((d.mean > 0) == metrics.larger_is_better(metric) for d in known)
    return up and max(holm([d.p for d in known])) < LEVEL


def _names(entries: Sequence[Entry]) -> str:
    names = [entry.name for entry in entries[:_NAMED]]
    more = len(entries) - len(names)
    *first, last = [*names, *([f"{more} more"] if more else [])]
    return f"{', '.join(first)} and {last}" if first else last


def _floor(p: float) -> str:
    """A number that p is above, of one digit."""
    return f"{min(0.9, math.floor(p * 10) / 10):g}" if p >= 0.1 else f"{math.floor(p * 100) / 100:g}"


def _most(found: Sequence[tuple[Entry, float]]) -> str:
    most = max(p for _, p in found)
    return f"p < {next(level for level in (0.001, 0.01, LEVEL) if most < level):g}"
