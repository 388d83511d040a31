"""Files in pieces that fit into memory, read as `tables.reading` and `image_folders` read whole ones."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import torch
from torch import Tensor

from dltrain.data.decoding import SUFFIXES, Channels, Deep, read_image
from dltrain.data.idx import read_pieces
from dltrain.data.sources.folder_layout import image_files
from dltrain.data.tables import reading
from dltrain.data.tables.reading import Place
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_CHARACTERS = 1 << 22  # of a text table at a time
_LONGEST = 1 << 27  # characters of a row, at most
_ROWS = 1 << 17  # of a Parquet file at a time
_BYTES = 1 << 26  # of images at a time


@dataclass(frozen=True)
class Piece:
    """Some rows of a table in the columns that were asked for, and where each stands."""

    frame: pl.DataFrame
    place: Place


# -- text tables ---------------------------------------------------------------------------------------------------


def text_table(
    source: Path | BinaryIO, columns: Sequence[str], *, separator: str | None = None, characters: int = _CHARACTERS
) -> Iterator[Piece]:
    """A CSV or TSV file, or an open stream of one, piece by piece. Raises DataError as `read_table` does.

    A stream is UTF-8; of a file that is not, every byte is a Latin-1 letter. The separator is the first of `separator`
    (see `read_table`), the one of the ending, and the usual ones, by which the header has the columns.
    """
    path = source if isinstance(source, Path) else Path("standard input")
    raw = path.open("rb") if isinstance(source, Path) else source
    with io.TextIOWrapper(raw, encoding=_encoding(source), newline="") as text:
        blocks = _blocks(text, path, characters)
        try:
            first = next(blocks, "")
            if not first.strip():
                raise DataError(f"{path}: the file is empty")
            mark, header, line = _header(path, first, list(columns), separator)
            yield from _pieces(path, first, blocks, mark, header, line, list(columns))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error.reason}); convert it: iconv -f latin1 -t utf-8") from None


def _header(path: Path, text: str, columns: list[str], separator: str | None) -> tuple[str, list[str], int]:
    """The separator by which the header has the columns, its names, and the number of the last line it takes.

    Raises DataError about what the likeliest separator makes of it where none does.
    """
    given = [] if separator is None else [reading.separator_of(path, separator)]
    marks = list(dict.fromkeys([*given, reading.SEPARATORS.get(path.suffix.lower(), ","), ",", ";", "\t", "|"]))
    found: list[list[str]] = []
    wrong: list[DataError] = []
    for mark in marks:
        try:
            header, line = reading.read_header(path, text, mark, alone=columns)
        except DataError as error:
            wrong.append(error)
            continue
        if set(columns) <= set(header):
            return mark, header, line
        found.append(header)
    if not found:
        raise wrong[0]
    reading.require_columns(columns, max(found, key=len), knob="the run was trained on it", path=path)
    raise AssertionError("one of the columns is missing")


def _pieces(
    path: Path, first: str, blocks: Iterator[str], mark: str, header: list[str], line: int, columns: list[str]
) -> Iterator[Piece]:
    reader = io.StringIO(first, newline="")
    head = "".join(reader.readline() for _ in range(line))
    body, seen, rows = first[len(head) :], line, 0
    while True:
        if body.strip("\r\n"):
            frame, lines = reading.parse(path, head + body, mark, header, line, skipped=seen - line)
            rows += len(frame)
            kept = reading.clean(frame.select(columns))
            yield Piece(kept, lambda row, lines=lines: f"{path}, line {lines[row]}")
        seen += body.count("\n") + body.count("\r") - body.count("\r\n")
        if (body := next(blocks, None)) is None:
            break
    if not rows:
        raise DataError(f"{path}: has a header ({reading.listed(header)}) and no rows under it")


def _blocks(text: io.TextIOBase, path: Path, characters: int) -> Iterator[str]:
    """The text in parts that end with a whole row: at a line's end that stands outside of quotation marks."""
    rest = ""
    while block := text.read(characters):
        if "\0" in block:
            raise DataError(f"{path}: holds NUL bytes, so it is not a text file (save a spreadsheet as CSV, UTF-8)")
        rest += block
        end = rest.rfind("\n") + 1
        while end and rest.count('"', 0, end) % 2:
            end = rest.rfind("\n", 0, end - 1) + 1
        if end:
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > _LONGEST:
            raise DataError(f"{path}: a row of more than {_LONGEST:,} characters; is a quotation mark left open?")
    if rest:
        yield rest


def _encoding(source: Path | BinaryIO) -> str:
    """utf-16 where its mark stands, latin-1 for a file that is not UTF-8, else utf-8."""
    if not isinstance(source, Path):
        return "utf-8-sig"
    check = codecs.getincrementaldecoder("utf-8")()
    with source.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        file.seek(0)
        try:
            while block := file.read(_CHARACTERS):
                check.decode(block)
            check.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8-sig"


# -- Parquet -------------------------------------------------------------------------------------------------------


def parquet(path: Path, columns: Sequence[str], *, rows: int = _ROWS) -> Iterator[Piece]:
    """A Parquet file piece by piece; of its columns only those that are asked for are read."""
    import polars as pl

    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(4)
        file.seek(max(0, size - 4))
        reading.check_parquet(path, head, file.read(4), size)
    try:
        lazy = pl.scan_parquet(path, glob=False)
        reading.require_columns(
            list(columns), lazy.collect_schema().names(), knob="the run was trained on it", path=path
        )
        count = lazy.select(pl.len()).collect().item()
        if not count:
            raise DataError(f"{path}: has columns ({reading.listed(list(columns))}) and no rows")
        for start in range(0, count, rows):
            frame = lazy.select(columns).slice(start, rows).collect()
            yield Piece(
                reading.clean(reading.plain_types(frame)), lambda row, start=start: f"{path}, row {start + row + 1}"
            )
    except reading.parquet_errors() as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:120]}") from None


# -- images --------------------------------------------------------------------------------------------------------


def pictures(
    source: Path,
    *,
    size: tuple[int, int],
    channels: Channels,
    deep: Deep | None = None,
    unreadable: list[DataError] | None = None,
) -> Iterator[tuple[list[str], Tensor]]:
    """Names and pixels uint8 [n, C, H, W] of one image file, or of all those in a folder and below, by name.

    size, channels, deep: see `read_image`. Files that can't be read are left out and their errors go to `unreadable`;
    the first is raised without it, and where no file can be read.
    """
    files = sorted(image_files(source)) if source.is_dir() else [str(source)]
    if not files:
        raise DataError(f"{source} holds no image files")
    each = (3 if channels == "rgb" else 1) * size[0] * size[1]
    step = max(1, _BYTES // each)

    def read(file: str) -> Tensor | DataError:
        try:
            return read_image(file, size=size, channels=channels, deep=deep)
        except DataError as error:
            return error

    failed: list[DataError] = [] if unreadable is None else unreadable
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), step):
            some = files[start : start + step]
            made = dict(zip(some, pool.map(read, some), strict=True))
            failed += [error for error in made.values() if isinstance(error, DataError)]
            if failed and (unreadable is None or len(failed) == len(files)):
                raise failed[0]
            pixels = {file: x for file, x in made.items() if not isinstance(x, DataError)}
            if pixels:
                names = [os.path.relpath(f, source) if source.is_dir() else f for f in pixels]
                yield names, torch.stack(list(pixels.values()))


def idx(path: Path, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """The images of an IDX file as uint8 [n, C, H, W], where `shape` = (C, H, W) is what they must have."""
    for pixels in read_pieces(path, bytes_each=_BYTES):
        if pixels.ndim == 3:
            pixels = pixels.unsqueeze(1)
        if pixels.shape[1:] != shape:
            raise DataError(
                f"{path}: its images are {list(pixels.shape[1:])}, and the run was trained on {list(shape)}"
            )
        yield pixels


def kind_of(path: Path) -> Literal["pictures", "parquet", "idx", "text"]:
    """What a file or folder seems to hold: pictures, parquet, idx, or text; by its first bytes, then its ending."""
    if path.is_dir():
        return "pictures"
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1" or path.suffix in (".parquet", ".pq"):
        return "parquet"
    if head[:3] == b"\0\0\x08" or (head[:2] == b"\x1f\x8b" and not path.name.endswith((".csv.gz", ".tsv.gz"))):
        return "idx"
    return "pictures" if path.suffix.lower() in SUFFIXES else "text"
