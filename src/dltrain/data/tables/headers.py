"""The first lines of a text table: by what its cells are separated, and how its columns are called."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dltrain.data.tables.files import ENDINGS, SEPARATORS
from dltrain.data.tables.table import kept, listed, require_columns, short
from dltrain.errors import ConfigError, DataError, override

if TYPE_CHECKING:
    import polars as pl

_MARKS = (",", ";", "\t", "|")
_SIGNS = {"\t": "tab"}  # separators that have a name
_SAMPLE = 100  # rows by which a separator is known
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
NUMBERED, _KNOB = "data.header=false", "data.separator"


@dataclass(frozen=True)
class Format:
    """How a text table is written, as far as somebody said so.

    separator: between cells, one character or "tab"; None: the first lines tell. header: whether the first line names
    the columns; where it does not they are called 1, 2, ... from the left. None: it does, and what looks otherwise is
    told.
    """

    separator: str | None = None
    header: bool | None = None


@dataclass(frozen=True)
class Known:
    """What a run asks of a table: its columns, and its targets, which may be absent.

    numbered: how many columns the file had that it was trained on, where they have numbers for names. keep: names and
    patterns of other columns that are wanted beside these.
    """

    columns: list[str]
    targets: tuple[str, ...] = ()
    numbered: int | None = None
    keep: tuple[str, ...] = ()

    def chosen(self, names: list[str], path: Path) -> list[str]:
        """Of the columns of a file those that are read; raises DataError where one lacks."""
        require_columns(self.columns, names, knob="the run was trained on it", path=path)
        wanted = {*self.columns, *kept(self.keep, names, path=path)}
        return [name for name in names if name in wanted] if self.keep else self.columns


class Head(NamedTuple):
    """The separator, the columns' names, the last line that these take (0: none stands there), and notes."""

    mark: str
    names: list[str]
    line: int
    notes: tuple[str, ...] = ()


def read_head(path: Path, text: str, how: Format, ending: str) -> Head:
    """What the first lines of a table say. Raises DataError where they name no columns, or no two of them."""
    mark = _given(how.separator) or sniff(path, text, ending)
    notes: tuple[str, ...] = ()
    if how.separator is None and mark != SEPARATORS.get(ending):
        notes = (f"{path}: its cells are separated by {sign(mark)}",)
    if how.header is False:
        names, line = numbers(_width(path, text, mark)), 0
        if len(names) == 1:
            raise DataError(_alone(path, first_row(path, text, mark)[0][0], mark))
    else:
        names, line = read_names(path, text, mark, header=how.header)
    return Head(mark, names, line, notes)


def known_head(path: Path, text: str, how: Format, ending: str, known: Known) -> Head:
    """What they say of a table that has the columns of a run: by the separator with which it has them.

    Raises DataError about what the likeliest separator makes of it where it has them with none.
    """
    given = _given(how.separator)
    marks = dict.fromkeys(mark for mark in (given, SEPARATORS.get(ending), *_MARKS) if mark)
    if how.header is False:
        return _known_width(path, text, list(marks), known)
    found: list[list[str]] = []
    wrong: list[DataError] = []
    for mark in marks:
        try:
            names, line = read_names(path, text, mark, header=True, alone=known.columns)
        except DataError as error:
            wrong.append(error)
            continue
        if set(known.columns) <= set(names):
            return Head(mark, names, line)
        found.append(names)
    if not found:
        raise wrong[0]
    names = max(found, key=len)
    of_numbers = [name for name in names if is_number(name)]
    if 2 * len(of_numbers) >= len(names) and not any(map(is_number, known.columns)):
        raise DataError(
            f"{path}: its first line is a row ({listed(names, 6)}), and must name the columns, as in the run's own "
            f"file: {listed(known.columns)}"
        )
    require_columns(known.columns, names, knob="the run was trained on it", path=path)
    raise AssertionError("one of the columns is missing")


def _known_width(path: Path, text: str, marks: list[str], known: Known) -> Head:
    """The same of a table without names: it has as many columns as the run's own, or lacks just the targets."""
    widths = {mark: _width(path, text, mark) for mark in marks}
    whole = known.numbered or max(widths.values())
    names = numbers(whole) if whole in widths.values() else []
    for mark, width in widths.items():
        if width == whole:
            return Head(mark, names, 0)
    less = len(known.targets)
    for mark, width in widths.items():
        if width == whole - less:
            left = [name for name in numbers(whole) if name not in set(known.targets)]
            said = f"{path}: has {width} columns, those of the run without its target {listed(list(known.targets))}"
            return Head(mark, left, 0, (said,))
    mark = max(marks, key=lambda mark: widths[mark])
    without = f", or {whole - less} without the target" if less else ""
    raise DataError(
        f"{path}: has {widths[mark]} columns, when split at {sign(mark)}; the run was trained on {whole} without names"
        f"{without}: which is which can't be told"
    )


def numbers(count: int) -> list[str]:
    """The names of columns that have none."""
    return [str(i + 1) for i in range(count)]


# -- separators ----------------------------------------------------------------------------------------------------


def _given(separator: str | None) -> str | None:
    if separator is None:
        return None
    mark = "\t" if separator in ("tab", "\\t") else separator
    if len(mark) != 1 or not mark.isascii() or mark in '"\r\n':
        raise ConfigError(f"data.separator={separator!r}: write one ASCII character, or tab")
    return mark


def sniff(path: Path, text: str, ending: str) -> str:
    """The separator by which all of the first rows have as many cells, and more than one; first that of the ending.

    Where none is such it is the one of the ending, unless another alone parts the first line; of a file whose ending
    says nothing a DataError.
    """
    own = SEPARATORS.get(ending)
    marks = [*dict.fromkeys(mark for mark in (own, *_MARKS) if mark)]
    widths = {mark: _widths(text, mark) for mark in marks}
    even = [mark for mark in marks if len(set(widths[mark])) == 1 and widths[mark][0] > 1]
    if own in even:
        return own
    if even and (own or len(widths[even[0]]) > 1):
        return max(even, key=lambda mark: widths[mark][0])
    if own is None:
        raise DataError(
            f"{path}: the ending '{ending}' is not one of {', '.join(ENDINGS)}, and its text is not plainly a table\n"
            f"If it is one, say how its cells are separated: {override(_KNOB, ',')}"
        )
    first = {mark: widths[mark][0] for mark in marks if widths[mark]}
    return own if first.get(own, 0) > 1 or not first else max(marks, key=lambda mark: first[mark])


def _widths(text: str, mark: str) -> list[int]:
    """How many cells the first rows have; what stands in quotation marks may hold anything."""
    lines = list(islice(first_lines(text), _SAMPLE + 1))
    rows = csv.reader(lines, delimiter=mark, skipinitialspace=True)
    try:
        widths = [len(row) for row in rows if row]
    except csv.Error:  # a cell of more than 131,072 letters
        return [1]
    return widths[:_SAMPLE] if len(lines) > _SAMPLE else widths


def sign(mark: str) -> str:
    """A separator in a message."""
    return _SIGNS.get(mark, repr(mark))


def first_lines(text: str) -> Iterator[str]:
    """The lines of a text of which few are wanted: a StringIO copies all of it."""
    return (found[0] for found in _LINE.finditer(text))


def reader(lines: Iterable[str], mark: str) -> csv.Reader:
    """The rows of a text table, cell by cell."""
    return csv.reader(lines, delimiter=mark, skipinitialspace=mark != " ", strict=True)


# -- names ---------------------------------------------------------------------------------------------------------


def first_row(path: Path, text: str, mark: str) -> tuple[list[str], int]:
    """The cells of the first row, and the last line that it takes."""
    rows = reader(first_lines(text), mark)
    try:
        return [cell.strip() for cell in next(row for row in rows if row)], rows.line_num
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}") from None


def _width(path: Path, text: str, mark: str) -> int:
    return len(first_row(path, text, mark)[0])


def read_names(
    path: Path, text: str, mark: str, *, header: bool | None = None, alone: Sequence[str] = ()
) -> tuple[list[str], int]:
    """The column names and the number of the last line they take; a single one must be among `alone`.

    header: True where somebody said that the line holds names.
    """
    names, line = first_row(path, text, mark)
    if len(names) == 1 and names[0] not in alone:
        raise DataError(_alone(path, names[0], mark))
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        hint = "" if header else f"\nIf the first line is a row like the others: {NUMBERED}"
        raise DataError(
            f"{path}: the header names {listed(twice)} more than once; every column needs its own name{hint}"
        )
    if header is None and all(map(is_number, names)) and not _counts(names):
        raise DataError(
            f"{path}: the first line holds only numbers ({listed(names)}); it must hold the column names\n"
            f"If it is a row like the others: {NUMBERED}"
        )
    return names, line


def _alone(path: Path, name: str, mark: str) -> str:
    found = max(_MARKS, key=name.count)
    if found in name:
        hint = f"its cells look separated by {sign(found)}: {override(_KNOB, _SIGNS.get(found, found))}"
    else:
        other = next((m for m in " :#~^/" if m in name and m != mark), " ")
        hint = f"its first line must name the columns; if another character parts them: {override(_KNOB, other)}"
    return f"{path}: only one column, '{short(name)}', when split at {sign(mark)}\n{hint}"


def looks_like_a_row(names: Sequence[str], rows: pl.DataFrame) -> bool:
    """Whether what stands for names looks like one more row: each column of numbers has a number there.

    names that count (1990, 1991, ...) are names.
    """
    import polars as pl

    sample = rows.head(10 * _SAMPLE)
    filled = [name for name in names if name in sample.columns and sample[name].count()]
    of_numbers = [n for n in filled if sample[n].cast(pl.Float64, strict=False).count() == sample[n].count()]
    counted = len(of_numbers) > 1 and _counts(of_numbers)
    return bool(of_numbers) and all(map(is_number, of_numbers)) and not counted


def _counts(names: Sequence[str]) -> bool:
    """Whether names are whole numbers, each one more than the one before."""
    if not all(re.fullmatch(r"\d{1,9}", name, re.ASCII) for name in names):
        return False
    return [int(name) for name in names] == list(range(int(names[0]), int(names[0]) + len(names)))


def is_number(text: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
