"""What the columns of a table hold, as far as their cells show it, or as the user says: numbers, amounts of money,
dates, true or false, categories; and what names the rows alone. Every guess is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data import Column
from dltrain.data.tables import amounts, times
from dltrain.data.tables.table import Name, Place, listed, meant, require_columns, short
from dltrain.errors import ConfigError, DataError, override

if TYPE_CHECKING:
    import polars as pl

# what stands in a cell of numbers or dates that has no value; among words it may be one
MISSING = ("?", "na", "n/a", "#n/a", "nan", "<na>", "null", "(null)", "none", "nil", "-", "--", ".", "n.a.", "missing",
           "0000-00-00", "nat")  # fmt: skip
TRUE, FALSE = ("true", "t", "yes", "y", "on"), ("false", "f", "no", "n", "off")
_BOOLEAN = (*TRUE, *FALSE)
_TYPOS = 0.05  # share of cells that are mistakes among others of one kind; more are meant
_IDENTIFIER = re.compile(r"(^|[_\s.-])(id|uuid|guid|index|idx|rownum|row|nr|no)$|[a-z]I[dD]$", re.IGNORECASE)
_FEW = 20  # rows, in which all may differ by chance


@dataclass(frozen=True)
class Told:
    """What the user says of the columns, and the marks that their cells use."""

    categorical: Sequence[Name] = ()
    numeric: Sequence[Name] = ()
    dates: Sequence[Name] = ()
    drop: Sequence[Name] = ()
    decimal: str | None = None
    thousands: str | None = None
    day_first: bool | None = None
    missing_marks: Sequence[str] = ()

    def among(self, columns: list[str], path: Path | str) -> Told:
        """The same of the columns of a file, each by its name there, where numbers and patterns may stand here.

        Raises DataError for a name that there is not, and ConfigError where two things are said of a column.
        """
        said: dict[str, str] = {}
        named: dict[str, list[str]] = {}
        for knob in ("drop", "categorical", "numeric", "dates"):
            names = named[knob] = meant(getattr(self, knob), columns, knob=f"data.{knob}", path=path)
            require_columns(names, columns, knob=f"data.{knob}", path=path)
            for name in names:
                if said.get(name, "drop") not in ("drop", knob):
                    raise ConfigError(f"data.{said[name]} and data.{knob} both name the column '{name}'")
                said[name] = knob
        for knob, mark in (("decimal", self.decimal), ("thousands", self.thousands)):
            known = [w[knob == "thousands"] for w in amounts.WRITINGS]
            if mark is not None and mark not in known:
                raise ConfigError(f"data.{knob}={mark!r}: choose one of {' '.join(dict.fromkeys(map(repr, known)))}")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ConfigError(f"data.decimal and data.thousands are both {self.decimal!r}")
        return replace(self, **named)


@dataclass(frozen=True)
class Found:
    """One column of a file: what is learned from it (nothing where it is left out), and what a user should know."""

    columns: tuple[Column, ...] = ()
    guess: str = ""  # which kind of guess
    about: str = ""  # what is said of this column in it


def recognise(cells: pl.Series, told: Told, place: Place) -> Found:
    """What a column holds. cells: text without the spaces around it, or typed; null where one is missing.

    Raises DataError for nested values, for a few cells that are of another kind than all others, and for what a user
    asks for and is not there.
    """
    import polars as pl

    name, kind = cells.name, cells.dtype
    if told.missing_marks and kind == pl.String:
        cells = cells.replace(list(told.missing_marks), [None] * len(told.missing_marks))
    asked = {key for key in ("categorical", "numeric", "dates") if name in getattr(told, key)}
    if not cells.count():
        return Found(guess="empty", about=short(name))
    if kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise DataError(
            f"{place(0)}: column '{name}' holds {kind}, not numbers or text; turn it into numbers, or leave it out: "
            f"{without(name, told.drop)}"
        )
    if "categorical" in asked:
        return Found(({"name": name, "kind": "text"},))
    if kind == pl.Duration:
        return Found(({"name": name, "kind": "number"},))
    if kind.is_temporal():
        return _dates(cells, None, clock=kind == pl.Time)
    if kind != pl.String:
        return _typed(cells, asked, place)
    return _Text(cells, told, place, asked).found()


def _typed(cells: pl.Series, asked: set[str], place: Place) -> Found:
    import polars as pl

    if "dates" in asked:
        raise DataError(f"{place(0)}: column '{cells.name}' holds {cells.dtype}, and data.dates names it")
    if cells.dtype == pl.Boolean:
        return Found(({"name": cells.name, "kind": "boolean"},))
    if "numeric" not in asked and names_rows(cells):
        return Found(guess="identifier", about=short(cells.name))
    return Found(({"name": cells.name, "kind": "number"},))


def names_rows(cells: pl.Series) -> bool:
    """Whether whole numbers are another in each row, in a column that is called as one that tells rows apart."""
    if not _IDENTIFIER.search(cells.name) or len(cells) <= _FEW:
        return False
    whole = cells.dtype.is_integer() or (cells == cells.round()).all()
    return whole and cells.n_unique() == len(cells)


@dataclass
class _Text:
    """A column of text, looked at from all sides."""

    cells: pl.Series
    told: Told
    place: Place
    asked: set[str]
    words: pl.Series = field(init=False)  # the cells that are not missing

    def __post_init__(self) -> None:
        self.words = self.cells.drop_nulls()

    def found(self) -> Found:
        name = self.cells.name
        if "dates" in self.asked and (dates := self._as_dates(forced=True)) is not None:
            return dates
        if "numeric" not in self.asked and self._is_boolean():
            return Found(({"name": name, "kind": "boolean"},))
        number = self._as_number()
        if number is not None:
            return number
        if "numeric" in self.asked:
            raise self._strange(_floats(self.words).is_null(), "a number", "data.numeric names it")
        dates = self._as_dates(forced=False)
        return dates if dates is not None else self._as_text()

    def _is_boolean(self) -> bool:
        if self.words[0].lower() not in _BOOLEAN:
            return False
        words = self.words.str.to_lowercase()
        if words.is_in(["true", "false"]).all():
            return True
        return words.is_in(_BOOLEAN).all() and words.is_in(TRUE).any() and words.is_in(FALSE).any()

    def _as_number(self) -> Found | None:
        """Plain numbers or amounts, of which some cells may hold a usual mark for what is missing."""
        name, told, numbers = self.cells.name, self.told, _floats(self.words)
        given = told.decimal is not None or told.thousands is not None
        if not numbers.null_count() and not given:
            return self._as_plain()
        marks = sorted(set(self.words.filter(numbers.is_null() & self.words.str.to_lowercase().is_in(MISSING))))
        values = self.words.filter(~self.words.is_in(marks)) if marks else self.words
        if not len(values):
            return None
        column: Column = {"name": name, "kind": "number"}
        if marks:
            column["marks"] = marks
        plain = _floats(values).is_not_null()
        if not (given or plain.all()) or (given and not values.str.contains(r"^[-+]?[0-9]*$").all()):
            if ways := amounts.writings(values, decimal=told.decimal, thousands=told.thousands):
                column["writing"] = list(ways[0])
                example = values[0] if plain.all() else values.filter(~plain)[0]
                read = amounts.parse(values.filter(values == example).head(1), ways[0])[0]
                return Found((column,), "amounts", f"{short(name)} ('{short(example)}' is {read:g})")
            if both := amounts.two_marks(values):
                raise DataError(
                    f"column '{name}' has two decimal marks: '{both[0]}' at {self._at(both[0])}, and '{both[1]}' at "
                    f"{self._at(both[1])}; write all in one way, or take them for words: "
                    f"{override('data.categorical', [name])}"
                )
        if plain.all():
            return Found((column,), *(("marks", f"{short(name)} ({listed(marks, 3)})") if marks else ()))
        if (~plain).sum() <= max(1, _TYPOS * len(values)) and len(values) > 2:
            raise self._strange(numbers.is_null() & ~self.words.is_in(marks), "a number", "")
        return None

    def _as_plain(self) -> Found:
        """A column in which each cell is a number: codes and what names the rows look like that, too."""
        name = self.cells.name
        if "numeric" in self.asked:
            return Found(({"name": name, "kind": "number"},))
        codes = self.words[0].isdigit() and self.words.str.contains(r"^0[0-9]+$").any()
        if codes and self.words.str.contains(r"^[0-9]+$").all():
            return Found(({"name": name, "kind": "text"},), "codes", short(name))
        if _IDENTIFIER.search(name) and names_rows(_floats(self.cells).rename(name)):
            return Found(guess="identifier", about=short(name))
        return Found(({"name": name, "kind": "number"},))

    def _as_dates(self, *, forced: bool) -> Found | None:
        marked = self.words.str.to_lowercase().is_in(MISSING)
        marks = sorted(set(self.words.filter(marked)))
        values = self.words.filter(~marked)
        if not len(values):
            return None
        ways = times.layouts(values, asked=forced, day_first=self.told.day_first)
        if ways:
            return _dates(self.cells, ways[0], clock=ways[0] == "clock", marks=marks, unsure=len(ways) > 1)
        for layout in times.LAYOUTS if forced else ("year-month-day",):
            if times.likely(values, layout) < 0.5:
                continue
            none = np.isnan(times.seconds(self.words, layout)) & ~marked.to_numpy()
            if 0 < none.sum() <= max(1, _TYPOS * len(values)) and len(values) > 2:
                import polars as pl

                raise self._strange(pl.Series(none), "a date or time", "")
        if forced:
            raise DataError(
                f"{self._at(values[0])}: '{short(values[0])}' in column '{self.cells.name}' is not a date or time "
                "(data.dates names it); write 2024-01-31, 31.01.2024, 01/31/2024 or 20240131, with 13:45 behind it "
                "where there is a time, each the same way"
            )
        return None

    def _as_text(self) -> Found:
        name, words = self.cells.name, self.words
        distinct = words.n_unique()
        if len(words) > _FEW and distinct == len(words):
            return Found(guess="identifier", about=short(name))
        numbers = _floats(words).count()
        if numbers > 0.5 * len(words):
            example = words.filter(_floats(words).is_null())[0]
            return Found(({"name": name, "kind": "text"},), "mixed", f"{short(name)} ('{short(example)}')")
        return Found(({"name": name, "kind": "text"},))

    def _at(self, word: str) -> str:
        return self.place((self.cells == word).fill_null(False).arg_true()[0])

    def _strange(self, strange: pl.Series, wanted: str, why: str) -> DataError:
        """About a few cells among others of one kind."""
        name = self.cells.name
        word = self.words.filter(strange)[0]
        what = why or f"whose other cells are {'numbers' if wanted == 'a number' else 'dates or times'}"
        return DataError(
            f"{self._at(word)}: '{short(word)}' in column '{name}', {what} "
            f"({strange.sum()} of {len(self.words)} are not)\nCorrect it; or empty the cell if the value is missing; "
            f"or {override('data.missing_marks', [word])}; or take all for words: "
            f"{override('data.categorical', [name])}; or leave the column out: {without(name, self.told.drop)}"
        )


def _dates(
    cells: pl.Series, layout: times.Layout | None, *, clock: bool, marks: Sequence[str] = (), unsure: bool = False
) -> Found:
    """The numbers that a column of dates is worth, as columns of their own."""
    name = cells.name
    known = times.seconds(cells, layout)
    parts = times.parts_of(known, clock=clock)
    columns: list[Column] = []
    for part in parts:
        column: Column = {"name": f"{name}.{part}", "kind": "number", "source": name, "part": part}
        if layout:
            column["layout"] = layout
        if marks:
            column["marks"] = list(marks)
        columns.append(column)
    if unsure:
        other = "false" if layout == "day-month-year" else "true"
        return Found(tuple(columns), "unsure", f"{short(name)} ({layout}; data.day_first={other} for the other way)")
    return Found(tuple(columns), "dates", f"{short(name)}{f' ({layout})' if layout else ''}")


def _floats(words: pl.Series) -> pl.Series:
    import polars as pl

    return words.cast(pl.Float64, strict=False)


_SAID = {
    "dates": "dates and times, taken as days gone by and as month, weekday and hour",
    "unsure": "dates that could be read in two ways",
    "amounts": "numbers as people write them",
    "marks": "missing where they say so",
    "codes": "codes, since there are leading zeros; data.numeric=[...] for numbers",
    "mixed": "categories, though most cells are numbers",
    "identifier": "left out, since no two rows have the same; data.categorical=[...] or data.numeric=[...] keeps it",
    "empty": "left out, since there is no value",
}


def guesses(found: Sequence[Found]) -> list[str]:
    """One line for each kind of guess, with the columns that it was made of."""
    lines = []
    for guess, sentence in _SAID.items():
        if about := [item.about for item in found if item.guess == guess]:
            lines.append(f"column{'s' * (len(about) > 1)} {listed(about)}: {sentence}")
    return lines


def without(name: str, drop: Sequence[Name]) -> str:
    """The override that leaves out a column beside those that are out already."""
    return override("data.drop", [*map(str, drop), name])
