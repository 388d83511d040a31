"""The table of a sweep: its jobs, or the configurations that several seeds share, best first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dltrain.errors import key_of, tables
from dltrain.parts import metrics
from dltrain.runs import reading, seeds
from dltrain.runs.reading import ENDED, Run

_ROWS = 200  # of a sweep's table; the best come first


def jobs(folder: Path) -> list[Run]:
    """The jobs of a sweep, best first; those without a result come last."""
    return seeds.in_order([reading.read(job, folder) for job, _ in reading.walk(folder)])


def table(jobs: Sequence[Run]) -> str:
    """One row a job, or a configuration where each was run with several seeds: what differs, the best validation, the
    test metrics (mean and standard deviation over the seeds), seconds.
    """
    groups = seeds.ranked(jobs)
    several = bool(groups) and all(map(seeds.differ_in_seed, groups))
    rows = groups if several else [[job] for job in seeds.in_order(jobs)]
    typed = [[o for o in row[0].overrides if not (several and key_of(o) == "seed")] for row in rows]
    common = set.intersection(*map(set, typed)) if len(rows) > 1 else set()
    names = shown_metrics(jobs, "loss", *metrics.MAIN)
    head = ["seeds", "overrides", "done"] if several else ["job", "overrides", "status"]
    table = [[*head, *(title for title, _ in columns(names)), "seconds"]]
    for row, overrides in zip(rows[:_ROWS], typed, strict=False):
        done = f"{sum(job.status in ENDED for job in row)} of {len(row)}" if several else row[0].status
        cells = [mean_and_deviation(key, seeds.values(row, key)) for _, key in columns(names)]
        seconds = seeds.spread([job.seconds or 0.0 for job in row])[0]
        which = _seed_range(row) if several else row[0].folder.name
        table.append([which, " ".join(o for o in overrides if o not in common), done, *cells, f"{seconds:.1f}"])
    more = [f"and {len(rows) - _ROWS:,} more: dltrain runs FOLDER --sort KEY, or --csv"] * (len(rows) > _ROWS)
    return "\n".join([*tables.table(table), *more])


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
