"""Columns of a table as numbers: what is fitted on the train rows is plain JSON, and applying it is a pure function.

A number column has its missing values replaced by the median and is then scaled; a text column becomes one column
of zeros and ones per category, of which the last may stand for all others, or one column of codes. `fit` learns
medians, scales and categories; `encode` applies them to any rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Column, Kind, Preprocessing, Scaling
from dltrain.data.tables.cells import cells_of, codes_of, derived, needed, numbers_of, width
from dltrain.data.tables.rules import Rules
from dltrain.data.tables.scales import beyond, fence, moments, quantiles, squashed, to_normal
from dltrain.data.tables.table import Place, listed, require_columns
from dltrain.errors import DataError, override

if TYPE_CHECKING:
    import polars as pl

_EACH = 3  # columns of which each has a sentence of its own
_FAR = 1e4  # standard deviations beyond which a value is said to be absurd


def fit(
    train: pl.DataFrame,
    columns: Sequence[Column],
    rules: Rules,
    *,
    source: str = "the table",
    place: Place | None = None,
) -> tuple[Preprocessing, list[str]]:
    """Learn the preprocessing of columns, as `kinds.recognise` found them, from the train rows.

    Returns it as plain JSON values, and notes on the columns that were dropped since they are constant there, and on
    those whose differences a scale hides. A few values absurdly far from the others don't count for the scale, and
    `encode` takes the nearest ordinary one for them. `place` says where a train row stands.
    """
    fitted, notes = fit_columns(train, columns, rules, place=place)
    return as_preprocessing(fitted, rules, columns, source=source), [*constant(columns, fitted, notes), *notes]


def fit_columns(
    train: pl.DataFrame, columns: Sequence[Column], rules: Rules, *, place: Place | None = None
) -> tuple[list[Column], list[str]]:
    """What `fit` learns of each column that is not constant, and its notes on these."""
    marks = list(rules.missing_marks)
    train = derived(train, columns, marks, place=place)
    fitted: list[Column] = []
    notes: list[str] = []
    for column in columns:
        name, kind = column["name"], column["kind"]
        cells = cells_of(train, column, marks)
        if kind == "text":
            learned, said = _fit_text(cells, rules)
            notes += said
        else:
            values = numbers_of(cells, kind)
            learned = _fit_number(values, kind, rules.scaling)
            if learned and kind == "number":
                notes += _hidden(name, values[np.isfinite(values)], learned, rules.scaling, place)
        if learned is not None:
            fitted.append({**column, **learned})
    return fitted, notes


def as_preprocessing(
    fitted: list[Column], rules: Rules, columns: Sequence[Column] = (), *, source: str = "the table"
) -> Preprocessing:
    """What was learned of columns, under the rules by which it was. Raises DataError where nothing was."""
    if not fitted:
        names = needed(columns)
        raise DataError(f"{source}: nothing to learn from; constant in the train rows: {listed(names)}")
    marks = list(rules.missing_marks)
    made: Preprocessing = {"kind": "table", "scaling": rules.scaling, "missing": rules.missing, "missing_marks": marks}
    return {**made, "columns": fitted}


def constant(columns: Sequence[Column], fitted: Sequence[Column], notes: Sequence[str]) -> list[str]:
    """Notes on the columns of the file of which nothing was left, but for those of which notes say why."""
    left = {*needed(fitted), *(c["name"] for c in columns if any(n.startswith(_dropped(c["name"])) for n in notes))}
    names = [name for name in needed(columns) if name not in left]
    return [f"{_dropped(name)}: it has the same value in every train row" for name in names]


def _dropped(name: str) -> str:
    return f"column '{name}' was dropped"


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
    zeros, as a code 0. `place` says where a row stands, for the errors: a missing column, text where a number belongs,
    any missing value under missing="refuse", and where `strict` an unknown category or an infinite number.
    """
    place = place or (lambda row: f"row {row + 1}")
    columns, marks = preprocessing["columns"], preprocessing["missing_marks"]
    require_columns(needed(columns, frame.columns), frame.columns, knob="needed", path=source)
    frame = derived(frame, columns, marks, place=place)
    parts = []
    for column in preprocessing["columns"]:
        cells = cells_of(frame, column, preprocessing["missing_marks"])
        if column["kind"] == "text":
            codes = codes_of(cells, column)
            _refuse(cells.is_null().to_numpy(), cells, preprocessing, place)
            if strict:
                _refuse_unknown(cells, column, place)
            hot = codes[:, None] + 1 if column.get("coded") else codes[:, None] == np.arange(width(column))
            parts.append(hot.astype(np.float32))
        else:
            values = numbers_of(cells, column["kind"], place)
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
    frame = derived(frame, preprocessing["columns"], preprocessing["missing_marks"])
    parts = []
    for column in preprocessing["columns"]:
        cells = cells_of(frame, column, preprocessing["missing_marks"])
        codes = column["kind"] == "text"
        parts.append(codes_of(cells, column).astype(np.float64) if codes else numbers_of(cells, column["kind"]))
    return torch.from_numpy(np.stack(parts, axis=1))


def remarks(frame: pl.DataFrame, preprocessing: Preprocessing, *, place: Place | None = None) -> list[str]:
    """What `encode` fills in or leaves out for these rows: one counted sentence per column and cause."""
    return sentences(gaps(frame, preprocessing, place=place, known=True), preprocessing)


Gaps = dict[tuple[str, str], tuple[int, tuple[str, ...]]]  # (column, cause) -> how many, and a few of the words


def gaps(frame: pl.DataFrame, preprocessing: Preprocessing, *, place: Place | None = None, known: bool = False) -> Gaps:
    """What is missing, unknown, infinite or absurdly far away in each column; `place` says where a row stands.

    known: whether what counts as "other" was said before.
    """
    found: Gaps = {}
    frame = derived(frame, preprocessing["columns"], preprocessing["missing_marks"], place=place)
    for column in preprocessing["columns"]:
        name, cells = column["name"], cells_of(frame, column, preprocessing["missing_marks"])
        if column.get("part", "days") not in ("days", "hour_sin"):  # the first of what a date is worth says it
            continue
        missing = cells.null_count()
        if missing and not (column.get("part") == "hour_sin" and (column.get("source"), "missing") in found):
            found[column.get("source", name), "missing"] = missing, ()
        if column["kind"] == "text":
            new = cells.filter(~cells.is_in(column["categories"])).drop_nulls()
            if len(new) and not (column.get("other") and known):
                found[name, "unknown"] = len(new), tuple(new.unique().sort().head(3))
            continue
        values = numbers_of(cells, column["kind"])
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
    """What `encode` does about gaps, in words; one sentence for what many columns lack."""
    columns = {c.get("source", c["name"]): c for c in preprocessing["columns"]}
    lacking = [name for name, cause in found if cause == "missing"]
    notes: list[str] = []
    if len(lacking) > _EACH:
        total = sum(found[name, "missing"][0] for name in lacking)
        notes.append(
            f"columns {listed(lacking)}: {_values(total)} missing, a number replaced by the train rows' median, a text "
            "encoded as no category"
        )
    for (name, cause), (count, words) in found.items():
        if cause == "missing" and len(lacking) > _EACH:
            continue
        column = columns.get(name) or next(c for c in preprocessing["columns"] if c["name"] == name)
        how = "encoded as no category" if column["kind"] == "text" else _by_median(column)
        if cause == "far":
            notes.append(f"column '{name}': {_values(count)} far from {_ordinary(column)}: {', '.join(words)}")
            continue
        if cause == "unknown" and column.get("other"):
            how = 'encoded as "other"'
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
    median = 2 * float(np.median(values[finite] / 2))  # the sum of the middle two may be more than float64 holds
    filled = np.where(finite, values, median)
    column: Column = {"median": median}
    if kind == "boolean" or scaling == "none":
        return column
    if around := fence(values[finite]):
        filled = filled.clip(*around)
        column["low"], column["high"] = around
    if scaling == "standard":
        column["mean"], column["std"] = map(float, moments(filled))
        if not around:
            column["low"], column["high"] = beyond(filled)
    else:
        column["quantiles"] = quantiles(filled)
    return column


def _fit_text(cells: pl.Series, rules: Rules) -> tuple[Column | None, list[str]]:
    """The categories that are told apart, and a note where others are not."""
    import polars as pl

    counts = cells.drop_nulls().value_counts(name="rows").sort("rows", cells.name, descending=[True, False])
    few = rules.most_hot(len(cells))
    most, least = rules.bounds(coded=len(counts) > few)
    kept = counts.filter(pl.col("rows") >= least)[cells.name][:most]
    column: Column = {"categories": sorted(kept.to_list())}
    rest = len(counts) - len(kept)
    if rest:
        column["other"] = True
    if len(kept) + (rest > 0) > few:
        column["coded"] = True
    # Good and Turing: of the rows to come, as large a share has an unseen text as had one that stands there once
    expected = rest > 0 or (counts["rows"] == 1).sum() > 1
    if rules.unknown == "allow" or (rules.unknown == "auto" and expected):
        column["open"] = True
    why = f"data.max_categories={most}" if len(kept) == most else f"data.min_count={least}"
    if len(kept) + (rest > 0) + (cells.null_count() > 0) < 2:
        rare = f"{_dropped(cells.name)}: each of its {rest:,} different texts is rare ({why})"
        return None, [rare] if rest > 1 else []
    if not rest:
        return column, []
    return column, [
        f"column '{cells.name}': {len(counts):,} different texts, of which {rest:,} in "
        f'{int(counts["rows"][len(kept) :].sum()):,} train rows count as one, "other" ({why})'
    ]


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
    return to_normal(values, np.array(column["quantiles"]))


def _refuse(absent: np.ndarray, cells: pl.Series, preprocessing: Preprocessing, place: Place) -> None:
    if preprocessing["missing"] == "refuse" and absent.any():
        raise DataError(
            f"{place(int(absent.argmax()))}: column '{cells.name}' has {_values(int(absent.sum()))} missing or not "
            "finite, and data.missing=refuse; data.missing=impute would take the train rows' median"
        )


def _refuse_unknown(cells: pl.Series, column: Column, place: Place) -> None:
    strange = ~cells.is_in(column["categories"]).fill_null(True).to_numpy()
    if strange.any() and not column.get("open"):
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


def _ordinary(column: Column) -> str:
    if "low" in column:
        return f"all others, held to {column['low']:g} and {column['high']:g}"
    return f"those of the train rows, which lie around {column['mean']:g} and vary by {column['std']:g}"


def _hidden(name: str, values: np.ndarray, column: Column, scaling: Scaling, place: Place | None) -> list[str]:
    """A note where the scale leaves no difference between most of the train rows' values."""
    if scaling == "none" and (around := fence(values)):
        rows = np.flatnonzero((values < around[0]) | (values > around[1]))
        words = ", ".join(_shown(values, rows, place)[:1])
        return [f"column '{name}': {_values(len(rows))} far from all others, taken as they stand: {words}"]
    held = scaling == "standard" and (values.min() < column["low"] or values.max() > column["high"])
    if scaling == "standard" and not held and squashed(values, column["std"]):
        return [
            f"column '{name}': most of its values differ by less than a thousandth of its deviation {column['std']:g}, "
            "which hides them: try data.scaling=quantile; or, where the largest mean a missing value, "
            f"{override('data.missing_marks', [f'{values[np.argmax(np.abs(values))]:g}'])}"
        ]
    return []


def _by_median(column: Column) -> str:
    if "part" in column:
        return "replaced by the middle of the train rows'"
    return f"replaced by the train rows' median {column['median']:g}"


def _values(count: int) -> str:
    return f"{count} value" + "s" * (count != 1)
