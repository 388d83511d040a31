"""Columns of a table as numbers: what is fitted on the train rows is plain JSON, and applying it is a pure function.

A number column has its missing values replaced by the median and is then scaled; a text column becomes one column
of zeros and ones per category. `fit` learns medians, scales and categories; `encode` applies them to any rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Column, Kind, Preprocessing, Scaling
from dltrain.data.tables.scales import fence, moments, squashed
from dltrain.data.tables.table import Place, listed, require_columns
from dltrain.errors import ConfigError, DataError, override

if TYPE_CHECKING:
    import polars as pl

_DATE = r"^(\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}/\d{1,2}/\d{1,2})([ T]\d{1,2}:\d{2}.*)?$"
_DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
_FAR = 1e4  # standard deviations beyond which a value is said to be absurd
LARGEST = 1 - 1e-7  # the quantile beyond which the normal scale is cut, at 5.2 standard deviations (scikit-learn)


def column_kind(cells: pl.Series, place: Place, *, drop: Sequence[str] = ()) -> Kind:
    """What a feature column holds. Text is taken as categories only if most of its cells are not numbers.

    `drop` are the columns that are left out already.

    Raises `DataError` for dates, nested values, decimal commas and a text among numbers.
    """
    import polars as pl

    name = cells.name

    def how() -> str:  # where it is needed: `drop` may be long
        return f"turn it into numbers, or leave it out: {_without(name, drop)}"

    if cells.dtype.is_temporal():
        raise DataError(f"{place(0)}: column '{name}' holds dates or times ({cells.dtype}); {how()}")
    if cells.dtype == pl.Boolean:
        return "boolean"
    nested = cells.dtype.is_nested()
    numbers = cells if nested else cells.cast(pl.Float64, strict=False)
    if not nested and numbers.null_count() == cells.null_count():
        return "number"
    if cells.dtype != pl.String:
        raise DataError(f"{place(0)}: column '{name}' holds {cells.dtype}, not numbers or text; {how()}")
    filled, strange = cells.drop_nulls(), numbers.filter(cells.is_not_null()).is_null()
    if filled.str.to_lowercase().is_in(["true", "false"]).all():
        return "boolean"
    for pattern, what in ((_DATE, "dates"), (_DECIMAL_COMMA, "numbers with a decimal comma")):
        if filled.str.contains(pattern).all():
            raise DataError(f"{place(_first(cells, filled[0]))}: column '{name}' holds {what} ('{filled[0]}'); {how()}")
    if 2 * strange.sum() < len(filled):
        word = filled.filter(strange)[0]
        raise DataError(
            f"{place(_first(cells, word))}: '{word}' in column '{name}', whose other cells are numbers "
            f"({strange.sum()} of {len(filled)} are not)\nCorrect it; or empty the cell if the value is missing; or "
            f"{override('data.missing_marks', [word])}; or leave the column out: {_without(name, drop)}"
        )
    return "text"


def fit(
    train: pl.DataFrame,
    kinds: dict[str, Kind],
    *,
    scaling: Scaling = "standard",
    missing: Literal["impute", "refuse"] = "impute",
    missing_marks: list[str] | None = None,
    max_categories: int = 50,
    source: str = "the table",
    place: Place | None = None,
    drop: Sequence[str] = (),
) -> tuple[Preprocessing, list[str]]:
    """Learn the preprocessing of the columns in `kinds` from the train rows.

    Returns it as plain JSON values, and notes on the columns that were dropped since they are constant there, and on
    those whose differences a scale hides. A few values absurdly far from the others don't count for the scale, and
    `encode` takes the nearest ordinary one for them. `place` says where a train row stands.
    """
    if scaling not in ("standard", "quantile", "none"):
        raise ConfigError(f"data.scaling={scaling}: choose standard, quantile or none")
    columns: list[Column] = []
    notes: list[str] = []
    marks = list(missing_marks or [])
    for name, kind in kinds.items():
        cells = _cells(train, {"name": name, "kind": kind}, marks)
        if kind == "text":
            column = _fit_text(cells, max_categories, source, drop)
        else:
            values = _numbers(cells, kind)
            column = _fit_number(values, kind, scaling)
            if column and kind == "number":
                notes += _hidden(name, values[np.isfinite(values)], column, scaling, place)
        if column is None:
            notes.append(f"column '{name}' was dropped: it has the same value in every train row")
        else:
            columns.append({"name": name, "kind": kind, **column})
    if not columns:
        raise DataError(f"{source}: nothing to learn from; constant in the train rows: {listed(list(kinds))}")
    fitted: Preprocessing = {"kind": "table", "scaling": scaling, "missing": missing, "missing_marks": marks}
    return {**fitted, "columns": columns}, notes


def encode(
    frame: pl.DataFrame,
    preprocessing: Preprocessing,
    *,
    place: Place | None = None,
    strict: bool = False,
    source: Path | str = "the table",
) -> Tensor:
    """The rows of a table, text or typed, as float32 [rows, features], by a preprocessing from `fit`.

    A missing or non-finite number becomes the median of the train rows; a missing or unknown category is all
    zeros. `place` says where a row stands, for the errors: a missing column, text where a number belongs,
    any missing value under missing="refuse", and where `strict` an unknown category or an infinite number.
    """
    place = place or (lambda row: f"row {row + 1}")
    require_columns([c["name"] for c in preprocessing["columns"]], frame.columns, knob="needed", path=source)
    parts = []
    for column in preprocessing["columns"]:
        cells = _cells(frame, column, preprocessing["missing_marks"])
        if column["kind"] == "text":
            codes = _codes(cells, column)
            _refuse(cells.is_null().to_numpy(), cells, preprocessing, place)
            if strict:
                _refuse_unknown(codes, cells, column, place)
            parts.append((codes[:, None] == np.arange(len(column["categories"]))).astype(np.float32))
        else:
            values = _numbers(cells, column["kind"], place)
            if strict:
                _refuse_infinite(values, cells, place)
            absent = ~np.isfinite(values)
            _refuse(absent, cells, preprocessing, place)
            if absent.any():
                values = np.where(absent, column["median"], values)
            parts.append(_scaled(values, column, place)[:, None])
    return torch.from_numpy(np.concatenate(parts, axis=1))


def numbers(frame: pl.DataFrame, preprocessing: Preprocessing) -> Tensor:
    """The rows of a table as float64 [rows, columns], before any scale: a number as it stands, nan where it is
    missing, true as 1, and for a text the position of its category, -1 for a missing or an unknown one.
    """
    parts = []
    for column in preprocessing["columns"]:
        cells = _cells(frame, column, preprocessing["missing_marks"])
        codes = column["kind"] == "text"
        parts.append(_codes(cells, column).astype(np.float64) if codes else _numbers(cells, column["kind"]))
    return torch.from_numpy(np.stack(parts, axis=1))


def remarks(frame: pl.DataFrame, preprocessing: Preprocessing, *, place: Place | None = None) -> list[str]:
    """What `encode` fills in or leaves out for these rows: one counted sentence per column and cause."""
    return sentences(gaps(frame, preprocessing, place=place), preprocessing)


Gaps = dict[tuple[str, str], tuple[int, tuple[str, ...]]]  # (column, cause) -> how many, and a few of the words


def gaps(frame: pl.DataFrame, preprocessing: Preprocessing, *, place: Place | None = None) -> Gaps:
    """What is missing, unknown, infinite or absurdly far away in each column; `place` says where a row stands."""
    found: Gaps = {}
    for column in preprocessing["columns"]:
        name, cells = column["name"], _cells(frame, column, preprocessing["missing_marks"])
        if missing := cells.null_count():
            found[name, "missing"] = missing, ()
        if column["kind"] == "text":
            new = cells.filter(~cells.is_in(column["categories"])).drop_nulls()
            if len(new):
                found[name, "unknown"] = len(new), tuple(new.unique().sort().head(3))
            continue
        values = _numbers(cells, column["kind"])
        if infinite := int((~np.isfinite(values)).sum()) - missing:
            found[name, "infinite"] = infinite, ()
        if far := len(rows := _far(values, column)):
            found[name, "far"] = far, _shown(values, rows, place)[:1]
    return found


def _far(values: np.ndarray, column: Column) -> np.ndarray:
    """The rows whose value lies absurdly far from the train rows'."""
    if "low" in column:
        return np.flatnonzero(np.isfinite(values) & ((values < column["low"]) | (values > column["high"])))
    if "std" in column:
        return np.flatnonzero(
            np.isfinite(values) & (np.abs(values / 2 - column["mean"] / 2) / _FAR > column["std"] / 2)
        )
    return np.empty(0, dtype=np.int64)


def _shown(values: np.ndarray, rows: np.ndarray, place: Place | None) -> tuple[str, ...]:
    """At most three of these values, with where they stand."""
    return tuple(f"{values[row]:g}" + (f" at {place(int(row))}" if place else "") for row in rows[:3])


def sentences(found: Gaps, preprocessing: Preprocessing) -> list[str]:
    """What `encode` does about gaps, in words."""
    columns = {c["name"]: c for c in preprocessing["columns"]}
    notes: list[str] = []
    for (name, cause), (count, words) in found.items():
        how = "encoded as no category" if columns[name]["kind"] == "text" else _by_median(columns[name])
        if cause == "far":
            notes.append(f"column '{name}': {_values(count)} far from {_ordinary(columns[name])}: {', '.join(words)}")
            continue
        quoted = ", ".join(f"'{word}'" for word in words)
        what = {
            "missing": "missing",
            "unknown": f"not among the train rows' ({quoted})",
            "infinite": "not finite (inf or nan)",
        }[cause]
        notes.append(f"column '{name}': {_values(count)} {what}, {how}")
    return notes


def _fit_number(values: np.ndarray, kind: Kind, scaling: Scaling) -> Column | None:
    finite = np.isfinite(values)
    if not finite.any() or values[finite].min() == values[finite].max():
        return None
    median = float(np.median(values[finite]))
    filled = np.where(finite, values, median)
    column: Column = {"median": median}
    if kind == "boolean" or scaling == "none":
        return column
    if around := fence(values[finite]):
        filled = filled.clip(*around)
        column["low"], column["high"] = around
    if scaling == "standard":
        column["mean"], column["std"] = map(float, moments(filled))
    else:
        knots = max(min(len(filled) // 30, 1000), 10)  # as in Gorishniy et al. 2021 (rtdl)
        column["quantiles"] = np.quantile(filled, np.linspace(0, 1, knots)).tolist()
    return column


def _fit_text(cells: pl.Series, max_categories: int, source: str, drop: Sequence[str]) -> Column | None:
    categories = cells.drop_nulls().unique().sort().to_list()
    if len(categories) > max_categories:
        raise DataError(
            f"{source}: column '{cells.name}' holds {len(categories)} different texts ('{categories[0]}', "
            f"'{categories[1]}', ...), more than data.max_categories={max_categories}\n"
            f"If it names the rows, leave it out: {_without(cells.name, drop)}"
        )
    return {"categories": categories} if len(categories) > 1 else None


def _scaled(values: np.ndarray, column: Column, place: Place) -> np.ndarray:
    """Complete values float64 [rows] as the network's float32."""
    with np.errstate(over="ignore"):
        scaled = _scale(values, column).astype(np.float32)
    if not np.isfinite(scaled).all():
        row = int(np.argmax(~np.isfinite(scaled)))
        raise DataError(
            f"{place(row)}: {values[row]:g} in column '{column['name']}' is too far from all others for float32; "
            "correct it, or empty the cell if the value is missing"
        )
    return scaled


def _scale(values: np.ndarray, column: Column) -> np.ndarray:
    if "low" in column:
        values = values.clip(column["low"], column["high"])
    if "std" in column:
        return (values - column["mean"]) / column["std"]
    if "quantiles" not in column:
        return values
    # scikit-learn's QuantileTransformer: interpolated from below and from above, so that ties get their middle rank
    knots = np.array(column["quantiles"])
    ranks = np.linspace(0, 1, len(knots))
    below, above = np.interp(values, knots, ranks), -np.interp(-values, -knots[::-1], -ranks[::-1])
    quantile = np.where(values <= knots[0], 0, np.where(values >= knots[-1], 1, (below + above) / 2))
    quantile = np.clip(quantile, 1 - LARGEST, LARGEST)
    return torch.special.ndtri(torch.from_numpy(quantile)).numpy()


def _numbers(cells: pl.Series, kind: Kind, place: Place | None = None) -> np.ndarray:
    """Cells as float64 [rows]: nan where one is missing, and inf as it stands."""
    import polars as pl

    text = cells.dtype == pl.String
    if text and kind == "boolean":
        words = cells.str.to_lowercase()
        values = words.replace_strict({"true": 1.0, "false": 0.0}, default=None, return_dtype=pl.Float64)
    else:
        values = cells.cast(pl.Float64, strict=False)
    if values.null_count() > cells.null_count():
        row = (values.is_null() & cells.is_not_null()).arg_true()[0]
        wanted = "true or false" if kind == "boolean" else "a number"
        where = place(row) if place else f"row {row + 1}"
        raise DataError(f"{where}: '{cells[row]}' in column '{cells.name}' is not {wanted}")
    return (values.fill_null(float("nan")) if values.null_count() else values).to_numpy()


def _codes(cells: pl.Series, column: Column) -> np.ndarray:
    """The position of each cell's category, int64 [rows]; -1 for a missing or an unknown one."""
    import polars as pl

    positions = {name: i for i, name in enumerate(column["categories"])}
    return cells.replace_strict(positions, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()


def _refuse(absent: np.ndarray, cells: pl.Series, preprocessing: Preprocessing, place: Place) -> None:
    if preprocessing["missing"] == "refuse" and absent.any():
        raise DataError(
            f"{place(int(absent.argmax()))}: column '{cells.name}' has {_values(int(absent.sum()))} missing or not "
            "finite, and data.missing=refuse; data.missing=impute would take the train rows' median"
        )


def _refuse_unknown(codes: np.ndarray, cells: pl.Series, column: Column, place: Place) -> None:
    strange = (codes < 0) & cells.is_not_null().to_numpy()
    if strange.any():
        row, known = int(strange.argmax()), column["categories"]
        raise DataError(
            f"{place(row)}: '{cells[row]}' in column '{cells.name}' is unknown: the train rows had "
            f"{listed(known)}\nCorrect it; or empty the cell if the value is missing; or add --allow-unknown to "
            "predict as if it were no category"
        )


def _refuse_infinite(values: np.ndarray, cells: pl.Series, place: Place) -> None:
    if (rows := np.flatnonzero(np.isinf(values))).size:
        raise DataError(
            f"{place(int(rows[0]))}: '{cells[int(rows[0])]}' in column '{cells.name}' is infinite; correct it, or "
            "empty the cell if the value is missing; --allow-unknown would take it for missing"
        )


def _cells(frame: pl.DataFrame, column: Column, marks: list[str]) -> pl.Series:
    """One column, with null where it holds a mark that means "missing"."""
    import polars as pl

    cells = frame[column["name"]]
    if not (cells.dtype in (pl.String, pl.Boolean, pl.Null) or cells.dtype.is_numeric()):
        raise DataError(f"column '{cells.name}' holds {cells.dtype}, not numbers or text")
    if column["kind"] == "text":
        cells = (cells.fill_nan(None) if cells.dtype.is_float() else cells).cast(pl.String)
    return cells.replace(marks, [None] * len(marks)) if marks and cells.dtype == pl.String else cells


def _first(cells: pl.Series, word: str) -> int:
    return (cells == word).arg_true()[0]


def _ordinary(column: Column) -> str:
    if "low" in column:
        return f"all others, cut to {column['low']:g} and {column['high']:g}"
    return f"those of the train rows, which lie around {column['mean']:g} and vary by {column['std']:g}"


def _hidden(name: str, values: np.ndarray, column: Column, scaling: Scaling, place: Place | None) -> list[str]:
    """A note where the scale leaves no difference between most of the train rows' values."""
    if scaling == "none" and (around := fence(values)):
        rows = np.flatnonzero((values < around[0]) | (values > around[1]))
        words = ", ".join(_shown(values, rows, place)[:1])
        return [f"column '{name}': {_values(len(rows))} far from all others, taken as they stand: {words}"]
    if scaling == "standard" and "low" not in column and squashed(values, column["std"]):
        return [
            f"column '{name}': most of its values differ by less than a thousandth of its deviation {column['std']:g}, "
            "which hides them: try data.scaling=quantile; or, where the largest mean a missing value, "
            f"{override('data.missing_marks', [f'{values[np.argmax(np.abs(values))]:g}'])}"
        ]
    return []


def _without(name: str, drop: Sequence[str]) -> str:
    return override("data.drop", [*drop, name])


def _by_median(column: Column) -> str:
    return f"replaced by the train rows' median {column['median']:g}"


def _values(count: int) -> str:
    return f"{count} value" + "s" * (count != 1)
