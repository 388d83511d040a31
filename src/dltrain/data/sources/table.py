"""A table of the user's own: CSV or Parquet, one or several target columns, any mix of numbers and text."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from dltrain.data import Data, Scaling, Unknown
from dltrain.data.assembly import assemble
from dltrain.data.quality import repeats
from dltrain.data.split import Share, refuse_fold
from dltrain.data.tables.asked import asked, learned_from
from dltrain.data.tables.encoding import Rules, encode, fit, remarks
from dltrain.data.tables.headers import Format, numbers
from dltrain.data.tables.kinds import Told
from dltrain.data.tables.oddities import oddities
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.table import Name, Table, append, few
from dltrain.data.tables.targets import TableTask, TargetMissing, answered, read_target
from dltrain.errors import ConfigError


def table(
    path: str | list[str],
    *,
    target: Name | list[Name],
    features: list[Name] | None = None,
    drop: list[Name] | None = None,
    categorical: list[Name] | None = None,
    numeric: list[Name] | None = None,
    dates: list[Name] | None = None,
    task: TableTask = "auto",
    positive: Name | None = None,
    target_missing: TargetMissing = "refuse",
    scaling: Scaling = "standard",
    missing: Literal["impute", "refuse"] = "impute",
    missing_marks: list[str] | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    day_first: bool | None = None,
    max_categories: int = 256,
    min_count: int = 1,
    unknown: Unknown = "auto",
    separator: str | None = None,
    header: bool | None = None,
    test_path: str | list[str] | None = None,
    weight: Name | None = None,
    group: Name | None = None,
    time: Name | None = None,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Rows of CSV, TSV, JSON lines or Parquet files, to predict the column or columns `target` from the others.

    `path` is a file, a list, a folder or a pattern (see `files.find`). Columns have names, or with `header=False`
    numbers from 1; -1 is the last.

    Numbers are scaled, text columns become zeros and ones per category, dates what they are worth (see `times`),
    missing numbers become the median; all of it is learned from the train rows. What a column holds is seen by its
    cells (see `kinds`) unless `categorical`, `numeric` or `dates` names it, by a name or a pattern; each guess is said
    in `notes`. An empty cell, or one equal to a word of `missing_marks`, is missing; among numbers and dates the usual
    marks are, too, while "NA" as a class stays a class. With `test_path` the test rows are those of that file and
    `test` is not used. `weight`, `group` and `time` name columns that say how much each row counts, which rows stay in
    one part, and which are later: see `Roles`. Raises `DataError` with the file and line for whatever cannot be used.
    """
    _check_choices(task=task, target_missing=target_missing)
    rules = Rules(scaling, missing, missing_marks or [], max_categories, min_count, unknown)
    source, own = _read(path, test_path, Format(separator, header), test=test)
    told = Told(
        categorical or [], numeric or [], dates or [], drop or [], decimal, thousands, day_first, missing_marks or []
    )
    roles = {"weight": weight, "group": group, "time": time}
    wanted = asked(source, target=target, features=features, told=told, roles=roles)
    names, columns = wanted.targets, source.frame.columns
    words = task == "classification"
    source, kept, lacking = answered(source, names, wanted.told, missing=target_missing, words=words)
    own = int(kept[:own].sum())
    frame, found, guessed = learned_from(source, wanted)
    answer = read_target(source, names, task=task, positive=positive)
    classes = answer.y[:own] if answer.classes and answer.y.ndim == 1 else None
    sizes = {"val": val, "test": test if test_path is None else 0}
    rows, shared = wanted.roles.share_out(source, own, **sizes, seed=split_seed, classes=classes)
    if test_path is not None:
        rows = *rows[:2], np.arange(own, len(frame))
    weights = wanted.roles.weights(source, rows)
    first = source.where
    preprocessing, dropped = fit(
        frame[rows[0]], found, rules, source=str(source.path), place=lambda row: first.place(int(rows[0][row]))
    )
    preprocessing["target"] = names
    if header is False and columns == numbers(len(columns)):
        preprocessing["numbered"] = len(columns)
    x = encode(frame, preprocessing, place=source.place)
    said = [*source.notes, *answer.notes, *lacking, *guessed, *shared, *wanted.roles.remarks(weights), *few(dropped)]
    odd = oddities(frame, found, answer.y, rows, scaling)
    seen = [*few(remarks(frame, preprocessing, place=source.place)), *odd]
    return assemble(
        x,
        answer.y,
        rows,
        classes=answer.classes,
        targets=answer.targets,
        preprocessing=preprocessing,
        notes=[*said, *seen, *repeats(x, answer.y, rows, source.place)],
        origin=source.where.place,
        weights=weights,
    )


def _check_choices(**given: str) -> None:
    choices = {"task": get_args(TableTask), "target_missing": get_args(TargetMissing)}
    for knob, value in given.items():
        if value not in choices[knob]:
            raise ConfigError(f"data.{knob}={value}: choose {', '.join(choices[knob])}")


def _read(path: str | list[str], test_path: str | list[str] | None, how: Format, *, test: Share) -> tuple[Table, int]:
    """The rows of `path`, then those of `test_path`; and how many the former are."""
    source = read_table(path, how)
    if test_path is None:
        return source, len(source.frame)
    refuse_fold(test, "the test rows are those of data.test_path")
    tests = read_table(test_path, how, knob="data.test_path")
    both = append(source, tests)
    unused = f"the test rows are those of {tests.path}; data.test={test} is not used"
    return replace(both, notes=(unused, *both.notes)), len(source.frame)
