"""A table of the user's own: CSV or Parquet, one or several target columns, any mix of numbers and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from dltrain.data import Data, Kind, Scaling
from dltrain.data.assembly import assemble
from dltrain.data.quality import repeats
from dltrain.data.tables.encoding import column_kind, encode, fit, remarks
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.roles import Roles
from dltrain.data.tables.table import Table, append, few, listed, require_columns
from dltrain.data.tables.targets import TableTask, read_target
from dltrain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl


def table(
    path: str,
    *,
    target: str | list[str],
    features: list[str] | None = None,
    drop: list[str] | None = None,
    task: TableTask = "auto",
    scaling: Scaling = "standard",
    missing: Literal["impute", "refuse"] = "impute",
    missing_marks: list[str] | None = None,
    max_categories: int = 50,
    separator: str | None = None,
    test_path: str | None = None,
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """Rows of a CSV, TSV or Parquet file, to predict the column or columns `target` from the others.

    Numbers are scaled, text columns become zeros and ones per category, missing numbers become the median; all of
    it is learned from the train rows. Only an empty cell, or one equal to a word of `missing_marks`, is missing: "NA"
    as a class stays a class. With `test_path` the test rows are those of that file and `test` is not used. `weight`,
    `group` and `time` name columns that say how much each row counts, which rows stay in one part, and which are later:
    see `Roles`.
    Raises `DataError` with the file and line for whatever cannot be used.
    """
    names = _targets(target)
    for knob, value, choices in (("task", task, get_args(TableTask)), ("missing", missing, ("impute", "refuse"))):
        if value not in choices:
            raise ConfigError(f"data.{knob}={value}: choose {', '.join(choices)}")
    source = read_table(path, separator=separator)
    require_columns(names, source.frame.columns, knob="data.target", path=path)
    if test_path is not None:
        source = append(source, read_table(test_path, separator=separator))
    roles = Roles(weight, group, time, tuple(missing_marks or ()))
    roles.check(source, names, features)
    frame, kinds = _features(source, names, features, drop or [], missing_marks or [], roles.no_features(features))
    answer = read_target(source, names, task=task)
    own = len(source.lines)  # rows of `path`; those of `test_path` follow
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
        source=path,
        place=lambda row: source.place(int(rows[0][row])),
        drop=drop or (),
    )
    x = encode(frame, preprocessing, place=source.place)
    unused = [f"the test rows are those of {test_path}; data.test={test} is not used"] if test_path else []
    found = remarks(frame, preprocessing, place=source.place)
    notes = [*unused, *source.notes, *shared, *few(dropped), *few(found), *repeats(x, answer.y, rows, source.place)]
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


def _targets(target: str | list[str]) -> list[str]:
    names = [target] if isinstance(target, str) else list(target)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"data.target={target}: name at least one column, and none twice")
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
