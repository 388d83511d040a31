"""The table of a sweep: its jobs, or the configurations that several seeds and folds share, best first."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from dltrain.errors import tables
from dltrain.errors.output import cut
from dltrain.parts import metrics
from dltrain.runs import reading, seeds
from dltrain.runs.reading import ENDED, Run

_PATIENCE = 5.0  # seconds for processes that die
_ROWS = 200  # of a sweep's table; the best come first


def jobs(folder: Path) -> list[Run]:
    """The jobs of a sweep that has ended, best first; those without a result come last. Processes that were killed a
    moment ago are waited for: as long as they die they hold their folders.
    """
    found = [reading.read(job, folder) for job, _ in reading.walk(folder)]
    end = time.monotonic() + _PATIENCE
    while any(run.status == "running" for run in found) and time.monotonic() < end:
        time.sleep(0.02)
        found = [reading.read(run.folder, folder) if run.status == "running" else run for run in found]
    return seeds.in_order(found)


def table(jobs: Sequence[Run]) -> str:
    """One row a job, or a configuration where each was run with several seeds or folds: what differs, the best
    validation, the test metrics (mean and standard deviation over them), seconds.

    What a terminal has no room for is left out, and named below: first the seconds, then metrics that do not judge.
    """
    groups = seeds.ranked(jobs)
    several = bool(groups) and all(map(seeds.differ, groups))
    rows = groups if several else [[job] for job in seeds.in_order(jobs)]
    typed = [[*seeds.without(row[0].overrides, seeds.keys(row) if several else ())] for row in rows]
    common = set.intersection(*map(set, typed)) if len(rows) > 1 else set()
    own = [[o for o in overrides if o not in common] for overrides in typed[:_ROWS]]
    names = columns(shown_metrics(jobs, "loss", *metrics.MAIN))
    head = [seeds.words(jobs), "overrides", "done"] if several else ["job", "overrides", "status"]
    table = [[*head, *(title for title, _ in names), "seconds"]]
    for row, overrides in zip(rows, own, strict=False):
        done = f"{sum(job.status in ENDED for job in row)} of {len(row)}" if several else row[0].status
        cells = [mean_and_deviation(key, seeds.values(row, key)) for _, key in names]
        seconds = seeds.spread([job.seconds or 0.0 for job in row])[0]
        which = _told(row, head[0]) if several else row[0].folder.name
        table.append([which, " ".join(overrides), done, *cells, f"{seconds:.1f}"])
    kept = _fitted(table, own, seeds.criterion(jobs).removeprefix("best/"))
    more = [f"and {len(rows) - _ROWS:,} more: dltrain runs FOLDER --sort KEY, or --csv"] * (len(rows) > _ROWS)
    left = [title for title in table[0] if title not in kept]
    more += [f"not shown: {', '.join(left)}: dltrain runs FOLDER --csv has all"] * bool(left)
    return "\n".join([*tables.table([*zip(*kept.values(), strict=True)]), *more])


def _fitted(table: Sequence[Sequence[str]], own: Sequence[Sequence[str]], judge: str) -> dict[str, list[str]]:
    """The columns that there is room for, by their titles; `own` are the overrides of each row, whose keys get shorter
    names before one of the columns that judge goes, and which are cut last.
    """
    kept = {title: [title, *cells] for title, *cells in zip(*table, strict=True)}
    tests, rates = (f"test {judge}", ("train loss" if judge == "train_loss" else f"val {judge}"))
    others = [title for title in table[0][3:-1] if title not in (tests, rates)]
    status = table[0][2]

    def lacking() -> int:
        return sum(max(map(tables.width, cells)) + tables.GAP for cells in kept.values()) - tables.GAP - tables.room()

    for title in ("seconds", *sorted(others, key=lambda title: not title.startswith("test "))):
        if lacking() > 0:
            del kept[title]
    if lacking() > 0:
        short = tables.short(o.partition("=")[0] for row in own for o in row)
        words = [[f"{short[key]}{sign}{value}" for key, sign, value in (o.partition("=") for o in row)] for row in own]
        kept["overrides"] = ["overrides", *map(" ".join, words)]
    for title in [status] * (len({*kept[status][1:]}) == 1) + [tests]:
        if title in kept and lacking() > 0:
            del kept[title]
    if (over := lacking()) > 0:
        room = max(map(tables.width, kept["overrides"])) - over
        kept["overrides"] = [cut(cell, max(len("overrides"), room)) for cell in kept["overrides"]]
    return kept


def shown_metrics(jobs: Sequence[Run], *usual: str) -> list[str]:
    """Those of the usual metrics that some job has, and the one that ranks them."""
    names = dict.fromkeys([*usual, seeds.criterion(jobs).removeprefix("best/")])
    return [n for n in names if any(f"best/{n}" in job.numbers for job in jobs)]


def columns(names: Sequence[str]) -> list[tuple[str, str]]:
    """The titles of a table of runs, and which of their numbers stand below: of the best validation, then of the test.

    The training loss is that of the best validation, too, and is no metric of the test.
    """
    best = [("train loss" if n == "train_loss" else f"val {n}", f"best/{n}") for n in names]
    return best + [(f"test {n}", f"test/{n}") for n in names if n != "train_loss"]


def _told(group: Sequence[Run], what: str) -> str:
    """How many folds there are; seeds in a row as 0-4, others one by one."""
    of_folds = {fold for _, fold in map(seeds.repeat, group)}
    told = {"folds": str(len(of_folds)), "seeds": _seed_range(group)}
    return ", ".join(told[word] for word in what.split(" and "))


def _seed_range(group: Sequence[Run]) -> str:
    """Seeds in a row as 0-4, others one by one."""
    found = sorted({seed for run in group if isinstance(seed := run.config.get("seed"), int)})
    if len(found) > 2 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]}-{found[-1]}"
    return ",".join(map(str, found))


def mean_and_deviation(name: str, numbers: Sequence[float]) -> str:
    """A metric over several runs, such as `98.10% ± 0.31%`; of one run its value."""
    mean, deviation = seeds.spread(numbers)
    if mean is None or deviation is None:
        return metrics.text(name, mean)
    return f"{metrics.text(name, mean)} ± {f'{deviation:.2%}' if metrics.in_percent(name) else f'{deviation:.2g}'}"
