"""JSON lines, one flat object a line, as polars frames of text: a number as it is written, a null as a missing cell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data.tables.table import Lines, Table, clean, require_columns, short
from dltrain.errors import DataError

if TYPE_CHECKING:
    pass

_CHUNK = 20_000  # rows held as Python objects at a time
_LONGEST = 1 << 27  # characters of a line, at most


def read(text: TextIOWrapper, path: Path) -> Table:
    """All rows; a key that an object lacks is a missing cell."""
    import polars as pl

    tables = [*pieces(text, path)]
    frame = pl.concat([table.frame for table in tables], how="diagonal")
    return Table(frame, Lines(path, np.concatenate([table.where.numbers for table in tables])))


def pieces(text: TextIOWrapper, path: Path, columns: Sequence[str] | None = None) -> Iterator[Table]:
    """The rows some at a time, in these columns, or in those that a piece has. Raises DataError with the line."""
    import polars as pl

    lines, first = _lines(text, path), True
    while chunk := list(islice(lines, _CHUNK)):
        numbers, rows = zip(*chunk, strict=True)
        names = list(dict.fromkeys(name for row in rows for name in row))
        if columns is not None:
            if first:
                require_columns(list(columns), names, knob="the run was trained on it", path=path)
            names = list(columns)
        try:
            cells = {name: pl.Series([row.get(name) for row in rows], dtype=pl.String) for name in names}
        except UnicodeEncodeError as error:  # JSON can spell half of a sign
            raise DataError(f"{path}, lines {numbers[0]} to {numbers[-1]}: {error.reason}: {error.object!r}") from None
        yield Table(clean(pl.DataFrame(cells)), Lines(path, np.array(numbers, dtype=np.int64)))
        first = False
    if first:
        raise DataError(f"{path}: the file is empty")


def _lines(text: TextIOWrapper, path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The number of each line that is not blank, and its object."""
    number = 0
    try:
        while line := text.readline(_LONGEST):
            number += 1
            if len(line) == _LONGEST:
                raise DataError(f"{path}, line {number}: a line of more than {_LONGEST:,} characters")
            if line.strip():
                yield number, _cells(line, path, number)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason})") from None


def _cells(line: str, path: Path, number: int) -> dict[str, str | None]:
    where = f"{path}, line {number}"
    try:
        found = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not an object of JSON on a line of its own: {error}: {short(line, 60)}") from None
    if not isinstance(found, dict) or not found:
        raise DataError(f'{where}: want one object, such as {{"x": 1.5, "kind": "a"}}: {short(line, 60)}')
    for name, value in found.items():
        if isinstance(value, (dict, list)):
            raise DataError(f"{where}: '{short(name)}' holds a {_KINDS[type(value)]}; a cell is a number or a text")
    return {name: _WORDS.get(value, value) for name, value in found.items()}


_KINDS = {dict: "further object", list: "list"}
_WORDS = {True: "true", False: "false"}
