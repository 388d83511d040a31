"""Tables whose columns are read from the disk, some at a time: Parquet files as they are, text once it has been put
into columns, which are kept (see `cache`). What is read is what `reading.read_table` would hold in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data import cache
from dltrain.data.tables.files import PACKED, Given, find, form, watched
from dltrain.data.tables.headers import Format, read_head
from dltrain.data.tables.reading import PARQUET_BYTES, check_words, opened_parquet, without_index
from dltrain.data.tables.table import (
    Columns,
    Lines,
    check_alike,
    clean,
    concatenated,
    plain_types,
    require_columns,
    told_once,
)
from dltrain.data.tables.text import MEMORY, notes_of, opened, pieces
from dltrain.errors import ConfigError
from dltrain.errors.system import free_memory

if TYPE_CHECKING:
    import polars as pl

_CHARACTERS = 1 << 25  # of a text at a time: 200 MB of memory, and 15 MB of a file
_UNPACKED = 6  # times as much text comes out of a packed file as it takes
_SMALL = 1 << 20  # bytes of a file that is no matter
_LINES = "lines.bin"


def is_large(given: Mapping[str, Given | None]) -> bool:
    """Whether tables would take more than half of the memory that is free, were they read whole; by their knobs."""
    paths = [path for knob, each in given.items() if each is not None for path in find(each, knob=knob).paths]
    return sum(map(_memory, paths)) > free_memory() / 2


def _memory(path: Path) -> float:
    """Bytes that a table takes while it is read whole, about."""
    size = path.stat().st_size
    if (kind := form(path)) == "json" or size < _SMALL:  # which are read whole in any case
        return 0
    if kind == "text":
        return MEMORY * size * (_UNPACKED if path.suffix.lower() in PACKED else 1)
    with opened_parquet(path) as (lazy, rows):
        return PARQUET_BYTES * rows * len(lazy.collect_schema())


@contextmanager
def columns_of(given: Given, how: Format, *, knob: str = "data.path") -> Iterator[Columns]:
    """The columns of a file, or of several, to be read while this lasts, in which no file may change.

    Raises DataError as `reading.read_table` does, and ConfigError for JSON lines, which are no columns.
    """
    files = find(given, knob=knob)
    with ExitStack() as stack:
        for path in files.paths:
            stack.enter_context(watched(path))
        kinds = [_parquet if form(path) == "parquet" else _text for path in files.paths]
        read = [stack.enter_context(kind(path, how)) for kind, path in zip(kinds, files.paths, strict=True)]
        parts = list(map(without_index, read))
        for other in parts[1:]:
            check_alike(parts[0], other)
        table = parts[0] if len(parts) == 1 else _together(parts, notes=told_once(parts), called=files.called)
        yield replace(table, notes=(*files.notes, *table.notes))


def followed(first: Columns, second: Columns) -> Columns:
    """The rows of both, under the columns of the first, which the second must have too; as `table.append`."""
    require_columns(first.columns, second.columns, knob=f"a column of {first.path}", path=second.path)
    return _together([first, second], notes=first.notes + second.notes)


def _together(parts: Sequence[Columns], *, notes: tuple[str, ...], called: str = "") -> Columns:
    def read(names: list[str]) -> pl.DataFrame:
        return concatenated([part.only(names) for part in parts], notes=()).frame

    where = parts[0].where.followed_by(part.where for part in parts[1:])
    contents = tuple(content for part in parts for content in part.contents)
    return Columns(parts[0].columns, where, read, contents, notes, called)


@contextmanager
def _entry(path: Path, how: Format, make: Callable[[Path], cache.Facts]) -> Iterator[cache.Entry]:
    """What is kept of a file as it is now, for as long as it is read.

    One that was only touched is read once, to see that it is the same.
    """
    now = cache.state(path)

    def fresh(facts: cache.Facts) -> bool:
        known = cache.listed(facts, "state")
        return known == now or (known[:3] == now[:3] and facts["content"] == cache.content(path))

    def whole(draft: Path) -> cache.Facts:
        return {**make(draft), "about": f"{path.absolute()}: its columns", "state": now, "content": cache.content(path)}

    with cache.held(cache.named("columns", str(path), now[0], vars(how)), whole, fresh=fresh) as entry:
        yield entry if entry.facts["state"] == now else cache.note(entry, {**entry.facts, "state": now})


# -- Parquet ---------------------------------------------------------------------------------------------------------


@contextmanager
def _parquet(path: Path, how: Format) -> Iterator[Columns]:
    """A Parquet file is columns already: what is kept tells whether it is the same."""

    def read(names: list[str]) -> pl.DataFrame:
        with opened_parquet(path) as (lazy, _):
            frame = plain_types(lazy.select(names).collect())
            check_words(frame, path)
        return clean(frame)

    with opened_parquet(path) as (lazy, rows):
        names = lazy.collect_schema().names()
    with _entry(path, how, lambda draft: {}) as kept:
        yield Columns(names, Lines(path, np.arange(1, rows + 1), "row"), read, (str(kept.facts["content"]),))


# -- text ------------------------------------------------------------------------------------------------------------


@contextmanager
def _text(path: Path, how: Format) -> Iterator[Columns]:
    with _entry(path, how, lambda draft: _put_into_columns(path, how, draft)) as kept:
        files = sorted(kept.folder.glob("*.parquet"))

        def read(names: list[str]) -> pl.DataFrame:
            import polars as pl

            some = [pl.read_parquet(file, columns=names, glob=False) for file in files]
            return pl.concat(some).select(names).rechunk()

        lines = np.memmap(kept.folder / _LINES, dtype=np.int64, mode="r")
        columns, notes = (list(map(str, cache.listed(kept.facts, key))) for key in ("columns", "notes"))
        yield Columns(columns, Lines(path, lines), read, (str(kept.facts["content"]),), tuple(notes))


def _put_into_columns(path: Path, how: Format, draft: Path) -> cache.Facts:
    """Writes the cells of a text as Parquet files of some rows each, and the line of each row."""
    from tqdm import tqdm

    notes: list[str] = []
    columns: list[str] = []
    bar = tqdm(desc=f"reading {path.name}", unit=" rows", unit_scale=True, disable=None)  # None: terminals only
    with opened(path) as text, (draft / _LINES).open("wb") as lines, closing(bar):
        if text.json:
            raise ConfigError(
                f"{path}: JSON lines are held in memory; write the table as CSV or Parquet, or leave data.on_disk out"
            )
        found = pieces(text, lambda first: read_head(path, first, how, text.ending), None, _CHARACTERS)
        for number, piece in enumerate(found):
            if not number:
                columns, notes = piece.columns, notes_of(text, piece, how)
            lines.write(piece.where.numbers.astype(np.int64).tobytes())
            content = BytesIO()  # for Python to write, which says what a disk refuses
            piece.frame.write_parquet(content, compression="zstd", compression_level=1, statistics=False)
            (draft / f"{number:08}.parquet").write_bytes(content.getbuffer())
            bar.update(len(piece))
    return {"columns": columns, "notes": notes}
