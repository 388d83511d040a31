"""Files in pieces that fit into memory, read as `tables.reading` and `image_folders` read whole ones."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from dltrain.data.decoding import SUFFIXES, Channels, Deep, read_image
from dltrain.data.idx import read_pieces
from dltrain.data.sources.folder_layout import image_files
from dltrain.data.tables.reading import check_words, opened_parquet
from dltrain.data.tables.table import Lines, Table, clean, plain_types, require_columns
from dltrain.data.tables.text import PARQUET, SEPARATORS, encoding_of, pieces, read_header, separator_of
from dltrain.errors import DataError

_CHARACTERS = 1 << 22  # of a text table at a time
_ROWS = 1 << 17  # of a Parquet file at a time
_BYTES = 1 << 26  # of images at a time


# -- tables --------------------------------------------------------------------------------------------------------


def text_table(
    source: Path | BinaryIO, columns: Sequence[str], *, separator: str | None = None, characters: int = _CHARACTERS
) -> Iterator[Table]:
    """A CSV or TSV file, or an open stream of one, piece by piece. Raises DataError as `read_table` does.

    A stream is UTF-8; of a file that is not, every byte is a Latin-1 letter. The separator is the first of `separator`
    (see `read_table`), the one of the ending, and the usual ones, by which the header has the columns.
    """
    if isinstance(source, Path):
        path, encoding, raw = source, encoding_of(source)[0], source.open("rb")
    else:
        path, encoding, raw = Path("standard input"), "utf-8-sig", source
    with io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
        yield from pieces(text, path, partial(_header, path, list(columns), separator), columns, characters)


def _header(path: Path, columns: list[str], separator: str | None, text: str) -> tuple[str, list[str], int]:
    """The separator by which the header has the columns, its names, and the number of the last line it takes.

    Raises DataError about what the likeliest separator makes of it where none does.
    """
    given = [] if separator is None else [separator_of(path, separator)]
    marks = list(dict.fromkeys([*given, SEPARATORS.get(path.suffix.lower(), ","), ",", ";", "\t", "|"]))
    found: list[list[str]] = []
    wrong: list[DataError] = []
    for mark in marks:
        try:
            header, line = read_header(path, text, mark, alone=columns)
        except DataError as error:
            wrong.append(error)
            continue
        if set(columns) <= set(header):
            return mark, header, line
        found.append(header)
    if not found:
        raise wrong[0]
    require_columns(columns, max(found, key=len), knob="the run was trained on it", path=path)
    raise AssertionError("one of the columns is missing")


def parquet(path: Path, columns: Sequence[str], *, rows: int = _ROWS) -> Iterator[Table]:
    """A Parquet file piece by piece; of its columns only those that are asked for are read."""
    with opened_parquet(path) as (lazy, count):
        names = lazy.collect_schema().names()
        require_columns(list(columns), names, knob="the run was trained on it", path=path)
        for start in range(0, count, rows):
            frame = plain_types(lazy.select(columns).slice(start, rows).collect())
            check_words(frame, path)
            lines = np.arange(start + 1, start + len(frame) + 1)
            yield Table(clean(frame), Lines(path, lines, "row"))


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
    if head == b"PAR1" or path.suffix in PARQUET:
        return "parquet"
    if head[:3] == b"\0\0\x08" or (head[:2] == b"\x1f\x8b" and not path.name.endswith((".csv.gz", ".tsv.gz"))):
        return "idx"
    return "pictures" if path.suffix.lower() in SUFFIXES else "text"
