"""A table of the user's own: CSV or Parquet, one or several target columns, any mix of numbers and text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from dltrain.data import Data, Kind, Scaling
from dltrain.data.assembly import assemble
from dltrain.data.quality import repeats
from dltrain.data.tables.encoding import column_kind, encode, fit, remarks
from dltrain.data.tables.headers import NUMBERED, Format, numbers
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.roles import Roles
from dltrain.data.tables.table import Name, Table, append, few, listed, meant, require_columns
from dltrain.data.tables.targets import TableTask, read_target
from dltrain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl


def table(
    path: str | list[str],
    *,
    target: Name | list[Name],
    features: list[Name] | None = None,
    drop: list[Name] | None = None,
    task: TableTask = "auto",
    scaling: Scaling = "standard",
    missing: Literal["impute", "refuse"] = "impute",
    missing_marks: list[str] | None = None,
    max_categories: int = 50,
    separator: str | None = None,
    header: bool | None = None,
    test_path: str | list[str] | None = None,
    weight: Name | None = None,
    group: Name | None = None,
    time: Name | None = None,
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """Rows of CSV, TSV, JSON lines or Parquet files, to predict the column or columns `target` from the others.

    `path` is a file, a list, a folder or a pattern (see `files.find`). Columns have names, or with `header=False`
    numbers from 1; -1 is the last.

    Numbers are scaled, text columns become zeros and ones per category, missing numbers become the median; all of
    it is learned from the train rows. Only an empty cell, or one equal to a word of `missing_marks`, is missing: "NA"
    as a class stays a class. With `test_path` the test rows are those of that file and `test` is not used. `weight`,
    `group` and `time` name columns that say how much each row counts, which rows stay in one part, and which are later:
    see `Roles`.
    Raises `DataError` with the file and line for whatever cannot be used.
    """
    for knob, value, choices in (("task", task, get_args(TableTask)), ("missing", missing, ("impute", "refuse"))):
        if value not in choices:
            raise ConfigError(f"data.{knob}={value}: choose {', '.join(choices)}")
    source, own = _read(path, test_path, Format(separator, header), test=test)
    columns = source.frame.columns
    names = _targets(target, source)
    left_out = meant(drop or [], columns, knob="data.drop", path=source.path)
    chosen = None if features is None else meant(features, columns, knob="data.features", path=source.path)
    roles = _roles({"weight": weight, "group": group, "time": time}, source, missing_marks or [])
    roles.check(source, names, chosen)
    frame, kinds = _features(source, names, chosen, left_out, missing_marks or [], roles.no_features(chosen))
    answer = read_target(source, names, task=task)
    classes = answer.y[:own] if answer.classes and answer.y.ndim == 1 else None
    sizes = {"val": val, "test": test if test_path is None else 0}
    rows, shared = roles.share_out(source, own, **sizes, seed=split_seed, classes=classes)
    if test_path is not None:
        rows = *rows[:2], np.arange(own, len(frame))
    weights = roles.weights(source, rows)
    preprocessing, dropped = fit(
        frame[rows[0]],
        kinds,
        scaling=scaling,
        missing=missing,
        missing_marks=missing_marks or [],
        max_categories=max_categories,
        source=str(source.path),
        place=lambda row: source.place(int(rows[0][row])),
        drop=left_out,
    )
    preprocessing["target"] = names
    if header is False and columns == numbers(len(columns)):
        preprocessing["numbered"] = len(columns)
    x = encode(frame, preprocessing, place=source.place)
    found = remarks(frame, preprocessing, place=source.place)
    notes = [*source.notes, *shared, *few(dropped), *few(found), *repeats(x, answer.y, rows, source.place)]
    return assemble(
        x,
        answer.y,
        rows,
        classes=answer.classes,
        targets=answer.targets,
        preprocessing=preprocessing,
        notes=notes,
        origin=source.where.place,
        weights=weights,
    )


def _read(
    path: str | list[str], test_path: str | list[str] | None, how: Format, *, test: float | int
) -> tuple[Table, int]:
    """The rows of `path`, then those of `test_path`; and how many the former are."""
    source = read_table(path, how)
    if test_path is None:
        return source, len(source.frame)
    tests = read_table(test_path, how, knob="data.test_path")
    both = append(source, tests)
    unused = f"the test rows are those of {tests.path}; data.test={test} is not used"
    return replace(both, notes=(unused, *both.notes)), len(source.frame)


def _roles(given: dict[str, Name | None], source: Table, marks: list[str]) -> Roles:
    named = {key: name for key, name in given.items() if name is not None}
    columns = source.frame.columns
    meant_by = {k: meant(name, columns, knob=f"data.{k}", path=source.path)[0] for k, name in named.items()}
    return Roles(**meant_by, marks=tuple(marks))


def _targets(target: Name | list[Name], source: Table) -> list[str]:
    names = meant(target, source.frame.columns, knob="data.target", path=source.path)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"data.target={target}: name at least one column, and none twice")
    try:
        require_columns(names, source.frame.columns, knob="data.target", path=source.path)
    except DataError as error:
        doubt = [note for note in source.notes if NUMBERED in note]
        raise DataError("\n".join([str(error), *doubt])) from None
    return names


def _features(
    source: Table, targets: list[str], features: list[str] | None, drop: list[str], marks: list[str], others: set[str]
) -> tuple[pl.DataFrame, dict[str, Kind]]:
    """The columns to learn from, in the file's order, their numbers typed as such; and what each one holds.

    others: columns that are no features, whatever the user names.
    """
    import polars as pl

    columns = source.frame.columns
    require_columns(drop, columns, knob="data.drop", path=source.path)
    require_columns(features or [], columns, knob="data.features", path=source.path)
    for knob, chosen in (("data.drop", drop), ("data.features", features or [])):
        if both := set(targets).intersection(chosen):
            raise ConfigError(f"{knob} names the target column '{min(both)}'")
    wanted = set(columns if features is None else features).difference(drop, targets, others)
    names = [name for name in columns if name in wanted]
    if not names:
        raise DataError(f"{source.path}: no feature column is left; its columns: {listed(columns)}")
    frame = source.frame.select(names)
    if marks:
        frame = frame.with_columns(pl.col(pl.String).replace(marks, [None] * len(marks)))
    kinds = {name: column_kind(frame[name], source.place, drop=drop) for name in names}
    return frame.cast({name: pl.Float64 for name, kind in kinds.items() if kind == "number"}), kinds
