"""Runs for a program or a notebook: `dltrain.runs()` is the table of them as a frame, `dltrain.compare()` what differs
and whether the difference is more than noise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.insight import compare as comparing
from dltrain.insight import entries, listing
from dltrain.runs import reading, run_folder
from dltrain.runs.foreign import Values
from dltrain.runs.reading import Run
from dltrain.trained.inference import Trained
from dltrain.trained.whole_run import Reference

if TYPE_CHECKING:
    import polars as pl


def runs(where: str | Path = "runs", *conditions: str, sort: str | None = None) -> pl.DataFrame:
    """A row for each run below a folder, the newest last: run (its short id), status, the configuration's keys that
    differ, every metric (test/accuracy, best/loss, ...), then steps, seconds, name, started, folder, command.

    conditions: `KEY=VALUE`, also with != < <= > >=, such as "optimizer=adamw" or "test/accuracy>0.9". sort: a key or
    a metric, the best first. Raises ConfigError for what no run has, and where there is no such folder.
    """
    found, ids = listing.selected(run_folder.place(str(where)), conditions, sort)
    return table(found, {"run": [ids[run.folder] for run in found]})


def table(found: Sequence[Run], first: Mapping[str, Sequence[object]]) -> pl.DataFrame:
    """A row for each of these runs, after columns that are given."""
    keys = listing.differing(found)
    rows = [listing.flat_row(listing.row(run, None, keys)) for run in found]
    last = ("reason", "steps", "seconds", "name", "started", "folder", "command")
    others = {name for row in rows for name in row} - {*keys, *last}
    names = dict.fromkeys(["status", *keys, *sorted(others, key=_first_tested), *last])
    heads = [{name: column[i] for name, column in first.items()} for i in range(len(rows))]
    return _frame([{**head, **{name: row.get(name) for name in names}} for head, row in zip(heads, rows, strict=True)])


def _first_tested(name: str) -> tuple[int, str]:
    """Test metrics, then those of the best validation, then the others."""
    order = ("test", "best")
    part = name.partition("/")[0]
    return order.index(part) if part in order else len(order), name


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; those that differ in their seed alone are one entry.

    metric: what decides, such as test/accuracy. entries: a row for each, with the keys that differ, and of each metric
    the mean and (std) the deviation over its runs. differences: of each entry to the first, with its 95 % interval and
    p, two-sided, alone and by Holm's method over all; none where one run stands against one. verdicts: the same in
    words. `print` shows what `dltrain compare` does.
    """

    metric: str
    entries: pl.DataFrame
    differences: pl.DataFrame
    verdicts: tuple[str, ...]
    text: str

    def __repr__(self) -> str:
        return self.text


def compare(*references: Reference | Sequence[Reference], metric: str | None = None) -> Comparison:
    """What differs between runs, how they fared, and whether the difference is more than noise.

    Each is a run's folder or short id, a folder of several such as a sweep's, `last`, `best`, or a run as `train` and
    `load` return it; a list of them is the same. metric: what decides, such as best/accuracy (the best validation's);
    test where all have it. Raises ConfigError for fewer than two runs.
    """
    each = [r for given in references for r in (given if isinstance(given, (list, tuple)) else [given])]
    compared = entries.of([str(r.folder if isinstance(r, Trained) else r) for r in each])
    known = [run for entry in compared for run in entry.runs]
    metric = comparing.metric_of(compared) if metric is None else listing.known(metric, known)
    data = comparing.as_data(compared, metric)
    return Comparison(
        metric,
        _frame([_entry(entry) for entry in data["entries"]]),
        _frame(data["differences"]),
        tuple(data["verdict"]),
        "\n\n".join(comparing.told(compared, metric)),
    )


def _entry(entry: Values) -> dict[str, object]:
    row: dict[str, object] = {"name": entry["name"], "runs": entry["runs"], **reading.node(entry["config"])}
    for name, found in reading.node(entry["metrics"]).items():
        row |= {name: found["mean"], f"{name} std": found["std"]}
    return row


def _frame(rows: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as a frame: a column whose values are of several kinds, numbers apart, holds them as texts."""
    import polars as pl

    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([_series(name, [row.get(name) for row in rows]) for name in names])


def _series(name: str, values: list[object]) -> pl.Series:
    import polars as pl

    if {type(value) for value in values if value is not None} == {int, float}:
        values = [float(value) if isinstance(value, int) else value for value in values]
    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError):
        texts = [v if v is None or isinstance(v, str) else json.dumps(v, default=str) for v in values]
        return pl.Series(name, texts, dtype=pl.String)
