"""The rows of a table file, where each stands, and how names of columns are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.errors import DataError, nearest

if TYPE_CHECKING:
    import polars as pl

Place = Callable[[int], str]  # a row number of the frame -> where its user finds it


@dataclass(frozen=True)
class Lines:
    """Where the rows of a file stand: by the line of each in a text file, by its row number in a Parquet file.

    numbers: int64 [rows]. `rest` are those of another file whose rows follow.
    """

    path: Path
    numbers: np.ndarray
    word: str = "line"
    rest: Lines | None = None

    def place(self, row: int) -> str:
        """Where row number `row` of the frame stands: file name and line."""
        if self.rest is not None and row >= len(self.numbers):
            return self.rest.place(row - len(self.numbers))
        return f"{self.path}, {self.word} {self.numbers[row]}"


@dataclass(frozen=True)
class Table:
    """The rows of a file. `frame` holds text, null where a cell is empty (CSV), or typed columns (Parquet)."""

    frame: pl.DataFrame
    where: Lines
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file."""
        return self.where.path

    @property
    def lines(self) -> np.ndarray:
        """int64 [rows of this file], see `Lines`."""
        return self.where.numbers

    def place(self, row: int) -> str:
        """See `Lines`; `where.place` is the same without the cells, to be kept when they are not."""
        return self.where.place(row)


def append(first: Table, second: Table) -> Table:
    """Both tables' rows under the columns of the first, which the second must have too."""
    import polars as pl

    columns = first.frame.columns
    require_columns(columns, second.frame.columns, knob=f"a column of {first.path}", path=second.path)
    try:
        frame = pl.concat([first.frame, second.frame.select(columns)], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{second.path}: its columns are of other types than those of {first.path}: {error}") from None
    where = replace(first.where, rest=second.where)
    return Table(frame, where, first.notes + second.notes)


def few(notes: Sequence[str], most: int = 20) -> list[str]:
    """Notes of which each column may have one: the first, and how many more there are."""
    return [*notes[:most], *[f"and {len(notes) - most:,} more notes like these"] * (len(notes) > most)]


def require_columns(wanted: list[str], columns: list[str], *, knob: str, path: Path | str) -> None:
    """Raise a `DataError` that suggests the nearest names when `wanted` are not all among `columns`."""
    known = set(columns)
    for name in wanted:
        if name not in known:
            near = nearest(name, columns)
            hint = f"; did you mean '{near}'?" if near else ""
            raise DataError(f"{path}: no column '{name}' ({knob}){hint}\nIts columns: {listed(columns)}")


def clean(frame: pl.DataFrame) -> pl.DataFrame:
    """Text without the spaces around it; where none is left the cell is missing."""
    import polars as pl

    text = pl.col(pl.String).str.strip_chars()
    return frame.with_columns(pl.when(text != "").then(text))


def plain_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories as text, decimals as floats."""
    import polars as pl

    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64))


def listed(names: list[str], limit: int = 12) -> str:
    """Names for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(short(name) or "(no name)" for name in names[:limit]) + more


def short(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}..."
