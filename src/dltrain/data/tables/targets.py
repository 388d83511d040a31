"""The target columns of a table: which task they pose, their classes or values, and what cannot be learned."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from dltrain.data.tables import amounts
from dltrain.data.tables.kinds import MISSING, Told
from dltrain.data.tables.table import Place, Table, keep, listed
from dltrain.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    import polars as pl

TableTask = Literal["auto", "classification", "multilabel", "regression"]
TargetMissing = Literal["refuse", "drop"]

_FEW = 20  # integers with at most as many different values are taken for classes


class Target(NamedTuple):
    """y int64 [N] class numbers, or float64 [N, K]; the names of the classes or labels; those of the regression; what
    was guessed.
    """

    y: np.ndarray
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def answered(
    source: Table, names: list[str], told: Told, *, missing: TargetMissing, words: bool = False
) -> tuple[Table, np.ndarray, list[str]]:
    """The rows that have a value in every target column, its marks for what is missing taken out; which they are, bool
    [N]; and a note.

    missing: whether the other rows are dropped; `read_target` refuses them where they are not. words: whether the usual
    marks stay the names of classes, also beside numbers.
    """
    import polars as pl

    columns = [_understood(source.frame[name], told, words=words) for name in names]
    source = replace(source, frame=source.frame.with_columns(columns))
    if missing == "refuse":
        return source, np.ones(len(source.frame), dtype=bool), []
    whole = source.frame.select(pl.all_horizontal(_known(cells) for cells in columns)).to_series().to_numpy()
    lacking = int((~whole).sum())
    if not lacking:
        return source, whole, []
    if lacking == len(whole):
        raise DataError(f"{source.path}: target {listed(names)} is missing in every row")
    return keep(source, whole), whole, [f"{lacking:,} of {len(whole):,} rows lack the target and were dropped"]


def _known(cells: pl.Series) -> pl.Series:
    return cells.is_not_null() & cells.is_finite().fill_null(False) if cells.dtype.is_float() else cells.is_not_null()


def _understood(cells: pl.Series, told: Told, *, words: bool) -> pl.Series:
    """Text with null for the marks of what is missing, as numbers where it holds amounts of money and the like."""
    import polars as pl

    given = told.decimal is not None or told.thousands is not None
    if cells.dtype == pl.String and told.missing_marks:
        cells = cells.replace(list(told.missing_marks), [None] * len(told.missing_marks))
    if cells.dtype != pl.String or not (given or cells.cast(pl.Float64, strict=False).null_count()):
        return cells
    usual = cells.str.to_lowercase().is_in(() if words else MISSING).fill_null(False)
    others = cells.filter(~usual).drop_nulls()
    if not len(others):
        return cells
    if not given and not others.cast(pl.Float64, strict=False).null_count():
        return cells.set(usual, None)
    if ways := amounts.writings(others, decimal=told.decimal, thousands=told.thousands):
        return amounts.parse(cells.set(usual, None), ways[0])
    return cells


def read_target(source: Table, names: list[str], *, task: TableTask, positive: str | int | None = None) -> Target:
    """What is to be predicted, and as which task; "auto" decides by the values, and a note says how.

    One column: text, true/false, integers of at most 20 different values and 0.0/1.0 are classes, other numbers a
    regression. Several columns: labels if all are 0/1 or true/false, otherwise a regression. `positive` is the class
    that is looked for: of two the second, of more against all others.
    """
    target = _read(source, names, task=task)
    if positive is not None:
        return _against_rest(target, str(positive), names)
    return target._replace(notes=_guess(source, names, target)) if task == "auto" else target


def _guess(source: Table, names: list[str], target: Target) -> tuple[str, ...]:
    """What was made of numbers, and how to have the other; words leave no choice."""
    import polars as pl

    if len(names) > 1:
        kinds = ("0 and 1 as labels", "regression") if target.classes else ("numbers", "multilabel")
        return (f"targets {listed(names)}: taken as {kinds[0]}",) if target.classes else ()
    cells = source.frame[names[0]]
    numbers = cells.cast(pl.Float64, strict=False)
    if cells.dtype == pl.Boolean or numbers.null_count():
        return ()
    distinct = numbers.n_unique()
    if target.classes:
        if set(target.classes) == {"0", "1"}:
            return ()
        span = f"{distinct} whole numbers from {numbers.min():g} to {numbers.max():g}"
        return (f"target '{names[0]}': {span}, taken as {distinct} classes; data.task=regression for numbers",)
    if distinct <= max(_FEW, len(cells) // 50) and (numbers == numbers.round()).all():
        span = f"{distinct} whole numbers from {numbers.min():g} to {numbers.max():g}"
        return (f"target '{names[0]}': {span}, taken as numbers; data.task=classification for classes",)
    return ()


def _against_rest(target: Target, positive: str, names: list[str]) -> Target:
    if not target.classes or target.y.ndim > 1:
        raise ConfigError(f"data.positive={positive} names a class, and the target {listed(names)} has none")
    if positive not in target.classes:
        near = nearest(positive, list(target.classes))
        hint = f"; did you mean '{near}'?" if near else ""
        raise ConfigError(f"data.positive={positive}: no such class in {listed(list(target.classes))}{hint}")
    chosen = target.classes.index(positive)
    others = [name for name in target.classes if name != positive]
    rest = others[0] if len(others) == 1 else "rest" if positive != "rest" else "(rest)"
    return Target((target.y == chosen).astype(np.int64), classes=(rest, positive))


def _read(source: Table, names: list[str], *, task: TableTask) -> Target:
    if task == "classification" and len(names) > 1:
        raise ConfigError(f"data.task=classification takes one target column, not {len(names)}; try multilabel")
    columns = [_typed(source.frame[name], source) for name in names]
    numbers = [_numbers(cells, source) for cells in columns]
    if len(names) == 1 and task in ("auto", "classification"):
        cells, values = columns[0], numbers[0]
        if task == "classification" or _holds_classes(cells, values, source.place):
            return _classes(cells, values, source)
    y = _complete(columns, numbers, source.place)
    labels = np.isin(y, (0, 1))
    if task == "multilabel" and not labels.all():
        row, column = np.argwhere(~labels)[0]
        raise DataError(
            f"{source.place(int(row))}: column '{names[column]}' is {y[row, column]:g}; data.task=multilabel needs "
            "0 or 1 (or true, false) in every target column"
        )
    if task == "multilabel" or (task == "auto" and len(names) > 1 and labels.all()):
        return Target(y, classes=tuple(names))
    for cells, values in zip(columns, y.T, strict=True):
        if values.min() == values.max():
            what = f"is {values[0]:g} in each of the {len(values)} rows"
            if cells.n_unique() > 1:
                what = f"lies around {values[0]:g} and varies by less than float64's rounding; subtract a constant"
            raise DataError(f"{source.path}: target '{cells.name}' {what}")
    return Target(y, targets=tuple(names))


def known_target(
    source: Table, names: list[str], *, classes: tuple[str, ...], positive: str | None = None
) -> np.ndarray:
    """The target columns of further rows: class numbers int64 [N] by the names of `classes`; without them values
    float64 [N, K]; where the columns are themselves the classes, labels of 0 and 1 [N, K].

    positive: the class that stands against the rest, whatever that is called.
    """
    columns = [_typed(source.frame[name], source) for name in names]
    numbers = [_numbers(cells, source) for cells in columns]
    if not classes or classes == tuple(names):
        return _complete(columns, numbers, source.place)
    import polars as pl

    words = columns[0].cast(pl.String)
    if numbers[0] is not None and not words.is_in(classes).all():  # 1.0 and 01 stand for the class "1"
        found = _whole(columns[0], numbers[0])
        words = pl.Series(names[0], [str(int(value)) if value == int(value) else f"{value:g}" for value in found])
    if positive is not None:
        return (words == positive).to_numpy().astype(np.int64)
    strange = (~words.is_in(classes)).arg_true()
    if len(strange):
        raise DataError(
            f"{source.place(strange[0])}: '{words[strange[0]]}' in target '{names[0]}' is none of the run's classes: "
            f"{', '.join(classes[:12])}{', ...' * (len(classes) > 12)}"
        )
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[word] for word in words], dtype=np.int64)


def _typed(cells: pl.Series, source: Table) -> pl.Series:
    """Text, numbers or booleans; text that says true or false throughout is boolean."""
    import polars as pl

    if not (cells.dtype in (pl.String, pl.Boolean, pl.Null) or cells.dtype.is_numeric()):
        raise DataError(f"{source.place(0)}: target '{cells.name}' holds {cells.dtype}, not numbers or text")
    if cells.dtype != pl.String:
        return cells
    words = cells.str.to_lowercase()
    return words == "true" if words.drop_nulls().is_in(["true", "false"]).all() else cells


def _numbers(cells: pl.Series, source: Table) -> np.ndarray | None:
    """A complete column as float64 [N], true as 1 and false as 0; None if it holds words."""
    import polars as pl

    numbers = cells.cast(pl.Float64, strict=False)
    words = (numbers.is_null() & cells.is_not_null()).any()
    absent = cells.is_null() if words else ~numbers.is_finite().fill_null(False)
    if absent.any():
        where = "; ".join(source.place(row) for row in absent.arg_true().head(3))
        raise DataError(
            f"{source.path}: target '{cells.name}' is missing or not finite in {absent.sum()} of {len(cells)} rows: "
            f"{where}{'; ...' if absent.sum() > 3 else ''}\nComplete or remove those rows, or "
            "data.target_missing=drop; a word such as NA is a class by data.task=classification"
        )
    return None if words else numbers.to_numpy()


def _complete(columns: list[pl.Series], numbers: list[np.ndarray | None], place: Place) -> np.ndarray:
    """The values of all columns, float64 [N, K]; raises DataError where one holds words."""
    known: list[np.ndarray] = []
    for cells, values in zip(columns, numbers, strict=True):
        if values is None:
            raise DataError(_not_a_number(cells, place))
        known.append(values)
    return np.stack(known, axis=1)


def _holds_classes(cells: pl.Series, values: np.ndarray | None, place: Place) -> bool:
    import polars as pl

    few = cells.n_unique() <= _FEW
    if values is None:
        numbers = cells.cast(pl.Float64, strict=False).count()
        if not few and 2 * numbers > len(cells):
            raise DataError(_not_a_number(cells, place))
        return True
    if np.isin(values, (0, 1)).all():
        return True  # also as 0.0 and 1.0
    if cells.dtype == pl.String:
        return few and cells.str.contains(r"^[+-]?\d+$").all()
    return cells.dtype == pl.Boolean or (few and cells.dtype.is_integer())


def _classes(cells: pl.Series, values: np.ndarray | None, source: Table) -> Target:
    import polars as pl

    name = cells.name
    if values is not None and (values != np.round(values)).any():
        row = int(np.argmax(values != np.round(values)))
        raise DataError(
            f"{source.place(row)}: target '{name}' is {values[row]:g}; data.task=classification needs text or whole "
            "numbers"
        )
    labels, y = np.unique(cells.to_numpy() if values is None else _whole(cells, values), return_inverse=True)
    if len(labels) == 1:
        raise DataError(f"{source.path}: target '{name}' has one class only: '{cells[0]}' in each of the {len(y)} rows")
    if len(labels) > max(_FEW, len(y) // 2):
        how = "data.task=regression learns amounts" if values is not None else "write amounts, and times, as numbers"
        raise DataError(
            f"{source.path}: target '{name}' has {len(labels)} different values in {len(y)} rows ('{labels[0]}', "
            f"'{labels[1]}', ...): these are not classes; {how}"
        )
    if cells.dtype == pl.Boolean:
        classes = ("false", "true")
    elif values is None:
        classes = tuple(labels.tolist())
    else:
        classes = tuple(str(int(label)) for label in labels)
    return Target(y.astype(np.int64), classes=classes)


def _whole(cells: pl.Series, values: np.ndarray) -> np.ndarray:
    """The numbers in `cells`, which float64 `values` hold: as Python's integers where that rounds whole ones."""
    import polars as pl

    if np.abs(values).max() < 2**53:
        return values
    return np.array([int(Decimal(word)) for word in cells.cast(pl.String)], dtype=object)


def _not_a_number(cells: pl.Series, place: Place) -> str:
    import polars as pl

    row = cells.cast(pl.Float64, strict=False).is_null().arg_true()[0]
    return (
        f"{place(row)}: '{cells[row]}' in target '{cells.name}' is not a number; correct it, or ask for classes: "
        "data.task=classification"
    )
