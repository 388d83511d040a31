"""A table of the user's own: CSV or Parquet, one or several target columns, any mix of numbers and text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from dltrain.data import Data, split
from dltrain.data.assembly import assemble
from dltrain.data.encoding import Kind, Scaling, column_kind, encode, fit, remarks
from dltrain.data.reading import Place, Table, read_table, require_columns
from dltrain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

TableTask = Literal["auto", "classification", "multilabel", "regression"]

_FEW = 20  # integers with at most as many different values are taken for classes


class Target(NamedTuple):
    """y int64 [N] class numbers, or float64 [N, K]; the names of the classes or labels; those of the regression."""

    y: np.ndarray
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


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
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """Rows of a CSV, TSV or Parquet file, to predict the column or columns `target` from the others.

    Numbers are scaled, text columns become zeros and ones per category, missing numbers become the median; all of
    it is learned from the train rows. Only an empty cell, or one equal to a word of `missing_marks`, is missing: "NA"
    as a class stays a class. With `test_path` the test rows are those of that file and `test` is not used.
    Raises `DataError` with the file and line for whatever cannot be used.
    """
    names = [target] if isinstance(target, str) else list(target)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"data.target={target}: name at least one column, and none twice")
    source, place, own = _read(path, test_path, separator, names)
    kinds = _features(source, place, names, features, drop or [], missing_marks or [])
    answer = read_target(source, names, task=task, place=place)
    y = answer.y if answer.classes and answer.y.ndim == 1 else None
    if test_path is None:
        rows = split(own, val=val, test=test, seed=split_seed, classes=y)
    else:
        train, rest, _ = split(own, val=val, test=0, seed=split_seed, classes=None if y is None else y[:own])
        rows = train, rest, np.arange(own, len(source.frame))
    preprocessing, dropped = fit(
        source.frame[rows[0]],
        kinds,
        scaling=scaling,
        missing=missing,
        missing_marks=missing_marks or [],
        max_categories=max_categories,
        source=path,
    )
    x = encode(source.frame, preprocessing, place=place)
    notes = [*source.notes, *dropped, *remarks(source.frame, preprocessing)]
    return assemble(
        x, answer.y, rows, classes=answer.classes, targets=answer.targets, preprocessing=preprocessing, notes=notes
    )


def read_target(source: Table, names: list[str], *, task: TableTask, place: Place) -> Target:
    """What is to be predicted, and as which task; "auto" decides by the values.

    One column: text, true/false, or integers of at most 20 different values are classes, other numbers a
    regression. Several columns: labels if all are 0/1 or true/false, otherwise a regression.
    """
    frame, path = source.frame, source.path
    columns = [_values(frame[name], path, place) for name in names]
    if len(names) == 1 and task in ("auto", "classification"):
        cells, values = frame[names[0]], columns[0]
        if task == "classification" or _holds_classes(cells, values, place):
            return _classes(cells, values, path, place)
    if task == "classification":
        raise ConfigError(f"data.task=classification takes one target column, not {len(names)}; try multilabel")
    for name, values in zip(names, columns, strict=True):
        if values is None:
            raise DataError(_not_a_number(frame[name], place))
    y = np.stack(columns, axis=1)
    labels = np.isin(y, (0, 1))
    if task == "multilabel" and not labels.all():
        row, column = np.argwhere(~labels)[0]
        raise DataError(
            f"{place(int(row))}: column '{names[column]}' is {y[row, column]:g}; data.task=multilabel needs 0 or 1 "
            "(or true, false) in every target column"
        )
    if task == "multilabel" or (task == "auto" and labels.all()):
        return Target(y, classes=tuple(names))
    for name, values in zip(names, columns, strict=True):
        if values.min() == values.max():
            raise DataError(f"{path}: target '{name}' is {values[0]:g} in each of the {len(values)} rows")
    return Target(y, targets=tuple(names))


def _read(path: str, test_path: str | None, separator: str | None, targets: list[str]) -> tuple[Table, Place, int]:
    """The table, where its rows stand, and how many are not of the test file, whose rows come last."""
    import polars as pl

    source = read_table(path, separator=separator)
    require_columns(targets, source.frame.columns, knob="data.target", path=path)
    own = len(source.frame)
    if test_path is None:
        return source, source.place, own
    other = read_table(test_path, separator=separator)
    require_columns(source.frame.columns, other.frame.columns, knob=f"a column of {path}", path=test_path)
    frames = [source.frame, other.frame.select(source.frame.columns)]
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{test_path}: its columns are of other types than those of {path}: {error}") from None
    both = Table(source.path, frame, np.concatenate([source.lines, other.lines]), source.notes + other.notes)
    return both, lambda row: source.place(row) if row < own else other.place(row - own), own


def _features(
    source: Table,
    place: Place,
    targets: list[str],
    features: list[str] | None,
    drop: list[str],
    marks: list[str],
) -> dict[str, Kind]:
    """The columns to learn from, in the file's order, and what each one holds."""
    import polars as pl

    columns = source.frame.columns
    require_columns(list(drop), columns, knob="data.drop", path=source.path)
    require_columns(features or [], columns, knob="data.features", path=source.path)
    for knob, chosen in (("data.drop", drop), ("data.features", features or [])):
        if both := set(targets).intersection(chosen):
            raise ConfigError(f"{knob} names the target column '{min(both)}'")
    wanted = columns if features is None else features
    names = [name for name in columns if name in wanted and name not in drop and name not in targets]
    if not names:
        raise DataError(f"{source.path}: no feature column is left; its columns: {', '.join(columns)}")
    text = [name for name in names if marks and source.frame.schema[name] == pl.String]
    frame = source.frame.with_columns(pl.col(text).replace(list(marks), [None] * len(marks)))
    return {name: column_kind(frame[name], place) for name in names}


def _values(cells: pl.Series, path: Path, place: Place) -> np.ndarray | None:
    """A complete target column as float64 [N], or None if it holds words; true is 1 and false 0."""
    import polars as pl

    if not (cells.dtype in (pl.String, pl.Boolean, pl.Null) or cells.dtype.is_numeric()):
        raise DataError(f"{place(0)}: target '{cells.name}' holds {cells.dtype}, not numbers or text")
    words = cells.str.to_lowercase() if _truth(cells) else cells
    numbers = (words == "true" if _truth(cells) else cells).cast(pl.Float64, strict=False)
    absent = cells.is_null()
    if not (numbers.is_null() & ~absent).any():  # numbers throughout: inf and nan count as missing
        absent = ~numbers.is_finite().fill_null(False)
    if absent.any():
        where = "; ".join(place(row) for row in absent.arg_true().head(3))
        raise DataError(
            f"{path}: target '{cells.name}' is missing or not finite in {absent.sum()} of {len(cells)} rows: {where}"
            f"{'; ...' if absent.sum() > 3 else ''}\nComplete or remove those rows"
        )
    return None if numbers.null_count() else numbers.to_numpy()


def _holds_classes(cells: pl.Series, values: np.ndarray | None, place: Place) -> bool:
    import polars as pl

    few = cells.n_unique() <= _FEW
    if values is None:
        numbers = cells.cast(pl.Float64, strict=False).count()
        if not few and 2 * numbers > len(cells):
            raise DataError(_not_a_number(cells, place))
        return True
    if cells.dtype == pl.Boolean or _truth(cells):
        return True
    integers = cells.str.contains(r"^[+-]?\d+$").all() if cells.dtype == pl.String else cells.dtype.is_integer()
    return integers and few


def _classes(cells: pl.Series, values: np.ndarray | None, path: Path, place: Place) -> Target:
    import polars as pl

    name = cells.name
    if values is None:
        labels = cells.to_numpy()
    elif cells.dtype == pl.Boolean or _truth(cells):
        labels = np.where(values == 1, "true", "false")
    elif (values == np.round(values)).all():
        labels = values.astype(np.int64)
    else:
        row = int(np.argmax(values != np.round(values)))
        raise DataError(
            f"{place(row)}: target '{name}' is {values[row]:g}; data.task=classification needs text or whole numbers"
        )
    classes, y = np.unique(labels, return_inverse=True)
    if len(classes) == 1:
        raise DataError(f"{path}: target '{name}' has one class only: '{classes[0]}' in each of the {len(y)} rows")
    if len(classes) > max(_FEW, len(y) // 2):
        raise DataError(
            f"{path}: target '{name}' has {len(classes)} different values in {len(y)} rows: these are not classes"
        )
    return Target(y.astype(np.int64), classes=tuple(str(c) for c in classes))


def _truth(cells: pl.Series) -> bool:
    """Whether text says true or false throughout."""
    import polars as pl

    return cells.dtype == pl.String and cells.drop_nulls().str.to_lowercase().is_in(["true", "false"]).all()


def _not_a_number(cells: pl.Series, place: Place) -> str:
    import polars as pl

    row = cells.cast(pl.Float64, strict=False).is_null().arg_true()[0]
    return (
        f"{place(row)}: '{cells[row]}' in target '{cells.name}' is not a number; correct it, or ask for classes: "
        "data.task=classification"
    )
