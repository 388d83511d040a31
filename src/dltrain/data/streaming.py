"""Files in pieces that fit into memory, read as `tables.reading` and `image_folders` read whole ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from dltrain.data.decoding import SUFFIXES, Channels, Deep, read_image
from dltrain.data.idx import read_pieces
from dltrain.data.sources.folder_layout import image_files
from dltrain.data.tables import json_lines
from dltrain.data.tables.files import ENDINGS, Given, ending, find, form
from dltrain.data.tables.headers import Format, Head, Known, known_head
from dltrain.data.tables.reading import check_words, opened_parquet
from dltrain.data.tables.table import Lines, Table, clean, plain_types
from dltrain.data.tables.text import opened, pieces
from dltrain.errors import DataError

_CHARACTERS = 1 << 22  # of a text table at a time
_ROWS = 1 << 17  # of a Parquet file at a time
_BYTES = 1 << 26  # of images at a time


# -- tables --------------------------------------------------------------------------------------------------------


def table(source: Given | BinaryIO, known: Known, how: Format | None = None) -> Iterator[Table]:
    """The columns of a run from a table, piece by piece: of a file, of several (see `files.find`), or an open stream.

    Raises DataError as `read_table` does. `how` is what the run was told of its own files.
    """
    if not isinstance(source, (str, Path, Sequence)):
        yield from text_table(source, known, how)
        return
    files = find(source, knob="INPUT")
    notes = files.notes
    for path in files.paths:
        for piece in parquet(path, known) if form(path) == "parquet" else text_table(path, known, how):
            yield replace(piece, notes=(*notes, *piece.notes))
            notes = ()


def text_table(
    source: Path | BinaryIO, known: Known, how: Format | None = None, *, characters: int = _CHARACTERS
) -> Iterator[Table]:
    """A file of text, or an open stream of one, in pieces; see `table`."""

    def head(first: str) -> Head:
        return known_head(text.path, first, how or Format(), text.ending, known)

    with opened(source) as text:
        columns = None if known.keep else known.columns  # which others there are is known with the first rows
        if text.json:
            found = json_lines.pieces(text.stream, text.path, columns)
        else:
            found = pieces(text, head, columns, characters)
        yield from _with_kept(found, known, text.path) if known.keep else found


def _with_kept(tables: Iterator[Table], known: Known, path: Path) -> Iterator[Table]:
    """Of all columns those that are wanted; a key that rows of JSON lack is a missing cell."""
    import polars as pl

    wanted: list[str] = []
    for table in tables:
        frame = table.frame
        wanted = wanted or known.chosen(frame.columns, path)
        lacking = [pl.lit(None, pl.String).alias(name) for name in wanted if name not in frame.columns]
        yield replace(table, frame=frame.with_columns(lacking).select(wanted))


def parquet(path: Path, known: Known, *, rows: int = _ROWS) -> Iterator[Table]:
    """A Parquet file piece by piece; of its columns only those that are asked for are read."""
    with opened_parquet(path) as (lazy, count):
        columns = known.chosen(lazy.collect_schema().names(), path)
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


def kind_of(path: Path) -> Literal["pictures", "table", "idx"]:
    """What a file or folder seems to hold: pictures, a table, or idx; by its first bytes, then its ending."""
    if path.is_dir():
        return "pictures"
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1" or ending(path) in ENDINGS:
        return "table"
    if head[:3] == b"\0\0\x08" or head[:2] == b"\x1f\x8b":
        return "idx"
    return "pictures" if path.suffix.lower() in SUFFIXES else "table"
