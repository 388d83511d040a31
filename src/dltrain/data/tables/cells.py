"""The cells of one fitted column in rows of any origin: as numbers, as categories, and as what a date is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data import Column, Kind, Preprocessing
from dltrain.data.tables import amounts, times
from dltrain.data.tables.kinds import FALSE, TRUE
from dltrain.data.tables.table import Place, short
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_BOOLEANS = dict.fromkeys(TRUE, 1.0) | dict.fromkeys(FALSE, 0.0)


def needed(columns: Sequence[Column], given: Sequence[str] = ()) -> list[str]:
    """The columns of a file that these are made of, in its order; one that is `given` as it was made counts itself."""
    known = set(given)
    names = (c["name"] if (s := c.get("source", c["name"])) not in known and c["name"] in known else s for c in columns)
    return list(dict.fromkeys(names))


def derived(
    frame: pl.DataFrame, columns: Sequence[Column], marks: Sequence[str], *, place: Place | None = None
) -> pl.DataFrame:
    """The columns with amounts as numbers, and dates as what they are worth; those made before are taken as they are.

    Raises DataError with the place of a cell that is no such number, date or time.
    """
    import polars as pl

    made: dict[str, pl.Series] = {}
    read: dict[str, np.ndarray] = {}
    for column in columns:
        name, source = column["name"], column.get("source", column["name"])
        if source not in frame.columns:
            source = name
        cells = frame[source]
        missing = [*marks, *column.get("marks", ())]
        if missing:
            cells = _without(cells, missing, column["kind"])
        if "part" in column and source != name:
            if source not in read:
                read[source] = _times(cells, column, place)
            values = times.part_of(read[source], column["part"])
            cells = pl.Series(name, values, nan_to_null=True)
        elif "writing" in column and cells.dtype == pl.String:
            cells = _amounts(cells, column, place)
        made[name] = cells
    return pl.DataFrame(made)


def _without(cells: pl.Series, marks: list[str], kind: Kind) -> pl.Series:
    """Null where a cell is one of the marks; in a column of numbers -999.0 is -999, too."""
    import polars as pl

    if cells.dtype == pl.String:
        cells = cells.replace(marks, [None] * len(marks))
    values = pl.Series(marks, dtype=pl.String).cast(pl.Float64, strict=False).drop_nulls()
    if kind == "number" and len(values) and (cells.dtype == pl.String or cells.dtype.is_numeric()):
        return cells.set(cells.cast(pl.Float64, strict=False).is_in(values.implode()).fill_null(False), None)
    return cells


def _times(cells: pl.Series, column: Column, place: Place | None) -> np.ndarray:
    values = times.seconds(cells, column.get("layout", "year-month-day"))
    strange = np.isnan(values) & cells.is_not_null().to_numpy()
    if strange.any():
        how = f", written {column['layout']} as in the train rows" if column.get("layout") else ""
        raise _wrong(cells, int(strange.argmax()), f"a date or time{how}", place)
    return values


def _amounts(cells: pl.Series, column: Column, place: Place | None) -> pl.Series:
    values = amounts.parse(cells, amounts.Writing(*column["writing"]))
    strange = values.is_null() & cells.is_not_null()
    if strange.any():
        raise _wrong(cells, strange.arg_true()[0], "a number as those of the train rows", place)
    return values


def _wrong(cells: pl.Series, row: int, wanted: str, place: Place | None) -> DataError:
    where = place(row) if place else f"row {row + 1}"
    return DataError(f"{where}: '{short(str(cells[row]))}' in column '{cells.name}' is not {wanted}")


def cells_of(frame: pl.DataFrame, column: Column, marks: Sequence[str]) -> pl.Series:
    """One column, with null where it holds a mark that means "missing"."""
    import polars as pl

    cells = frame[column["name"]]
    if cells.dtype == pl.Duration:
        cells = cells.dt.total_microseconds() / 1e6
    if not (cells.dtype in (pl.String, pl.Boolean, pl.Null) or cells.dtype.is_numeric()):
        raise DataError(f"column '{cells.name}' holds {cells.dtype}, not numbers or text")
    if column["kind"] == "text":
        cells = _words(cells)
    missing = [*marks, *column.get("marks", ())]
    return cells.replace(missing, [None] * len(missing)) if missing and cells.dtype == pl.String else cells


def _words(cells: pl.Series) -> pl.Series:
    """Categories as text: whole numbers without a point, whatever type they have."""
    import polars as pl

    if cells.dtype.is_float():
        cells = cells.fill_nan(None)
        if (cells == cells.round()).all() and (cells.abs() < 2**53).all():
            cells = cells.cast(pl.Int64)
    return cells.cast(pl.String)


def numbers_of(cells: pl.Series, kind: Kind, place: Place | None = None) -> np.ndarray:
    """Cells as float64 [rows]: nan where one is missing, and inf as it stands."""
    import polars as pl

    if cells.dtype == pl.String and kind == "boolean":
        values = cells.str.to_lowercase().replace_strict(_BOOLEANS, default=None, return_dtype=pl.Float64)
    else:
        values = cells.cast(pl.Float64, strict=False)
    if values.null_count() > cells.null_count():
        row = (values.is_null() & cells.is_not_null()).arg_true()[0]
        raise _wrong(cells, row, "true or false" if kind == "boolean" else "a number", place)
    return (values.fill_null(float("nan")) if values.null_count() else values).to_numpy()


def codes_of(cells: pl.Series, column: Column) -> np.ndarray:
    """The position of each cell's category, int64 [rows]: that of "other" for an unknown one where there is such, else
    -1, as for a missing one.
    """
    import polars as pl

    positions = {name: i for i, name in enumerate(column["categories"])}
    unknown = len(positions) if column.get("other") else -1
    codes = cells.replace_strict(positions, default=unknown, return_dtype=pl.Int64)
    return codes.set(cells.is_null(), -1).to_numpy() if cells.null_count() else codes.to_numpy()


def width(column: Column) -> int:
    """How many inputs of a net a column becomes."""
    return len(words(column)) if column["kind"] == "text" and not column.get("coded") else 1


def code_columns(preprocessing: Preprocessing) -> list[list[int]]:
    """Of each input that is a code its position and the number of codes, as `dltrain.codes` has them."""
    found: list[list[int]] = []
    at = 0
    for column in preprocessing.get("columns", []):
        if column.get("coded"):
            found.append([at, len(words(column)) + 1])
        at += width(column)
    return found


def words(column: Column) -> list[str]:
    """What the inputs that a text becomes are called, or its codes from 1 on; none for a number."""
    if column["kind"] != "text":
        return []
    categories = column["categories"]
    if not column.get("other"):
        return categories
    name = "(other)"
    while name in categories:
        name = f"({name})"
    return [*categories, name]
