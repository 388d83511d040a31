"""Dates and times in a column, as seconds, and the numbers that a net learns from: how long ago, which month, weekday,
hour, the last three as a point on a circle, where December is beside January.

Text is read by its own pattern, not by the machine's locale; a time zone is taken into account where it is written, and
then all times are those of UTC.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    import polars as pl

Layout = Literal["year-month-day", "day-month-year", "month-day-year", "digits", "clock"]
Part = Literal["days", "month_sin", "month_cos", "weekday_sin", "weekday_cos", "hour_sin", "hour_cos"]

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
PARTS: tuple[Part, ...] = get_args(Part)
DAY = 86_400  # seconds

_CLOCK = (
    r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_REST = rf"(?:(?:T|,? +){_CLOCK}{_ZONE})?$"
_DIGITS = r"(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})?"
_NAMED = r"(?:[A-Za-z]{3,9}\.?,? )?"  # Mon, Tuesday
_YEAR, _SHORT = r"(?P<year>[0-9]{4})", r"(?P<year>[0-9]{2})"
_PATTERNS: dict[Layout, tuple[str, ...]] = {  # two figures are a year where day and month have two as well, or a slash
    "year-month-day": (rf"^{_YEAR}[-/.](?P<month>[0-9]{{1,2}})[-/.](?P<day>[0-9]{{1,2}}){_REST}",),
    "day-month-year": (
        rf"^(?P<day>[0-9]{{1,2}})[-/.](?P<month>[0-9]{{1,2}})[-/.]{_YEAR}{_REST}",
        rf"^(?P<day>[0-9]{{2}})[-/.](?P<month>[0-9]{{2}})[-/.]{_SHORT}{_REST}",
        rf"^(?P<day>[0-9]{{1,2}})/(?P<month>[0-9]{{1,2}})/{_SHORT}{_REST}",
        rf"^{_NAMED}(?P<day>[0-9]{{1,2}})\.?[- /](?P<name>[A-Za-z]{{3,9}})\.?[- /,]+{_YEAR}{_REST}",
    ),
    "month-day-year": (
        rf"^(?P<month>[0-9]{{1,2}})[-/]+(?P<day>[0-9]{{1,2}})[-/]{_YEAR}{_REST}",
        rf"^(?P<month>[0-9]{{2}})[-/](?P<day>[0-9]{{2}})[-/]{_SHORT}{_REST}",
        rf"^(?P<month>[0-9]{{1,2}})/(?P<day>[0-9]{{1,2}})/{_SHORT}{_REST}",
        rf"^{_NAMED}(?P<name>[A-Za-z]{{3,9}})\.? (?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?,? {_YEAR}{_REST}",
    ),
    "digits": (rf"^{_YEAR}(?P<month>[0-9]{{2}})(?P<day>[0-9]{{2}})(?:T?{_DIGITS})?$",),
    "clock": (rf"^{_CLOCK}$",),
}  # fmt: skip
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
         "december")  # fmt: skip
_SAMPLE = 16  # cells that Python looks at first: polars makes each pattern anew for each column, which takes longer
_CENTURY = 69  # two figures below it are a year of 2000 and later, as POSIX has it


def seconds(cells: pl.Series, layout: Layout | None) -> np.ndarray:
    """Seconds since 1970, or since midnight for a clock, float64 [N]; nan where a cell is missing or is none.

    Text is read as `layout` says; dates and times of polars as they are.
    """
    import polars as pl

    kind = cells.dtype
    if kind == pl.Date:
        return _floats(cells.cast(pl.Int32)) * DAY
    if kind == pl.Time:
        return _floats(cells.cast(pl.Int64)) / 1e9
    if kind == pl.Datetime:
        return _floats(cells.dt.epoch("us")) / 1e6
    if kind != pl.String or layout is None:
        return np.full(len(cells), np.nan)
    found = np.full(len(cells), np.nan)
    for pattern in _PATTERNS[layout]:
        made = _by_pattern(cells, pattern)
        found = np.where(np.isnan(found), made, found)
        if not np.isnan(found[cells.is_not_null().to_numpy()]).any():
            break
    return found


def _floats(cells: pl.Series) -> np.ndarray:
    import polars as pl

    return cells.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _by_pattern(cells: pl.Series, pattern: str) -> np.ndarray:
    import polars as pl

    groups = cells.str.extract_groups(pattern).struct.unnest()

    def number(name: str, absent: float) -> np.ndarray:
        if name not in groups.columns:
            return np.full(len(cells), absent)
        return groups[name].cast(pl.Float64, strict=False).fill_null(absent).to_numpy()

    clock = number("hour", 0), number("minute", 0), number("second", 0)
    hour, good = clock[0], (clock[1] < 60) & (clock[2] < 60)
    if "half" in groups.columns:
        half = groups["half"].str.to_lowercase().fill_null("").to_numpy()
        named = half != ""
        good &= np.where(named, (hour >= 1) & (hour <= 12), hour < 24)
        hour = np.where(named, hour % 12 + 12 * (half == "p"), hour)
    else:
        good &= hour < 24
    since = hour * 3600 + clock[1] * 60 + clock[2]
    if "fraction" in groups.columns:
        since = since + ("0." + groups["fraction"]).cast(pl.Float64).fill_null(0.0).to_numpy()
    if "zone" in groups.columns:
        since = since - _offset(groups["zone"])
    if "year" not in groups.columns:
        return np.where(good & groups["hour"].is_not_null().to_numpy(), since, np.nan)
    month = _named_month(groups["name"]) if "name" in groups.columns else number("month", np.nan)
    days = _days(number("year", np.nan), month, number("day", np.nan), short=_SHORT in pattern)
    return np.where(good, days * DAY + since, np.nan)


def _offset(zone: pl.Series) -> np.ndarray:
    """Seconds that a clock is ahead of UTC's; 0 where none is written."""
    import polars as pl

    parts = zone.str.extract_groups(r"^([+-])([0-9]{2}):?([0-9]{2})?$").struct.unnest()
    sign, hours, minutes = (parts[name] for name in parts.columns)
    ahead = hours.cast(pl.Float64) * 3600 + minutes.cast(pl.Float64).fill_null(0.0) * 60
    return np.where((sign == "-").fill_null(False).to_numpy(), -1, 1) * ahead.fill_null(0.0).to_numpy()


def _named_month(names: pl.Series) -> np.ndarray:
    """1 to 12 by an English name, whole or its first three letters."""
    import polars as pl

    known = {name: k + 1.0 for names in (_FULL, _MONTHS) for k, name in enumerate(names)} | {"sept": 9.0}
    numbers = names.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Float64)
    return numbers.fill_null(float("nan")).to_numpy()


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray, *, short: bool) -> np.ndarray:
    """Days since 1970 of a date of the Gregorian calendar, float64; nan where there is no such day."""
    if short:
        year = year + np.where(year < _CENTURY, 2000, 1900)
    good = np.isfinite(year) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    y, m, d = (np.where(good, part, 1).astype(np.int64) for part in (year, month, day))
    first = (y - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (m - 1)
    date = first.astype("datetime64[D]") + (d - 1)
    good &= date.astype("datetime64[M]") == first  # no 31st of April
    return np.where(good, date.astype(np.int64), np.nan)


def part_of(times: np.ndarray, part: Part) -> np.ndarray:
    """One number of each time in seconds [N]: days since 1970, or a place on a circle."""
    if part == "days":
        return times / DAY
    name, _, wave = part.partition("_")
    share = _share(times, name)
    return (np.sin if wave == "sin" else np.cos)(2 * np.pi * share)


def _share(times: np.ndarray, name: str) -> np.ndarray:
    """How far through the day, the week (from Monday) or the year (by months), from 0 to 1."""
    days = np.floor(times / DAY)
    if name == "hour":
        return times / DAY - days
    if name == "weekday":
        return (days + 3) % 7 / 7  # 1 January 1970 was a Thursday
    known = np.isfinite(days)
    months = np.where(known, days, 0).astype(np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
    return np.where(known, months % 12 / 12, np.nan)


def parts_of(times: np.ndarray, *, clock: bool) -> list[Part]:
    """The numbers that a column of such times is worth: those of a clock alone have no date, and dates no hour."""
    if clock:
        return ["hour_sin", "hour_cos"]
    known = times[np.isfinite(times)]
    parts: list[Part] = ["days", "month_sin", "month_cos", "weekday_sin", "weekday_cos"]
    return [*parts, "hour_sin", "hour_cos"] if (known % DAY != 0).any() else parts


def layouts(cells: pl.Series, *, asked: bool, day_first: bool | None) -> list[Layout]:
    """The ways in which all cells of a text column, complete, are dates or times; the likeliest first.

    `digits` (20240131) only where `asked`: identifiers look like that. Years from 1000 to 2999 alone are dates.
    """
    known: tuple[Layout, ...] = ("year-month-day", *_order(cells, day_first), "clock", *(("digits",) if asked else ()))
    return [x for x in known if likely(cells, x) == 1 and _plausible(seconds(cells, x), x)]


def likely(cells: pl.Series, layout: Layout) -> float:
    """The share of the first cells that look like it."""
    some = cells.head(_SAMPLE).to_list()
    return sum(any(re.match(way, cell) for way in _PATTERNS[layout]) for cell in some) / len(some)


def _order(cells: pl.Series, day_first: bool | None) -> tuple[Layout, ...]:
    if day_first is None:
        day_first = not cells.head(1).str.contains("/", literal=True).any()  # 1.2.2024 is European, 1/2/2024 is not
        return ("day-month-year", "month-day-year") if day_first else ("month-day-year", "day-month-year")
    return ("day-month-year",) if day_first else ("month-day-year",)


_FIRST, _LAST = (np.datetime64(year, "s").astype(np.int64) for year in ("1000-01-01", "3000-01-01"))


def _plausible(times: np.ndarray, layout: Layout) -> bool:
    return bool(np.isfinite(times).all() and (layout == "clock" or ((times >= _FIRST) & (times < _LAST)).all()))
