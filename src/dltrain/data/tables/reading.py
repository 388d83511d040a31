"""CSV and Parquet files as polars frames, with the line each row stands on, and every fault of a file named."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data.memory import free_memory
from dltrain.errors import ConfigError, DataError, nearest, override
from dltrain.errors.paths import local

if TYPE_CHECKING:
    import polars as pl

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_SIGNS = {"\t": "tab"}  # separators that have a name
_PARQUET = {".parquet", ".pq"}
_PARQUET_BYTES = 32  # of memory for a value, as it is read, filled, scaled and made a tensor
_CHUNK = 20_000  # rows held as Python strings at a time
_READ = 1 << 24  # bytes
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 begins

Place = Callable[[int], str]  # a row number of the frame -> where its user finds it


@dataclass(frozen=True)
class Table:
    """The rows of a file. `frame` holds text, null where a cell is empty (CSV), or typed columns (Parquet).

    lines: int64 [rows of this file], the line of each row in a text file, its row number in a Parquet file.
    `rest` is another file whose rows follow in `frame`.
    """

    path: Path
    frame: pl.DataFrame
    lines: np.ndarray
    notes: tuple[str, ...] = ()
    rest: Table | None = None

    def places(self) -> Place:
        """`place` without the cells, to be kept when they are not."""
        rest = self.rest and replace(self.rest, frame=None)
        return replace(self, frame=None, rest=rest).place

    def place(self, row: int) -> str:
        """Where row number `row` of the frame stands: file name and line."""
        if row >= len(self.lines):
            return self.rest.place(row - len(self.lines))
        return f"{self.path}, {'row' if self.path.suffix in _PARQUET else 'line'} {self.lines[row]}"


def read_table(path: str | Path, *, separator: str | None = None) -> Table:
    """Read a CSV, TSV or Parquet file; the first line of a text file holds the column names.

    Text is read as text: only an empty cell is missing, and "NA" is a word. Spaces around a cell are removed.
    `separator` is one character or "tab"; without it .csv means a comma and .tsv a tab. One core reads some 40 MB/s,
    and 8 MB/s of a file with quotation marks, whose rows are checked one by one: keep large tables as Parquet.
    """
    path = local(path)
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
    if path.suffix in _PARQUET:
        return _read_parquet(path)
    mark = separator_of(path, separator)
    text, notes = _decode(path)
    header, line = read_header(path, text, mark)
    frame, lines = parse(path, text, mark, header, line)
    if not len(frame):
        raise DataError(f"{path}: has a header ({listed(header)}) and no rows under it")
    frame = _without_index(path, clean(frame), notes)
    return Table(path, frame, lines, tuple(notes))


def append(first: Table, second: Table) -> Table:
    """Both tables' rows under the columns of the first, which the second must have too."""
    import polars as pl

    columns = first.frame.columns
    require_columns(columns, second.frame.columns, knob=f"a column of {first.path}", path=second.path)
    try:
        frame = pl.concat([first.frame, second.frame.select(columns)], how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{second.path}: its columns are of other types than those of {first.path}: {error}") from None
    return Table(first.path, frame, first.lines, first.notes + second.notes, rest=second)


def require_columns(wanted: list[str], columns: list[str], *, knob: str, path: Path | str) -> None:
    """Raise a `DataError` that suggests the nearest names when `wanted` are not all among `columns`."""
    for name in wanted:
        if name not in columns:
            near = nearest(name, columns)
            hint = f"; did you mean '{near}'?" if near else ""
            raise DataError(f"{path}: no column '{name}' ({knob}){hint}\nIts columns: {listed(columns)}")


def separator_of(path: Path, separator: str | None) -> str:
    """The character between cells: as given ("tab" is one), else by the file's ending."""
    if separator is None:
        if path.suffix.lower() not in SEPARATORS:
            known = ", ".join([*SEPARATORS, *sorted(_PARQUET)])
            raise DataError(
                f"{path}: the ending '{path.suffix}' is not one of {known}\n"
                f"If it is a text table, say how its cells are separated: {override('data.separator', ',')}"
            )
        return SEPARATORS[path.suffix.lower()]
    mark = "\t" if separator in ("tab", "\\t") else separator
    if len(mark) != 1 or not mark.isascii() or mark in '"\r\n':
        raise ConfigError(f"data.separator={separator!r}: write one ASCII character, or tab")
    return mark


def _without_nul(path: Path) -> bytes:
    """The content of a text file. A hole in it, which takes no room on the disk, does not come into memory."""
    parts: list[bytes] = []
    with path.open("rb") as file:
        while part := file.read(_READ):
            wide = (parts[0] if parts else part).startswith(_WIDE)
            if not any(part) if wide else b"\0" in part:
                raise DataError(f"{path}: holds NUL bytes, so it is not a text file (save a spreadsheet as CSV, UTF-8)")
            parts.append(part)
    return b"".join(parts)


def _decode(path: Path) -> tuple[str, list[str]]:
    raw, notes = _without_nul(path), []
    encoding = "utf-16" if raw.startswith(_WIDE) else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise DataError(f"{path}: starts like UTF-16 text but is damaged: {error}") from None
        text = raw.decode("latin-1")
        line = raw.count(b"\n", 0, error.start) + 1
        notes.append(f"{path}: not UTF-8 (line {line}), read as Latin-1; check letters with accents")
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text, notes


def read_header(path: Path, text: str, mark: str, *, alone: Sequence[str] = ()) -> tuple[list[str], int]:
    """The column names and the number of the last line they take; a single one must be among `alone`."""
    reader = _reader(text, mark)
    try:
        header = [name.strip() for name in next(row for row in reader if row)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if len(header) == 1 and header[0] not in alone:
        found = max(",;\t|", key=header[0].count)
        hint = "its first line must name the columns"
        if found in header[0]:
            hint = f"its cells look separated by {_sign(found)}: {override('data.separator', _SIGNS.get(found, found))}"
        raise DataError(f"{path}: only one column, '{_short(header[0])}', when split at {_sign(mark)}\n{hint}")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise DataError(f"{path}: the header names {listed(twice)} more than once; every column needs its own name")
    if all(_is_number(name) for name in header) and header != [str(i) for i in range(len(header))]:
        raise DataError(f"{path}: the first line holds only numbers ({listed(header)}); it must hold the column names")
    return header, reader.line_num


def parse(
    path: Path, text: str, mark: str, header: list[str], line: int, *, skipped: int = 0
) -> tuple[pl.DataFrame, np.ndarray]:
    """The cells of a text table as they stand, and the line of each row.

    `line` is the last one of the header; between it and the rows lie `skipped` lines that are not in the text.
    """
    plain = _read_plain(text, mark, header, line + skipped)
    return plain or _read_quoted(path, text, mark, header, skipped)


def _read_plain(text: str, mark: str, header: list[str], line: int) -> tuple[pl.DataFrame, np.ndarray] | None:
    """The quick way, for a file without quotation marks in which every line has as many cells as the header.

    The separators are counted line by line first, since polars lets some lines pass that are too short or too long.
    """
    import polars as pl

    # polars would unpack what begins as a compressed file does, such as a header x^2
    raw = b" " + text.removesuffix("\n").encode()
    characters = np.frombuffer(raw, dtype=np.uint8)
    ends = np.append(np.flatnonzero(characters == ord("\n")), len(raw))
    cells = np.diff(np.searchsorted(np.flatnonzero(characters == ord(mark)), ends), prepend=0) + 1
    strange = '"' in text or text.count("\r") != text.count("\r\n") or (len(header) == 1 and "\n\n" in text)
    if strange or len(ends) == 1 or (cells != len(header)).any():
        return None
    frame = pl.read_csv(
        raw,
        has_header=False,
        skip_rows=1,
        new_columns=header,
        separator=mark,
        quote_char=None,
        infer_schema=False,
    )
    return frame, np.arange(line + 1, line + len(ends))


def _read_quoted(path: Path, text: str, mark: str, header: list[str], skipped: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Any well-formed file, by Python's csv module, which knows the line it is on."""
    import polars as pl

    chunks, lines = [], []

    def rows(reader):
        last = 0
        for row in reader:
            if row:  # a blank line is not a row
                if len(row) != len(header):
                    raise DataError(_ragged(path, text, mark, header, line=last + 1 + skipped, cells=len(row)))
                lines.append(last + 1 + skipped)
                yield row
            last = reader.line_num

    reader = _reader(text, mark)
    try:
        stream = rows(reader)
        next(stream)  # the header
        while chunk := list(islice(stream, _CHUNK)):
            columns = zip(*chunk, strict=True)
            chunks.append(
                pl.DataFrame({n: pl.Series(c, dtype=pl.String) for n, c in zip(header, columns, strict=True)})
            )
    except csv.Error as error:
        line = reader.line_num + skipped
        raise DataError(f"{path}, line {line}: {error} (is a quotation mark left open?)") from None
    frame = pl.concat(chunks) if chunks else pl.DataFrame(schema=dict.fromkeys(header, pl.String))
    return frame, np.array(lines[1:], dtype=np.int64)


def _ragged(path: Path, text: str, mark: str, header: list[str], *, line: int, cells: int) -> str:
    where = f"{path}, line {line}: {cells} cells where the header has {len(header)}"
    widths = {len(row) for row in islice((row for row in _reader(text, mark) if row), 1, 1000)}
    if widths == {cells}:
        return f"{where}, and so in every row; the header ({listed(header)}) must name every column"
    return f"{where}; a cell that holds the separator {mark!r} needs quotation marks around it"


def _reader(text: str, mark: str):
    return csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=mark != " ", strict=True)


def clean(frame: pl.DataFrame) -> pl.DataFrame:
    """Text without the spaces around it; where none is left the cell is missing."""
    import polars as pl

    text = pl.col(pl.String).str.strip_chars()
    return frame.with_columns(pl.when(text != "").then(text))


def _without_index(path: Path, frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Drop the column of row numbers that pandas writes; refuse any other column without a name."""
    for name in {"", "__index_level_0__"}.intersection(frame.columns):
        cells, position = frame[name].cast(str), frame.columns.index(name) + 1
        if not name and not (cells.str.contains(r"^\d+$").all() and cells.n_unique() == len(cells)):
            raise DataError(f"{path}: column {position} has no name in the header; give it one")
        notes.append(f"{path}: column {position}, an index without a name of its own, was dropped")
        frame = frame.drop(name)
    return frame


def _read_parquet(path: Path) -> Table:
    import polars as pl

    with path.open("rb") as file:
        size, head = path.stat().st_size, file.read(4)
        file.seek(max(0, size - 4))
        check_parquet(path, head, file.read(4), size)
    try:
        lazy = pl.scan_parquet(path, glob=False)
        rows, columns = lazy.select(pl.len()).collect().item(), len(lazy.collect_schema())
        if (needed := _PARQUET_BYTES * rows * columns) > (free := free_memory()):
            raise DataError(
                f"{path}: {rows:,} rows of {columns:,} columns take {needed / 2**30:,.1f} GB of memory, "
                f"and {free / 2**30:,.1f} GB are free"
            )
        frame = plain_types(pl.read_parquet(io.BytesIO(path.read_bytes())))
    except parquet_errors() as error:
        raise DataError(f"{path}: cannot be read as Parquet: {_short(str(error))}") from None
    if not len(frame):
        raise DataError(f"{path}: has columns ({listed(frame.columns)}) and no rows")
    notes: list[str] = []
    return Table(path, _without_index(path, clean(frame), notes), np.arange(1, len(frame) + 1), tuple(notes))


def check_parquet(path: Path, head: bytes, tail: bytes, size: int) -> None:
    """Raises DataError for a file that is not whole."""
    if head != b"PAR1" or tail != b"PAR1" or size < 12:
        raise DataError(
            f"{path}: not a whole Parquet file ({size} bytes; it must begin and end with PAR1); "
            "was it cut off while being copied?"
        )


def parquet_errors() -> tuple[type[BaseException], ...]:
    """What polars raises over a damaged file."""
    import polars as pl

    return pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError


def plain_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Categories as text, decimals as floats."""
    import polars as pl

    return frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(pl.Decimal).cast(pl.Float64))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(names: list[str], limit: int = 12) -> str:
    """Names for a message."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(_short(name) or "(no name)" for name in names[:limit]) + more


def _sign(mark: str) -> str:
    return _SIGNS.get(mark, repr(mark))


def _short(text: str, limit: int = 120) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}..."
