"""Rows in memory, in any of the forms that a table has in Python, as a frame such as a file would give."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dltrain.data.tables.table import clean, listed, plain_types, require_columns
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl


def frame_of(rows: object, columns: list[str]) -> pl.DataFrame:
    """The columns that a run was trained on, in its order, as text, numbers and booleans.

    rows: a frame of polars (lazy, too), pandas or Arrow; a dict of columns, or of one row's cells; a list of dicts or
    of rows; an array or tensor [N, columns], or a record array; a Series that is a row, or the one column. What means
    "missing" in them (None, NaN, NaT, pandas.NA) is null. Raises DataError, in a sentence, for anything else.
    """
    import polars as pl

    rows = _plain(rows)
    if isinstance(rows, pl.DataFrame):
        require_columns(columns, rows.columns, knob="the run was trained on it", path="the rows")
        cells = {name: rows[name] for name in columns}
    else:
        cells = _named(rows, columns)
    made = [_series(name, values) for name, values in cells.items()]
    if len({len(series) for series in made}) > 1:
        raise DataError(f"columns of unequal length: {', '.join(f'{s.name} {len(s)}' for s in made[:12])}")
    return clean(plain_types(pl.DataFrame(made)))


def _plain(rows: Any) -> object:
    """Arrays for tensors, frames for what polars takes as one, dicts of columns for records and pandas frames."""
    import polars as pl

    if isinstance(rows, Tensor):
        rows = _array(rows)
    if isinstance(rows, np.ma.MaskedArray) and not rows.dtype.names:
        rows = _unmasked(rows)
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, pl.Series):
        return rows.to_frame()
    if isinstance(rows, np.ndarray) and rows.dtype.names:
        return {name: rows[name] for name in rows.dtype.names}
    if hasattr(rows, "columns") and hasattr(rows, "iloc"):
        return {str(name): rows[name] for name in rows.columns}
    if hasattr(rows, "iloc"):  # a Series of pandas: a row of its frame, or one column
        return rows.to_dict() if all(isinstance(key, str) for key in rows.index) else {rows.name: rows}
    if hasattr(rows, "__arrow_c_stream__") and not isinstance(rows, pl.DataFrame):
        return pl.DataFrame(rows)
    return rows


def _named(rows: object, columns: list[str]) -> dict[str, object]:
    """The cells of each column."""
    if isinstance(rows, Mapping):
        if len(columns) == 1 and list(rows) == [None]:
            return {columns[0]: rows[None]}
        require_columns(columns, [str(key) for key in rows], knob="the run was trained on it", path="the rows")
        alone = not any(_is_column(rows[name]) for name in columns)
        return {name: [rows[name]] if alone else rows[name] for name in columns}
    if isinstance(rows, np.ndarray):
        if rows.ndim != 2 or rows.shape[1] != len(columns):
            raise DataError(
                f"an array of shape {list(rows.shape)}: the run takes [N, {len(columns)}], {listed(columns)}"
            )
        return dict(zip(columns, rows.T, strict=True))
    wanted = f"[N, {len(columns)}], {listed(columns)}"
    if isinstance(rows, (str, Path)):
        raise DataError(f"'{rows}' is text, not rows: `dltrain predict RUN FILE` reads a file, and so does polars")
    if not isinstance(rows, (list, tuple)):
        raise DataError(
            f"rows as {type(rows).__name__}: give a data frame, a dict of columns, a list of dicts or of rows, or an "
            f"array {wanted}"
        )
    if all(isinstance(row, Mapping) for row in rows):
        known = [str(key) for row in rows for key in row] if rows else columns
        require_columns(columns, list(dict.fromkeys(known)), knob="the run was trained on it", path="the rows")
        return {name: [row.get(name) for row in rows] for name in columns}
    for number, row in enumerate(rows, 1):
        if not _is_column(row) or len(row) != len(columns):
            size = f"has {len(row)} cells" if _is_column(row) else f"is {type(row).__name__}, not a list of cells"
            raise DataError(f"row {number} {size}: the run takes {wanted}")
    return {name: [row[at] for row in rows] for at, name in enumerate(columns)}


def _is_column(value: object) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim == 1
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping))


def _array(values: Tensor) -> np.ndarray:
    """A tensor's numbers, wherever it lies; those of half precision as float32, which numpy lacks in part."""
    values = values.detach().cpu()
    return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()


def _unmasked(values: np.ma.MaskedArray) -> np.ndarray:
    """The cells as objects, None where one is masked."""
    cells = values.data.astype(object)
    cells[np.ma.getmaskarray(values)] = None
    return cells


def _series(name: str, values: Any) -> pl.Series:
    """A column with null for each missing cell."""
    import polars as pl

    if isinstance(values, Tensor):
        values = _array(values)
    if isinstance(values, np.ma.MaskedArray):
        values = _unmasked(values)
    if isinstance(getattr(values, "dtype", None), np.dtype) and values.dtype.kind in "biuf":
        values = np.asarray(values)  # what polars takes at once; a NaN among numbers counts as missing further on
        return pl.Series(name, values.astype(np.float32) if values.dtype == np.float16 else values)
    if isinstance(getattr(values, "dtype", None), np.dtype) and values.dtype.kind in "mM":
        return pl.Series(name, np.asarray(values), nan_to_null=True)
    if isinstance(values, pl.Series) and values.dtype != pl.Object:
        return values.rename(name)
    cells = [None if _absent(v) else v for v in (values.tolist() if hasattr(values, "tolist") else values)]
    cells = [
        v.item() if isinstance(v, (np.generic, Tensor)) else float(v) if isinstance(v, Decimal) else v for v in cells
    ]
    kinds = {type(v) for v in cells if v is not None}
    if kinds and all(issubclass(kind, (date, time, timedelta)) for kind in kinds):
        return pl.Series(name, cells, strict=False)
    if strange := [kind for kind in kinds if not issubclass(kind, (str, bool, int, float))]:
        row = next(i for i, v in enumerate(cells) if type(v) is strange[0])
        raise DataError(f"row {row + 1}: column '{name}' holds {strange[0].__name__}, not a number or text")
    if any(issubclass(kind, str) for kind in kinds):
        return pl.Series(name, [None if v is None else _text(v) for v in cells], dtype=pl.String)
    if kinds <= {bool}:
        return pl.Series(name, cells, dtype=pl.Boolean)
    if kinds <= {int} and all(abs(v) < 1 << 63 for v in cells if v is not None):
        return pl.Series(name, cells, dtype=pl.Int64)
    return pl.Series(name, [None if v is None else float(v) for v in cells], dtype=pl.Float64)


def _absent(value: Any) -> bool:
    """Whether a cell says "missing": None; NaN and NaT, which differ from themselves; pandas.NA, which won't tell."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
