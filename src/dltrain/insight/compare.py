"""`dltrain compare`: runs, or groups of runs that differ in seed or fold: what differs, how they fared, and whether the
difference is more than noise.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from dltrain.config import command_line
from dltrain.errors import ConfigError, tables
from dltrain.errors.output import one_line
from dltrain.insight import listing
from dltrain.parts import metrics
from dltrain.runs import reading, run_folder, seeds
from dltrain.runs.foreign import Values
from dltrain.runs.reading import Report, Run

_LEVEL = 0.05  # of the tests
_DRAWN = 10  # more curves than that can't be told apart
_ROWS = 100  # entries that are told one by one


@dataclass(frozen=True)
class Entry:
    """What is compared: one run, or several of one configuration with different seeds or folds."""

    name: str  # A, B, ...
    runs: list[Run]

    def values(self, metric: str) -> list[float]:
        return seeds.values(self.runs, metric)


@dataclass(frozen=True)
class Difference:
    """The mean of one entry less that of another, with its 95 % interval; by a paired t-test over seeds and folds, or
    by Welch's where these are not the same. p is two-sided.
    """

    mean: float
    low: float
    high: float
    p: float
    paired: bool


def entries(found: Sequence[Run]) -> list[Entry]:
    """Runs of one configuration are one entry, whatever their seeds and folds, unless that leaves one entry alone."""
    groups = seeds.groups(found)
    if len(groups) == 1:
        groups = [[run] for run in found]
    letters = [chr(65 + i) if i < 26 else str(i + 1) for i in range(len(groups))]
    return [Entry(name, group) for name, group in zip(letters, groups, strict=True)]


def compared_of(references: Sequence[str]) -> list[Entry]:
    """What is compared where somebody names runs; raises ConfigError for fewer than two."""
    found = entries(run_folder.collect(references))
    if len(found) < 2:
        raise ConfigError(f"{' '.join(references)} is one run; name two or more, or a sweep: dltrain compare A B")
    return found


def metric_of(compared: Sequence[Entry]) -> str:
    """What decides: the test value of the metric that chose the best epochs, or the validation's where some lack it."""
    monitor = next((run.monitor for entry in compared for run in entry.runs if run.monitor), "val/loss")
    name = monitor.rpartition("/")[2]
    rated = [entry for entry in compared if entry.values(f"best/{name}")]
    return f"test/{name}" if all(entry.values(f"test/{name}") for entry in rated) else f"best/{name}"


# -- statistics ----------------------------------------------------------------------------------------------------


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean, by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(1 - _LEVEL / 2, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def difference(one: Entry, base: Entry, metric: str) -> Difference | None:
    """How much larger a metric is in `one` than in `base`; None where either has fewer than two values."""
    by_repeat = [{seeds.repeat(r): r.numbers[metric] for r in e.runs if metric in r.numbers} for e in (one, base)]
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
        low, high = result.confidence_interval(1 - _LEVEL)
    return Difference(mean, float(low), float(high), float(result.pvalue), paired)


def holm(values: Sequence[float]) -> list[float]:
    """p-values made good for their number, by Holm's method (1979)."""
    order, adjusted, largest = sorted(range(len(values)), key=lambda i: values[i]), [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = largest
    return adjusted


# -- words ---------------------------------------------------------------------------------------------------------


def who(compared: Sequence[Entry]) -> str:
    folders = [run.folder for entry in compared for run in entry.runs]
    ids = dict(zip(folders, reading.short_ids(folders), strict=True))
    lines = []
    for entry in compared[:_ROWS]:
        names = [ids[run.folder] for run in entry.runs]
        shown = " ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        unlike = [f"{ids[r.folder]} {r.status}" for r in entry.runs if r.status not in reading.ENDED]
        notes = f"   ({', '.join(unlike[:4])})" if unlike else ""
        lines.append(one_line(f"{entry.name}   {shown}{notes}"))
    if (more := len(compared) - _ROWS) > 0:
        lines.append(f"and {more:,} more, which --json has; dltrain runs FOLDER --sort KEY ranks them")
    return "\n".join(lines)


_TRAINING_ONLY = ("loss.label_smoothing", "loss.class_weights", "loss.pos_weight")  # a val loss is the plain one


def one_loss(compared: Sequence[Entry]) -> bool:
    """Whether the losses of all of them are one function, so that their values compare."""
    found = [entry.runs[0].config for entry in compared]
    names = {k for one in found for k in one if k == "loss" or k.startswith("loss.")} - {*_TRAINING_ONLY}
    return all(len({str(one.get(name)) for one in found}) == 1 for name in names)


def _other_problems(compared: Sequence[Entry]) -> list[str]:
    """The keys by which they are about different data or judged by different metrics."""
    problems = [reading.problem(run) for entry in compared for run in entry.runs if run.numbers]
    return [k for k in dict.fromkeys(k for p in problems for k in p) if len({p.get(k) for p in problems}) > 1]


def what_differs(compared: Sequence[Entry]) -> str:
    """The keys that differ, one a row; with many entries one a column."""
    firsts = [entry.runs[0] for entry in compared]
    typed = listing.choices(firsts)
    keys = listing.differing(firsts, duplicates=len(compared) < 9, typed=typed)
    if len(compared) > 1 and any(len(entry.runs) > 1 for entry in compared):
        keys = [key for key in keys if key not in _repeated(compared)]
    if not keys:
        return "the configurations are the same"
    rows = [[key, *(listing.cell(key, listing.shown(run, key, typed)) for run in firsts[:_ROWS])] for key in keys]
    table = [["", *(entry.name for entry in compared[:_ROWS])], *rows]
    if len(compared) > 8:
        table = [list(row) for row in zip(*table[:9], strict=True)]
    return "\n".join(tables.table(table, cut=True))


def numbers(compared: Sequence[Entry], metric: str) -> str:
    """The metrics of each entry; of several seeds mean and deviation, and the interval of the one that decides."""
    from dltrain.runs.sweep_table import mean_and_deviation

    name = metric.partition("/")[2]
    wanted = dict.fromkeys([metric, f"best/{name}", f"last/{name}", "test/loss", "best/loss", "train/loss"])
    shown = [m for m in wanted if any(entry.values(m) for entry in compared)]
    several = any(len(entry.runs) > 1 for entry in compared)
    if not shown:
        return "none of them has metrics yet"
    head = ["", *["runs"] * several, shown[0], *["95 % interval"] * several, *shown[1:], "seconds"]
    rows = []
    for entry in compared[:_ROWS]:
        cells = [mean_and_deviation(m, entry.values(m)) for m in shown]
        bounds = interval(entry.values(metric))
        if bounds and metrics.in_percent(metric):
            bounds = max(0.0, bounds[0]), min(1.0, bounds[1])  # Student's t knows no limits
        between = "-" if bounds is None else " to ".join(metrics.text(metric, b) for b in bounds)
        took = [run.seconds for run in entry.runs if run.seconds is not None]
        seconds = f"{statistics.fmean(took):.1f}" if took else "-"
        count = [str(len(entry.values(metric)))] * several
        rows.append([entry.name, *count, cells[0], *[between] * several, *cells[1:], seconds])
    return "\n".join(tables.table([head, *rows], cut=True))


def verdicts(compared: Sequence[Entry], metric: str) -> list[str]:
    """For each entry against the first: better, worse, within the noise, or that one run can't tell."""
    if other := _other_problems(compared):
        return [
            f"{', '.join(other[:4])} differ{'s' * (len(other) == 1)}: these are different problems, not better or worse"
        ]
    base, *others = [entry for entry in compared if entry.values(metric)] or [compared[0]]
    found = [(entry, difference(entry, base, metric)) for entry in others]
    tested = [(entry, found) for entry, found in found if found]
    ps = holm([found.p for _, found in tested])
    lines = [_verdict(entry, base, metric, d, p) for (entry, d), p in zip(tested, ps, strict=True)][:_ROWS]
    if len(tested) > 1:
        lines.append(f"(p by Holm's method over {len(tested)} comparisons)")
    if len(compared) > 1 and _same_but_seed(compared):
        told = " and ".join(word.removesuffix("s") for word in seeds.words(_runs(compared)).split(" and "))
        return [f"they differ in their {told} alone: what is seen here is the noise of one configuration"]
    single = [entry.name for entry in (base, *others) if len(entry.values(metric)) == 1]
    if len(single) == len(others) + 1 and others:
        lines.append(
            "one run each can't tell which is better: the seed alone makes a difference; train them with seeds=5"
        )
    elif single:
        lines.append(f"{', '.join(single[:_ROWS])}: one run can't tell what is noise; train with seeds=5")
    return lines


def told(compared: Sequence[Entry], metric: str) -> list[str]:
    """All of it in words: who, what differs, the numbers, and whether that is more than noise."""
    parts = [who(compared), what_differs(compared), numbers(compared, metric)]
    parts.append("\n".join(verdicts(compared, metric)))
    if not one_loss(compared):
        parts.append("note     the losses are different functions: one of them being smaller says nothing")
    return [part for part in parts if part]


def _same_but_seed(compared: Sequence[Entry]) -> bool:
    return not set(listing.differing([entry.runs[0] for entry in compared])).difference(_repeated(compared))


def _runs(compared: Sequence[Entry]) -> list[Run]:
    return [run for entry in compared for run in entry.runs]


def _repeated(compared: Sequence[Entry]) -> tuple[str, ...]:
    """By which keys alone the runs of an entry may differ."""
    return seeds.keys(_runs(compared))


def _verdict(entry: Entry, base: Entry, metric: str, found: Difference, p: float) -> str:
    unit = " points" if metrics.in_percent(metric) else ""
    sign = 1 if found.mean >= 0 else -1
    bounds = sorted((sign * found.low, sign * found.high))
    counts = sorted({len(entry.values(metric)), len(base.values(metric))})
    over = seeds.words([*entry.runs, *base.runs])
    how = f"paired over {counts[0]} {over}" if found.paired else f"Welch's test, {' and '.join(map(str, counts))} runs"
    low, high, size = (metrics.difference(metric, value) for value in (*bounds, abs(found.mean)))
    facts = f"95 % interval {low} to {high}, {how}, p {_p(p)}"
    what = metric.replace("best/", "val/")
    if p >= _LEVEL:
        noise = "is within the noise" if found.p >= _LEVEL else "may be chance where so many are compared"
        return f"{entry.name} and {base.name}: a difference of {size}{unit} in {what} {noise} ({facts})"
    better = (found.mean > 0) == metrics.larger_is_better(metric)
    return f"{entry.name} is {'better' if better else 'worse'} than {base.name} by {size}{unit} in {what} ({facts})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"


# -- picture and data ----------------------------------------------------------------------------------------------


def draw(compared: Sequence[Entry], metric: str, output: Path) -> str:
    """Draws the curves; returns a line that says where."""
    if output.suffix.lower() != ".png" or output.is_dir() or not output.parent.is_dir():
        raise ConfigError(f"-o {output}: name a PNG file in a folder that exists, such as compare.png")
    from dltrain.insight import plots
    from dltrain.insight.plots.comparison import curves

    firsts = [entry.runs[0] for entry in compared]
    typed = listing.choices(firsts)
    keys = [k for k in listing.differing(firsts, typed=typed) if k not in _repeated(compared)][:3] or ["seed"]
    groups: list[tuple[str, list[list[Report]]]] = []
    for entry in compared[:_DRAWN]:
        settings = ", ".join(f"{key} {listing.cell(key, listing.shown(entry.runs[0], key, typed))}" for key in keys)
        over = f" ({len(entry.runs)} {seeds.words(entry.runs)})" if len(entry.runs) > 1 else ""
        logs = [rows for run in entry.runs if (rows := reading.read_log(run.folder))]
        if logs:
            groups.append((f"{entry.name}: {settings}{over}", logs))
    if not groups:
        return "no curves: none of them has reported yet"
    with command_line.writing(output, "; name another with -o FILE"):
        plots.save(curves(groups, metric=metric.partition("/")[2], losses=one_loss(compared)), output)
    return f"curves   {output}{f' (of the first {_DRAWN})' if len(compared) > _DRAWN else ''}"


def _statistics(values: Sequence[float]) -> dict[str, object]:
    mean, deviation = seeds.spread(values)
    return {"n": len(values), "mean": mean, "std": deviation, "interval": interval(values)}


class Compared(TypedDict):
    """The whole of it for programs, as --json writes it."""

    metric: str
    entries: list[Values]
    differences: list[Values]


def as_data(compared: Sequence[Entry], metric: str) -> Compared:
    """All of it as plain data."""
    base, *others = compared
    found = [(entry.name, difference(entry, base, metric)) for entry in others]
    ps = iter(holm([d.p for _, d in found if d]))
    keys = listing.differing([entry.runs[0] for entry in compared])
    rows: list[Values] = []
    for entry in compared:
        names = dict.fromkeys(name for run in entry.runs for name in run.numbers)
        numbers = {name: _statistics(entry.values(name)) for name in names}
        config = {key: listing.value(entry.runs[0], key) for key in keys if key not in _repeated(compared)}
        rows.append(
            {"name": entry.name, "runs": [str(r.folder) for r in entry.runs], "config": config, "metrics": numbers}
        )
    differences: list[Values] = [
        {"of": name, "to": base.name, **({**vars(d), "p_holm": next(ps)} if d else {"p": None})} for name, d in found
    ]
    return {"metric": metric, "entries": rows, "differences": differences}
