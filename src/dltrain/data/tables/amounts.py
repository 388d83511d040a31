"""Numbers as people write them: with signs of money or per cent, marks between thousands, a decimal comma."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl

_MONEY = r"(?:[$€£¥₹₩₽₺₪฿]|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|SEK|NOK|DKK|PLN|US\$|A\$|C\$))"
_SPACES = "\u00a0\u202f "
_THOUSANDS = {",": ",", ".": r"\.", "'": "['\u2019]", " ": f"[{_SPACES}]"}
_SAMPLE = 16  # cells that Python looks at first: polars makes each pattern anew for each column, which takes longer
_SIGN = "[-+\u2212]?"


class Writing(NamedTuple):
    """How the numbers of a column are written: the decimal mark, and what stands between thousands ("" for nothing)."""

    decimal: str
    thousands: str


WRITINGS = tuple(
    Writing(decimal, thousands) for decimal in ".," for thousands in ("", *_THOUSANDS) if decimal != thousands
)


def _number(writing: Writing) -> str:
    mark = re.escape(writing.decimal)
    whole = r"[0-9]+"
    if writing.thousands:
        whole = rf"(?:[0-9]+|[1-9][0-9]{{0,2}}(?:{_THOUSANDS[writing.thousands]}[0-9]{{3}})+)"
    return rf"(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)"


@lru_cache
def _pattern(writing: Writing) -> str:
    """A whole cell: a number with a sign before or behind, in brackets where negative, and at most one unit."""
    number, space = _number(writing), f"[{_SPACES}]?"
    plain = rf"{_SIGN}{space}(?:{_MONEY}{space}{_SIGN})?{number}(?:{space}(?:{_MONEY}|%))?-?"
    return rf"^(?:{plain}|\({_MONEY}?{space}{number}(?:{space}(?:{_MONEY}|%))?\))$"


_UNIT = rf"{_MONEY}|%"


def writings(cells: pl.Series, *, decimal: str | None, thousands: str | None) -> list[Writing]:
    """The ways in which all cells of a text column, complete, are such numbers; the likeliest first.

    A mark that the user gave rules out the others. Groups of thousands that are not money are believed where a comma
    parts them, or where numbers have other lengths: a telephone number and an address have always the same.
    """
    found = [w for w in WRITINGS if decimal in (None, w.decimal) and thousands in (None, w.thousands)]
    some = cells.head(_SAMPLE).to_list()
    found = [w for w in found if all(re.match(_pattern(w), cell) for cell in some)]
    found = [w for w in found if cells.str.contains(_pattern(w)).all()]
    if decimal is None and thousands is None and not cells.str.contains(_UNIT).any():
        found = [w for w in found if _believable(cells, w)]
    # 1,234 alone may be either: thousands, unless something has other than three figures behind the comma
    return sorted(found, key=lambda w: (not w.thousands and w.decimal == ",", w.thousands not in ("", ","), w.decimal))


def two_marks(cells: pl.Series) -> tuple[str, str] | None:
    """A cell that has a decimal point and one that has a decimal comma, where all cells are numbers but not alike."""
    families = ["|".join(_pattern(w) for w in WRITINGS if w.decimal == mark) for mark in ".,"]
    if not all(any(re.match(family, cell) for family in families) for cell in cells.head(_SAMPLE)):
        return None
    point, comma = (cells.str.contains(family) for family in families)
    if not (point | comma).all() or point.all() or comma.all():
        return None
    return cells.filter(~comma)[0], cells.filter(~point)[0]


def _believable(cells: pl.Series, writing: Writing) -> bool:
    if writing.thousands in ("", ","):
        return True
    if cells.str.contains(r"^\+").any():
        return False
    fraction = cells.str.contains(rf"{re.escape(writing.decimal)}[0-9]*$")
    return fraction.any() or cells.str.count_matches(r"[0-9]").n_unique() > 1


def parse(cells: pl.Series, writing: Writing) -> pl.Series:
    """The numbers, Float64; null where a cell is missing or is none."""
    import polars as pl

    text = cells.str.replace_all(_UNIT, "").str.replace_all(f"[{_SPACES}]", "" if writing.thousands == " " else " ")
    text = text.str.strip_chars().str.replace_all("\u2212", "-", literal=True)
    text = text.str.replace(r"^\((.*)\)$", "-$1").str.replace(r"^(.*[0-9])-$", "-$1").str.replace(r"^([-+]?) +", "$1")
    if writing.thousands not in ("", " "):
        text = text.str.replace_all(_THOUSANDS[writing.thousands], "")
    if writing.decimal == ",":
        text = text.str.replace(",", ".", literal=True)
    numbers = text.cast(pl.Float64, strict=False)
    return pl.select(pl.when(cells.str.contains(_pattern(writing))).then(numbers)).to_series().rename(cells.name)
