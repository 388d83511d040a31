"""The rows of a table file, where each stands, and how names of columns are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from dltrain.errors import DataError, nearest

if TYPE_CHECKING:
    import polars as pl

Name = str | int  # of a column; -1 is the last where no column is called so
Place = Callable[[int], str]  # a row number of the frame -> where its user finds it


@dataclass(frozen=True)
class Lines:
    """Where the rows of a file stand: by the line of each in a text file, by its row number in a Parquet file.

    numbers: int64 [rows]. `rest` are those of further files, whose rows follow.
    """

    path: Path
    numbers: np.ndarray
    word: str = "line"
    rest: tuple[Lines, ...] = ()

    def place(self, row: int) -> str:
        """Where row number `row` of the frame stands: file name and line."""
        for part in (self, *self.rest):
            if row < len(part.numbers):
                return f"{part.path}, {part.word} {part.numbers[row]}"
            row -= len(part.numbers)
        raise IndexError(row)

    def followed_by(self, others: Iterable[Lines]) -> Lines:
        """These, and then the rows of others."""
        return replace(self, rest=(*self.rest, *(part for other in others for part in (other, *other.rest))))

    def kept(self, mask: np.ndarray) -> Lines:
        """Those of some rows alone, bool [rows of all files]."""
        ends = np.cumsum([len(self.numbers), *(len(part.numbers) for part in self.rest)])
        own, *others = np.split(mask, ends[:-1])
        rest = (replace(part, numbers=part.numbers[kept]) for part, kept in zip(self.rest, others, strict=True))
        return replace(self, numbers=self.numbers[own], rest=tuple(rest))


@dataclass(frozen=True)
class Table:
    """The rows of a file, or of several. `frame` holds text, null where a cell is empty, or typed columns (Parquet).

    called: what a message calls them where they are several.
    """

    frame: pl.DataFrame
    where: Lines
    notes: tuple[str, ...] = ()
    called: str = ""

    @property
    def path(self) -> Path | str:
        """The file, or what several are called."""
        return self.called or self.where.path

    @property
    def columns(self) -> list[str]:
        """Their names, in the order of the file."""
        return self.frame.columns

    def place(self, row: int) -> str:
        """See `Lines`; `where.place` is the same without the cells, to be kept when they are not."""
        return self.where.place(row)

    def __len__(self) -> int:
        return len(self.frame)

    def only(self, names: list[str]) -> Table:
        """Some of the columns."""
        return replace(self, frame=self.frame.select(names))

    def without(self, name: str) -> Table:
        """All columns but one."""
        return replace(self, frame=self.frame.drop(name))


@dataclass(frozen=True)
class Columns:
    """A table that lies on the disk, with the face of a `Table` as far as there is one without the cells.

    read: some columns, as a frame in memory. contents: what tells these rows from all others.
    """

    columns: list[str]
    where: Lines
    read: Callable[[list[str]], pl.DataFrame]
    contents: tuple[str, ...]
    notes: tuple[str, ...] = ()
    called: str = ""

    @property
    def path(self) -> Path | str:
        """The file, or what several are called."""
        return self.called or self.where.path

    def __len__(self) -> int:
        return sum(len(part.numbers) for part in (self.where, *self.where.rest))

    def only(self, names: list[str]) -> Table:
        """Some of the columns, in memory."""
        return Table(self.read(names), self.where, self.notes, self.called)

    def without(self, name: str) -> Columns:
        """All columns but one."""
        return replace(self, columns=[each for each in self.columns if each != name])


Source = TypeVar("Source", Table, Columns)


def keep(table: Table, mask: np.ndarray) -> Table:
    """Some rows of a table, bool [rows]."""
    return replace(table, frame=table.frame.filter(mask), where=table.where.kept(mask))


def append(first: Table, second: Table) -> Table:
    """Both tables' rows under the columns of the first, which the second must have too."""
    columns = first.frame.columns
    require_columns(columns, second.frame.columns, knob=f"a column of {first.path}", path=second.path)
    return concatenated([first, second], notes=first.notes + second.notes)


def join(tables: Sequence[Table], called: str) -> Table:
    """The rows of tables one after another; raises DataError unless all have the columns of the first, in any order."""
    first, *others = tables
    if not others:
        return first
    for table in others:
        check_alike(first, table)
    return replace(concatenated(tables, notes=told_once(tables)), called=called)


def check_alike(first: Table | Columns, other: Table | Columns) -> None:
    """Raises DataError unless both have the same columns, in any order."""
    if set(other.columns) != set(first.columns):
        raise DataError(
            f"{other.path}: its columns are not those of {first.path}: {_difference(first.columns, other.columns)}\n"
            "Files that are read as one table have the same columns, in any order"
        )


def concatenated(tables: Sequence[Table], *, notes: tuple[str, ...]) -> Table:
    """The rows of tables one after another; raises DataError for columns of types that do not go together."""
    import polars as pl

    first, *others = tables
    frames = [table.frame.select(first.columns) for table in tables]
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        _check_types(frames, tables)
        raise
    return Table(frame, first.where.followed_by(table.where for table in others), notes)


def _check_types(frames: list[pl.DataFrame], tables: Sequence[Table]) -> None:
    """Raises DataError for the first of several frames that don't go together."""
    import polars as pl

    for number, table in enumerate(tables):
        try:
            pl.concat([frame.head(0) for frame in frames[: number + 1]], how="vertical_relaxed")
        except pl.exceptions.PolarsError as error:
            first = tables[0].path
            raise DataError(f"{table.path}: its columns are of other types than those of {first}: {error}") from None


def _difference(wanted: list[str], found: list[str]) -> str:
    """Which names one has and the other has not."""
    known, there = set(wanted), set(found)
    missing, more = [n for n in wanted if n not in there], [n for n in found if n not in known]
    parts = [f"without {listed(missing)}"] * bool(missing) + [f"with {listed(more)}"] * bool(more)
    return ", and ".join(parts)


def told_once(tables: Sequence[Table | Columns]) -> tuple[str, ...]:
    """The notes of all, one that several files have told of the first."""
    files: dict[str, list[str]] = {}
    for table in tables:
        for note in table.notes:
            files.setdefault(note.removeprefix(f"{table.path}: "), []).append(note)
    return tuple(
        notes[0] + f" (and so of {len(notes) - 1} more file{'s' * (len(notes) > 2)})" * (len(notes) > 1)
        for notes in files.values()
    )


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


def meant(names: Name | Sequence[Name], columns: list[str], *, knob: str, path: Path | str) -> list[str]:
    """The columns that names, numbers, negative numbers from the right and patterns (`label_*`) stand for; DataError
    where one is too low.
    """
    found: list[str] = []
    known = set(columns)
    for name in [names] if isinstance(names, (str, int)) else names:
        word = str(name)
        if word not in known and (of_pattern := _matching(word, columns)):
            found += of_pattern
            continue
        if word not in known and re.fullmatch(r"-[1-9]\d{0,8}", word):
            if -int(word) > len(columns):
                raise DataError(f"{path}: {knob}={word}, and there are {len(columns)} columns")
            word = columns[int(word)]
        found.append(word)
    return found


def kept(words: Sequence[str], columns: list[str], *, path: Path | str) -> list[str]:
    """The columns of a file that names and patterns of --keep stand for, as they are named first; `row` may be none of
    them, but the number of the row. Raises DataError for a name that there is not.
    """
    found = [name for word in words for name in ([word] if word in columns else _matching(word, columns) or [word])]
    found = [name for name in dict.fromkeys(found) if name != ROW or name in columns]
    require_columns(found, columns, knob="--keep", path=path)
    return found


ROW = "row"  # what the numbers of rows are called


def _matching(pattern: str, columns: list[str]) -> list[str]:
    return [name for name in columns if fnmatchcase(name, pattern)] if {*pattern} & {*"*?["} else []


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
