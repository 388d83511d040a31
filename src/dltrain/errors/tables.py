"""Tables for a terminal, in one way: columns three spaces apart, numbers to the right, a line below the head.

Rich needs 50 ms to be imported and 1.5 ms a row, which for 1,000 runs is more than all the rest.
"""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from dltrain.errors.output import one_line

GAP = 3
_NUMBER = re.compile(r"-|nan|[-\d.,e+%± to]*")  # as 1,000 and 98.10% ± 0.31% and -0.1 to 2e-3, or what stands for none


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] | None = None, cut: bool = False) -> list[str]:
    """The lines of a table whose first row is its head.

    The columns `right` stand to the right; without it those that hold numbers alone. `cut`: what a terminal has no
    room for is cut off, where the last columns matter least; else it wraps the lines.
    """
    lines = columns(rows, right=_numbers(rows[1:]) if right is None else right)
    lines.insert(1, "─" * max(map(width, lines)))
    if not cut:
        return lines
    most = min(room(), 1000)
    return [line if len(line) <= most else f"{line[: most - 1]}…" for line in lines]


def room() -> int:
    """How many letters a line has room for at standard output; without a terminal as many as one likes."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize


def turned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The same of few rows; where a terminal has no room for it, with its columns below each other if that is less."""
    lines, other = table(rows), [*zip(*rows, strict=True)]
    if width(lines[1]) <= room():  # the line below the head is the widest
        return lines
    return table(min(rows, other, key=lambda way: width(table(way)[1])), cut=True)


def fitted(columns: Mapping[str, Sequence[str]], spare: Iterable[str]) -> dict[str, Sequence[str]]:
    """The columns that a line has room for, by their titles: of the `spare` ones the first go first."""
    kept = dict(columns)
    for title in spare:
        wide = sum(max(map(width, [name, *cells]), default=0) + GAP for name, cells in kept.items()) - GAP
        if wide <= room():
            break
        kept.pop(title, None)
    return kept


def short(names: Iterable[str]) -> dict[str, str]:
    """The last word of each dotted name, where no other has it; else the name itself."""
    lasts = {name: name.rpartition(".")[2] for name in names}
    times = Counter(lasts.values())
    return {name: last if times[last] == 1 else name for name, last in lasts.items()}


def columns(rows: Sequence[Sequence[str]], *, right: Collection[int] | None = None) -> list[str]:
    """The same without a head."""
    right = _numbers(rows) if right is None else right
    padded = [_padded(column, right=i in right) for i, column in enumerate(zip(*rows, strict=True))]
    return [(" " * GAP).join(row).rstrip() for row in zip(*padded, strict=True)]


def width(text: str) -> int:
    """How many letters wide a terminal shows a line: signs of East Asia are twice as wide, accents take no room."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "FW") for c in text)


def _numbers(rows: Sequence[Sequence[str]]) -> list[int]:
    return [i for i, column in enumerate(zip(*rows, strict=True)) if all(map(_NUMBER.fullmatch, column))]


def _padded(column: Sequence[str], *, right: bool) -> list[str]:
    cells = [one_line(cell) for cell in column]
    widths = [width(cell) for cell in cells]
    widest = max(widths, default=0)
    pads = [" " * (widest - own) for own in widths]
    return [pad + cell if right else cell + pad for pad, cell in zip(pads, cells, strict=True)]
