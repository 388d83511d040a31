"""Columns that say something of the rows of a table and are no features by that: how much each counts (`weight`), what
must stay together (`group`), and what is earlier (`time`). They decide how the rows are shared out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data import split
from dltrain.data.split import Rows, Share, by_group, by_time, fold, size_of
from dltrain.data.tables import amounts, times
from dltrain.data.tables.kinds import Told
from dltrain.data.tables.table import Columns, Table, require_columns, short
from dltrain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

_LARGEST = 1e30  # a weight; sums of them are float32
_PARTS = ("train", "validation", "test")
_MONTH = "^[0-9]{4}-[0-9]{2}$"
_UNLIKE = 0.1  # a share of the wanted rows by which a part may differ before it is said


@dataclass(frozen=True)
class Roles:
    """The columns that have a role, by their names. told: how their cells are written, as far as the user says so."""

    weight: str | None = None
    group: str | None = None
    time: str | None = None
    told: Told = field(default_factory=Told)

    def check(self, source: Table | Columns, targets: list[str], features: list[str] | None) -> None:
        """Raises ConfigError for what does not go together, and DataError for columns that there are not."""
        for knob in ("weight", "group", "time"):
            name = getattr(self, knob)
            if name is not None:
                require_columns([name], source.columns, knob=f"data.{knob}", path=source.path)
                if name in targets:
                    raise ConfigError(f"data.{knob}={name}: this is the target")
        if self.weight is not None and self.weight in (features or []):
            raise ConfigError(
                f"data.features names the column '{self.weight}', which data.weight has: it is no feature"
            )
        if self.group is not None and self.time is not None:
            raise ConfigError(
                f"data.group={self.group}: rows are shared out by groups or by data.time={self.time}, not by both; to "
                "keep groups together in the order of time, name a column with the time at which each group begins"
            )

    def no_features(self, features: list[str] | None) -> set[str]:
        """The columns that nothing is learned from: a group's is one where the user asks for it."""
        group = self.group if features is None else None
        return {name for name in (self.weight, group) if name is not None}

    def weights(self, source: Table, rows: Rows | None = None) -> np.ndarray | None:
        """How much each row counts, float32 [N]; None where all count the same.

        rows: how they are shared out. Raises DataError, with file and line, for what is no weight, and where no row of
        a part has one above zero.
        """
        if self.weight is None:
            return None
        cells = self._complete(source, self.weight, "data.weight")
        values = _numbers(cells, self.told)
        if (wrong := ~((values >= 0) & (values <= _LARGEST))).any():
            row = int(wrong.argmax())
            raise DataError(
                f"{source.place(row)}: '{short(str(cells[row]))}' in column '{self.weight}' (data.weight) is no "
                f"weight, which is a number from 0 to {_LARGEST:g}; correct it, or remove the row"
            )
        values = values.astype(np.float32)
        parts = [("", np.arange(len(values)))]
        if rows is not None:
            parts = [(f" of the {name} part", numbers) for name, numbers in zip(_PARTS, rows, strict=True)]
        for part, numbers in parts:
            if len(numbers) and not values[numbers].any():
                raise DataError(
                    f"{source.path}: column '{self.weight}' (data.weight) is 0 in each of the {len(numbers):,} rows"
                    f"{part}, so that none of them counts"
                )
        return values

    def remarks(self, weights: np.ndarray | None) -> list[str]:
        """A note on the rows that do not count, where there are such."""
        if weights is None or weights.all():
            return []
        return [f"data.weight: {int((weights == 0).sum()):,} of {len(weights):,} rows have weight 0 and do not count"]

    def share_out(
        self, source: Table, own: int, *, val: float | int, test: Share, seed: int, classes: np.ndarray | None
    ) -> tuple[Rows, list[str]]:
        """The parts of the first `own` rows of a table, and what is to be said of them. What follows is of a file of
        its own with test rows; see `dltrain.data.split` for the rest.
        """
        if self.group is not None:
            return self._by_group(source, own, val=val, test=test, seed=seed, classes=classes)
        if self.time is not None:
            unused = [f"data.split_seed={seed} is not used: data.time decides"] if seed else []
            rows, notes = self._by_time(source, own, val=val, test=test)
            return rows, [*unused, *notes]
        return split(own, val=val, test=test, seed=seed, classes=classes), []

    def _by_group(
        self, source: Table, own: int, *, val: float | int, test: Share, seed: int, classes: np.ndarray | None
    ) -> tuple[Rows, list[str]]:
        import polars as pl

        assert self.group is not None  # with others it is not called
        cells = self._complete(source, self.group, "data.group").cast(pl.String)
        groups = cells.rank("dense").to_numpy().astype(np.int64)
        rows = by_group(groups[:own], val=val, test=test, seed=seed, classes=classes)
        of_test = size_of("test", test, own)
        of_val = size_of("val", val, own - of_test)
        wanted = own - of_test - of_val, of_val, of_test
        notes: list[str] = []
        names, sizes = np.unique(groups[:own], return_counts=True)
        if (largest := int(sizes.max())) > wanted[0]:
            first = cells[int(np.argmax(groups[:own] == names[sizes.argmax()]))]
            notes.append(
                f"data.group: '{short(first)}' alone has {largest:,} of the {own:,} rows, and the train part was to "
                f"have {wanted[0]:,}"
            )
        if any(abs(len(part) - size) > _UNLIKE * size for part, size in zip(rows, wanted, strict=True)):
            made, asked = (_told([*map(len, rows)] if now else wanted) for now in (True, False))
            notes.append(f"data.group: {len(names)} whole groups make parts of {made} rows, in the place of {asked}")
        if both := len(np.intersect1d(groups[own:], names)):
            rows_of_both = int(np.isin(groups[own:], names).sum())
            notes.append(
                f"data.group: {both:,} group{'s' * (both > 1)} of the test file, with {rows_of_both:,} of its rows, "
                f"stand{'s' * (both == 1)} in {source.path}, too: the test shows less than how new groups are answered"
            )
        return rows, notes

    def _by_time(self, source: Table, own: int, *, val: float | int, test: Share) -> tuple[Rows, list[str]]:
        assert self.time is not None  # with others it is not called
        order, notes = _in_order(self._complete(source, self.time, "data.time"), source, self.told)
        rows, moved = by_time(order[:own], val=val, test=test)
        if isinstance(test, str):
            number, count = fold(test)
            later = own - sum(map(len, rows))
            notes.append(
                f"data.time: fold {number} of {count} is block {number + 1} of {count + 1} in the order of time; the "
                f"blocks before it are learned from, and {later:,} later rows are not used"
            )
        if moved:
            notes.append(
                f"data.time: {moved:,} row{'s' * (moved > 1)} moved across a border, so that no two parts have rows of "
                f"one time; there are {_told([*map(len, rows)])}"
            )
        if early := int((order[own:] <= order[:own].max()).sum()):
            notes.append(
                f"data.time: {early:,} of the {len(order) - own:,} rows of the test file are not later than the last "
                f"one of {source.path}"
            )
        return rows, notes

    def _complete(self, source: Table, name: str, knob: str) -> pl.Series:
        """A column, once it is sure that no cell of it is missing."""
        import polars as pl

        cells = source.frame[name]
        if (marks := list(self.told.missing_marks)) and cells.dtype == pl.String:
            cells = cells.replace(marks, [None] * len(marks))
        if cells.dtype.is_nested():
            raise DataError(f"{source.place(0)}: column '{name}' ({knob}) holds {cells.dtype}, not one value a row")
        if cells.dtype.is_float():
            cells = cells.fill_nan(None)
        if count := cells.null_count():
            where = "; ".join(source.place(row) for row in cells.is_null().arg_true().head(3))
            raise DataError(
                f"{source.path}: column '{name}' ({knob}) is empty in {count:,} of {len(cells):,} rows: {where}"
                f"{'; ...' * (count > 3)}\nComplete or remove those rows"
            )
        return cells


def _told(sizes: list[int] | tuple[int, ...]) -> str:
    return ", ".join(f"{size:,} {part}" for size, part in zip(sizes, _PARTS, strict=True))


def _numbers(cells: pl.Series, told: Told) -> np.ndarray:
    """float64 [N], also of amounts of one way of writing; nan for what is no number."""
    import polars as pl

    if cells.dtype.is_temporal():
        return np.full(len(cells), np.nan)
    numbers = cells.cast(pl.Float64, strict=False)
    if numbers.null_count() and cells.dtype == pl.String:
        ways = amounts.writings(cells, decimal=told.decimal, thousands=told.thousands)
        numbers = amounts.parse(cells, ways[0]) if ways else numbers
    return numbers.fill_null(float("nan")).to_numpy()


def _in_order(cells: pl.Series, source: Table, told: Told) -> tuple[np.ndarray, list[str]]:
    """Numbers, or seconds of dates and times, float64 [N]; and a note where day and month could be either way round.

    Raises DataError with file and line.
    """
    import polars as pl

    if cells.dtype.is_temporal():
        return times.seconds(cells, None), []
    if np.isfinite(values := _numbers(cells, told)).all():
        return values, []
    text = cells.cast(pl.String)
    words = text.unique(maintain_order=True)
    dates = words + "-01" if words.str.contains(_MONTH).all() else words
    if not (ways := times.layouts(dates, asked=False, day_first=told.day_first)):
        seen = [np.isfinite(times.seconds(dates, layout)) for layout in times.LAYOUTS]
        first = words[int(np.argmin(max(seen, key=np.sum)))]
        where = source.place((text == first).arg_true()[0])
        raise DataError(
            f"{where}: '{short(first)}' in column '{cells.name}' (data.time) is no number, and no date or time as most "
            "others; such are 2024-01-31, 2024-01-31 23:59 and 23:59"
        )
    made = dict(zip(words, times.seconds(dates, ways[0]), strict=True))
    notes: list[str] = []
    if len(ways) > 1:
        other = "false" if ways[0] == "day-month-year" else "true"
        notes.append(f"data.time: '{short(words[0])}' is read as {ways[0]}; data.day_first={other} reads it otherwise")
    return text.replace_strict(made, return_dtype=pl.Float64).to_numpy(), notes
