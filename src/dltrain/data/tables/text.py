"""CSV and TSV as polars frames of text, whole or in pieces, with the line each row stands on and every fault named."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data.tables.table import Lines, Table, clean, listed, short
from dltrain.errors import ConfigError, DataError, override

if TYPE_CHECKING:
    import polars as pl

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = (".parquet", ".pq")
_SIGNS = {"\t": "tab"}  # separators that have a name
_CHUNK = 20_000  # rows held as Python strings at a time
_READ = 1 << 24  # bytes
_LONGEST = 1 << 27  # characters of a row, at most, of a file that is read in pieces
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Head = Callable[[str], tuple[str, list[str], int]]  # the first text -> separator, column names, last line of the header


def read_text(path: Path, separator: str | None) -> Table:
    """All rows of a file, and a note where it is not UTF-8."""
    mark = separator_of(path, separator)
    encoding, notes = encoding_of(path)
    with path.open(encoding=encoding, newline="") as text:
        (table,) = pieces(text, path, lambda first: (mark, *read_header(path, first, mark)))
    return replace(table, notes=tuple(notes))


def separator_of(path: Path, separator: str | None) -> str:
    """The character between cells: as given ("tab" is one), else by the file's ending."""
    if separator is None:
        if path.suffix.lower() not in SEPARATORS:
            known = ", ".join([*SEPARATORS, *PARQUET])
            raise DataError(
                f"{path}: the ending '{path.suffix}' is not one of {known}\n"
                f"If it is a text table, say how its cells are separated: {override('data.separator', ',')}"
            )
        return SEPARATORS[path.suffix.lower()]
    mark = "\t" if separator in ("tab", "\\t") else separator
    if len(mark) != 1 or not mark.isascii() or mark in '"\r\n':
        raise ConfigError(f"data.separator={separator!r}: write one ASCII character, or tab")
    return mark


def encoding_of(path: Path) -> tuple[str, list[str]]:
    """How the text of a file is encoded: as its mark says, in UTF-8, or else in Latin-1, which a note says.

    It takes one reading in parts, in which a hole of the file, which takes no room on the disk, does not come into
    memory. Raises DataError for NUL bytes.
    """
    decoder, line, ended = codecs.getincrementaldecoder("utf-8")(), 1, False
    notes: list[str] = []
    with path.open("rb") as file:
        wide = file.read(2) in _WIDE
        file.seek(0)
        while not ended:
            part = file.read(_READ)
            ended = not part
            if (part and not any(part)) if wide else b"\0" in part:
                raise _nul(path)
            before = len(decoder.getstate()[0])  # bytes of a letter that began in the part before
            if not wide and not notes and (before or not part.isascii()):
                try:
                    decoder.decode(part, final=ended)
                except UnicodeDecodeError as error:
                    at = line + part.count(b"\n", 0, max(0, error.start - before))
                    notes = [f"{path}: not UTF-8 (line {at}), read as Latin-1; check letters with accents"]
            line += part.count(b"\n")
    return "utf-16" if wide else "latin-1" if notes else "utf-8-sig", notes


def _nul(path: Path) -> DataError:
    return DataError(f"{path}: holds NUL bytes, so it is not a text file (save a spreadsheet as CSV, UTF-8)")


def pieces(
    text: io.TextIOWrapper, path: Path, head: Head, columns: Sequence[str] | None = None, characters: int = -1
) -> Iterator[Table]:
    """The rows of an open text table, all at once or some characters at a time, in these columns, or in all."""
    blocks = _blocks(text, path, characters)
    try:
        first = next(blocks, "")
        if not first.strip():
            raise DataError(f"{path}: the file is empty")
        mark, header, line = head(first)
        part, top, skipped, rows = first, "", 0, 0
        while part is not None:
            if part.lstrip("\r\n"):
                frame, lines = parse(path, top + part, mark, header, line, skipped=skipped)
                rows += len(frame)
                if len(frame):
                    yield Table(clean(frame if columns is None else frame.select(columns)), Lines(path, lines))
            if (following := next(blocks, None)) is not None:
                skipped += part.count("\n") + part.count("\r") - part.count("\r\n") - (0 if top else line)
                top = top or "".join(islice(_first_lines(first), line))
            part = following
    except UnicodeDecodeError as error:
        if text.encoding == "utf-16":
            raise DataError(f"{path}: starts like UTF-16 text but is damaged: {error}") from None
        raise DataError(f"{path}: not UTF-8 ({error.reason}); convert it: iconv -f latin1 -t utf-8") from None
    if not rows:
        raise DataError(f"{path}: has a header ({listed(header)}) and no rows under it")


def _first_lines(text: str) -> Iterator[str]:
    """The lines of a text of which few are wanted: a StringIO copies all of it."""
    return (found[0] for found in _LINE.finditer(text))


def _blocks(text: io.TextIOWrapper, path: Path, characters: int) -> Iterator[str]:
    """The text in parts that end with a whole row: at a line's end that stands outside of quotation marks."""
    if characters < 0:
        yield text.read()
        return
    rest = ""
    while block := text.read(characters):
        if "\0" in block:
            raise _nul(path)
        rest += block
        if end := _last_end(rest):
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > _LONGEST:
            raise DataError(f"{path}: a row of more than {_LONGEST:,} characters; is a quotation mark left open?")
    if rest:
        yield rest


def _last_end(text: str) -> int:
    """Where the last line ends that does so outside of quotation marks; 0 where none does."""
    end, outside = len(text), text.count('"') % 2 == 0
    while True:
        mark = text.rfind('"', 0, end)
        if outside and (found := text.rfind("\n", mark + 1, end)) >= 0:
            return found + 1
        if mark < 0:
            return 0
        end, outside = mark, not outside


def read_header(path: Path, text: str, mark: str, *, alone: Sequence[str] = ()) -> tuple[list[str], int]:
    """The column names and the number of the last line they take; a single one must be among `alone`."""
    reader = _reader(_first_lines(text), mark)
    try:
        header = [name.strip() for name in next(row for row in reader if row)]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None
    if len(header) == 1 and header[0] not in alone:
        found = max(",;\t|", key=header[0].count)
        hint = "its first line must name the columns"
        if found in header[0]:
            hint = f"its cells look separated by {_sign(found)}: {override('data.separator', _SIGNS.get(found, found))}"
        raise DataError(f"{path}: only one column, '{short(header[0])}', when split at {_sign(mark)}\n{hint}")
    if twice := sorted(name for name, count in Counter(header).items() if count > 1):
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
    """Every well-formed file, by Python's csv module, which knows the line it is on."""
    import polars as pl

    chunks: list[pl.DataFrame] = []
    lines: list[int] = []
    reader = _reader(io.StringIO(text, newline=""), mark)

    def rows() -> Iterator[list[str]]:
        last = 0
        for row in reader:
            if row:  # a blank line is not a row
                if len(row) != len(header):
                    raise DataError(_ragged(path, text, mark, header, line=last + 1 + skipped, cells=len(row)))
                lines.append(last + 1 + skipped)
                yield row
            last = reader.line_num

    try:
        stream = rows()
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
    widths = {len(row) for row in islice((row for row in _reader(_first_lines(text), mark) if row), 1, 1000)}
    if widths == {cells}:
        return f"{where}, and so in every row; the header ({listed(header)}) must name every column"
    return f"{where}; a cell that holds the separator {mark!r} needs quotation marks around it"


def _reader(lines: Iterable[str], mark: str) -> csv.Reader:
    return csv.reader(lines, delimiter=mark, skipinitialspace=mark != " ", strict=True)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _sign(mark: str) -> str:
    return _SIGNS.get(mark, repr(mark))
