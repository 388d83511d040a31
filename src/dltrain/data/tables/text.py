"""Text tables as polars frames of text, whole or in pieces, with the line each row stands on and every fault named."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dltrain.data.tables import json_lines
from dltrain.data.tables.files import JSON_LINES, SEPARATORS, watched
from dltrain.data.tables.headers import NUMBERED, Format, Head, first_lines, looks_like_a_row, read_head, reader
from dltrain.data.tables.packed import unpacked
from dltrain.data.tables.table import Lines, Table, clean, listed
from dltrain.errors import DataError
from dltrain.errors.system import free_memory

if TYPE_CHECKING:
    import polars as pl

_CHUNK = 20_000  # rows held as Python strings at a time
_READ = 1 << 24  # bytes
_LONGEST = 1 << 27  # characters of a row, at most, of a file that is read in pieces
MEMORY = 5  # bytes that a text takes at the most, for each of its own, while it is read whole
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class TooLargeError(DataError):
    """A table that takes more memory than is free, were it read whole."""


@dataclass(frozen=True)
class Text:
    """An open text, unpacked; the ending that tells how it is written; whether it holds JSON lines."""

    stream: io.TextIOWrapper
    path: Path
    ending: str
    json: bool
    notes: tuple[str, ...] = ()


def read_text(path: Path, how: Format) -> Table:
    """All rows of a file, and notes on what had to be guessed."""
    with opened(path, whole=True) as text:
        if text.json:
            return replace(json_lines.read(text.stream, path), notes=text.notes)
        (table,) = pieces(text, lambda first: read_head(path, first, how, text.ending))
    return replace(table, notes=tuple(notes_of(text, table, how)))


def notes_of(text: Text, first: Table, how: Format) -> list[str]:
    """What had to be guessed of a text, by its first rows."""
    notes = [*text.notes, *first.notes]
    if how.header is None and looks_like_a_row(first.columns, first.frame):
        names = listed(first.columns, 6)
        notes.append(
            f"{text.path}: the first line looks like a row, not like names ({names}); if it is one: {NUMBERED}"
        )
    return notes


@contextmanager
def opened(source: Path | BinaryIO, *, whole: bool = False) -> Iterator[Text]:
    """A text table, to be read once; `whole`: into memory, which it must not fill.

    A stream is UTF-8; of a file that is not, every byte is a Latin-1 letter.
    """
    if not isinstance(source, Path):
        path = Path("standard input")
        with unpacked(source, path) as (raw, ending), io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            yield Text(text, path, ending, _is_json(raw, path, ending))
        return
    with watched(source):
        with unpacked(source, source) as (raw, _):
            encoding, notes = _encoding(raw, source, whole)
        with unpacked(source, source) as (raw, ending), io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
            yield Text(text, source, ending, _is_json(raw, source, ending), notes)


def _is_json(raw: io.BufferedReader, path: Path, ending: str) -> bool:
    """Whether a text holds JSON lines: by its ending, or by its begin where the ending says nothing."""
    begin = raw.peek(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if begin == b"[" and ending in (".json", *JSON_LINES):
        raise DataError(f"{path}: holds one JSON array; write one object a line: jq -c '.[]' {path} > table.jsonl")
    return ending in JSON_LINES or (begin == b"{" and ending not in SEPARATORS)


def _encoding(file: io.BufferedReader, path: Path, whole: bool) -> tuple[str, tuple[str, ...]]:
    """How the text of a file is encoded: as its mark says, in UTF-8, or else in Latin-1, which a note says.

    It takes one reading in parts, in which a hole of the file, which takes no room on the disk, does not come into
    memory. Raises DataError for NUL bytes, and for more text than memory holds.
    """
    decoder, line, ended, size = codecs.getincrementaldecoder("utf-8")(), 1, False, 0
    notes: tuple[str, ...] = ()
    wide = file.peek(2)[:2] in _WIDE
    while not ended:
        part = file.read(_READ)
        ended, size = not part, size + len(part)
        if (part and not any(part)) if wide else b"\0" in part:
            raise _nul(path)
        if whole and MEMORY * size > (free := free_memory()):
            raise TooLargeError(
                f"{path}: its first {size / 2**30:,.1f} GB take {MEMORY * size / 2**30:,.1f} GB of memory, and "
                f"{free / 2**30:,.1f} GB are free"
            )
        before = len(decoder.getstate()[0])  # bytes of a letter that began in the part before
        if not wide and not notes and (before or not part.isascii()):
            try:
                decoder.decode(part, final=ended)
            except UnicodeDecodeError as error:
                at = line + part.count(b"\n", 0, max(0, error.start - before))
                notes = (f"{path}: not UTF-8 (line {at}), read as Latin-1; check letters with accents",)
        line += part.count(b"\n")
    return "utf-16" if wide else "latin-1" if notes else "utf-8-sig", notes


def _nul(path: Path) -> DataError:
    return DataError(f"{path}: holds NUL bytes, so it is not a text file (save a spreadsheet as CSV, UTF-8)")


def pieces(
    text: Text, head: Callable[[str], Head], columns: Sequence[str] | None = None, characters: int = -1
) -> Iterator[Table]:
    """The rows of an open text table, all at once or some characters at a time, in these columns, or in all.

    head: what the first piece says of the separator and the columns; its notes go with the first rows.
    """
    path = text.path
    blocks = _blocks(text.stream, path, characters)
    try:
        first = next(blocks, "")
        if not first.strip():
            raise DataError(f"{path}: the file is empty")
        found = head(first)
        part, top, skipped, rows = first, "", 0, 0
        while part is not None:
            if part.lstrip("\r\n"):
                frame, lines = parse(path, top + part, found, skipped=skipped)
                notes = () if rows else found.notes
                rows += len(frame)
                if len(frame):
                    chosen = clean(frame if columns is None else frame.select(columns))
                    yield Table(chosen, Lines(path, lines), notes)
            if (following := next(blocks, None)) is not None:
                skipped += part.count("\n") + part.count("\r") - part.count("\r\n") - (0 if top else found.line)
                top = top or "".join(islice(first_lines(first), found.line))
            part = following
    except UnicodeDecodeError as error:
        if text.stream.encoding == "utf-16":
            raise DataError(f"{path}: starts like UTF-16 text but is damaged: {error}") from None
        raise DataError(f"{path}: not UTF-8 ({error.reason}); convert it: iconv -f latin1 -t utf-8") from None
    if not rows:
        raise DataError(f"{path}: has a header ({listed(found.names)}) and no rows under it")


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


def parse(path: Path, text: str, head: Head, *, skipped: int = 0) -> tuple[pl.DataFrame, np.ndarray]:
    """The cells of a text table as they stand, and the line of each row.

    The text begins with the lines of the header, if there are such; between them and the rows lie `skipped` lines that
    are not in it.
    """
    plain = _read_plain(text, head, head.line + skipped)
    return plain or _read_quoted(path, text, head, skipped)


def _read_plain(text: str, head: Head, line: int) -> tuple[pl.DataFrame, np.ndarray] | None:
    """The quick way, for a file without quotation marks in which every line has as many cells as the header.

    The separators are counted line by line first, since polars lets some lines pass that are too short or too long.
    """
    import polars as pl

    # polars would unpack what begins as a compressed file does, such as a header x^2
    raw = b" " + text.removesuffix("\n").encode()
    characters = np.frombuffer(raw, dtype=np.uint8)
    ends = np.append(np.flatnonzero(characters == ord("\n")), len(raw))
    cells = np.diff(np.searchsorted(np.flatnonzero(characters == ord(head.mark)), ends), prepend=0) + 1
    top, one = min(head.line, 1), len(head.names) == 1
    strange = '"' in text or text.count("\r") != text.count("\r\n") or (one and "\n\n" in text)
    if strange or len(ends) == top or (cells != len(head.names)).any():
        return None
    frame = pl.read_csv(
        raw,
        has_header=False,
        skip_rows=top,
        new_columns=head.names,
        separator=head.mark,
        quote_char=None,
        infer_schema=False,
    )
    return frame, np.arange(line + 1, line + 1 + len(ends) - top)


def _read_quoted(path: Path, text: str, head: Head, skipped: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Every well-formed file, by Python's csv module, which knows the line it is on."""
    import polars as pl

    names = head.names
    chunks: list[pl.DataFrame] = []
    lines: list[int] = []
    rows = reader(io.StringIO(text, newline=""), head.mark)

    def whole() -> Iterator[list[str]]:
        last = 0
        for row in rows:
            if row:  # a blank line is not a row
                if len(row) != len(names):
                    raise DataError(_ragged(path, text, head, line=last + 1 + skipped, cells=len(row)))
                lines.append(last + 1 + skipped)
                yield row
            last = rows.line_num

    top = min(head.line, 1)
    try:
        stream = islice(whole(), top, None)
        while chunk := list(islice(stream, _CHUNK)):
            columns = zip(*chunk, strict=True)
            chunks.append(pl.DataFrame({n: pl.Series(c, dtype=pl.String) for n, c in zip(names, columns, strict=True)}))
    except csv.Error as error:
        line = rows.line_num + skipped
        raise DataError(f"{path}, line {line}: {error} (is a quotation mark left open?)") from None
    frame = pl.concat(chunks) if chunks else pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    return frame, np.array(lines[top:], dtype=np.int64)


def _ragged(path: Path, text: str, head: Head, *, line: int, cells: int) -> str:
    where = f"{path}, line {line}: {cells} cells where the {'header' if head.line else 'first row'} has"
    where = f"{where} {len(head.names)}"
    some = (row for row in reader(first_lines(text), head.mark) if row)
    if head.line and {len(row) for row in islice(some, 1, 1000)} == {cells}:
        return f"{where}, and so in every row; the header ({listed(head.names)}) must name every column"
    return f"{where}; a cell that holds the separator {head.mark!r} needs quotation marks around it"
