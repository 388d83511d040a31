"""Table files read whole, as frames with the line that each row stands on; and what opens Parquet, for pieces too."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data.tables.files import Given, find, form, watched
from dltrain.data.tables.headers import Format
from dltrain.data.tables.table import Lines, Source, Table, clean, join, listed, plain_types, short
from dltrain.data.tables.text import TooLargeError, read_text
from dltrain.errors import DataError
from dltrain.errors.output import cut
from dltrain.errors.paths import check_is_text
from dltrain.errors.system import free_memory

if TYPE_CHECKING:
    import polars as pl

PARQUET_BYTES = 32  # of memory for a value, as it is read, filled, scaled and made a tensor
_LONGEST_WORD = 1_000_000  # letters of a cell
_MOST_ROWS = 64  # in a byte of a Parquet file: it can say in a few bytes that one row stands there a billion times


def read_table(given: Given, how: Format | None = None, *, knob: str = "data.path") -> Table:
    """Read the rows of CSV, TSV, JSON lines or Parquet: of a file, of several, of a folder or of those of a pattern.

    given: see `files.find`; text may be packed (see `packed`). Text is read as text: only an empty cell is missing, and
    "NA" is a word. Spaces around a cell are removed. `knob` is what messages call `given`. One core reads some 40 MB/s,
    and 8 MB/s of a file with quotation marks, whose rows are checked one by one: keep large tables as Parquet.
    """
    files, how = find(given, knob=knob), how or Format()
    tables = [
        without_index(_parquet(path) if form(path) == "parquet" else read_text(path, how)) for path in files.paths
    ]
    table = join(tables, files.called)
    return replace(table, notes=(*files.notes, *table.notes))


def _parquet(path: Path) -> Table:
    import polars as pl

    with opened_parquet(path) as (lazy, rows):
        columns = len(lazy.collect_schema())
        if (needed := PARQUET_BYTES * rows * columns) > (free := free_memory()):
            raise TooLargeError(
                f"{path}: {rows:,} rows of {columns:,} columns take {needed / 2**30:,.1f} GB of memory, "
                f"and {free / 2**30:,.1f} GB are free"
            )
        frame = plain_types(pl.read_parquet(io.BytesIO(path.read_bytes())))
        check_words(frame, path)
    return Table(clean(frame), Lines(path, np.arange(1, rows + 1), "row"))


def check_words(frame: pl.DataFrame, path: Path) -> None:
    """Raises DataError for words that would fill the memory: a file stores one once, however many rows have it."""
    import polars as pl

    for name, kind in frame.schema.items():
        if kind == pl.String:
            sizes = frame[name].str.len_bytes().drop_nulls().to_numpy()
            longest, total = int(sizes.max(initial=0)), int(sizes.sum())
            if longest > _LONGEST_WORD or 3 * total > free_memory():
                raise DataError(
                    f"{path}: column {cut(name)!r} has texts of up to {longest:,} letters, {total / 2**30:,.1f} GB in "
                    f"all; {_LONGEST_WORD:,} letters are the most"
                )


@contextmanager
def opened_parquet(path: Path) -> Iterator[tuple[pl.LazyFrame, int]]:
    """The frame that a file holds, and how many rows; raises DataError for a file that is not whole, or has none.

    What polars raises over a damaged one within becomes a DataError too.
    """

    check_is_text(path)
    with watched(path):
        yield from _sound_parquet(path)


def _sound_parquet(path: Path) -> Iterator[tuple[pl.LazyFrame, int]]:
    import polars as pl

    with path.open("rb") as file:
        size, head = path.stat().st_size, file.read(4)
        file.seek(max(0, size - 4))
        if head != b"PAR1" or file.read(4) != b"PAR1" or size < 12:
            raise DataError(
                f"{path}: not a whole Parquet file ({size} bytes; it must begin and end with PAR1); "
                "was it cut off while being copied?"
            )
    try:
        lazy = pl.scan_parquet(path, glob=False)
        rows = lazy.select(pl.len()).collect().item()
        if not rows:
            raise DataError(f"{path}: has columns ({listed(lazy.collect_schema().names())}) and no rows")
        if rows > max(1 << 20, _MOST_ROWS * size):
            raise DataError(f"{path}: says that it holds {rows:,} rows, in {size:,} bytes: nothing in them can differ")
        yield lazy, rows
    except _damage() as error:
        raise DataError(f"{path}: cannot be read as Parquet: {short(str(error))}") from None


def _damage() -> tuple[type[BaseException], ...]:
    """What polars raises over a damaged file."""
    import polars as pl

    return pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError


def without_index(table: Source) -> Source:
    """Drop the column of row numbers that pandas writes; refuse any other column without a name."""
    notes = list(table.notes)
    for name in {"", "__index_level_0__"}.intersection(table.columns):
        cells, position = table.only([name]).frame[name].cast(str), table.columns.index(name) + 1
        if not name and not (cells.str.contains(r"^\d+$").all() and cells.n_unique() == len(cells)):
            raise DataError(f"{table.path}: column {position} has no name in the header; give it one")
        notes.append(f"{table.path}: column {position}, an index without a name of its own, was dropped")
        table = table.without(name)
    return replace(table, notes=tuple(notes))
