"""What is odd about the columns of a table, said before training: one that gives the target away, numbers that stand
for a missing value, test rows beyond what the train rows showed, a column that dwarfs the others.

They are looked for in at most 10,000 train rows. A note is a question to the user, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data import Column, Scaling
from dltrain.data.tables.table import listed, short
from dltrain.errors import override

if TYPE_CHECKING:
    import polars as pl

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # numbers of the train, validation and test rows

_ROWS = 10_000
_ENOUGH = 20  # rows, below which anything may look odd
_TOLD = {"correlation": 0.97, "area under the curve": 0.99, "share of right answers": 0.99}
_SENTINELS = {-1.0, *(sign * (10.0**k - 1) for k in range(2, 8) for sign in (-1, 1))}  # -1, 99, -99, 999, ...
_OFTEN = 0.005  # share of the rows
_BEYOND, _FAR = 0.05, 10  # share of the rows of a part, and how many they must be
_DWARF = 1_000.0


class Look:
    """What is seen of columns, some after others, until `notes` tells what is odd about them all."""

    def __init__(self, rows: Rows) -> None:
        self._enough = len(rows[0]) >= _ENOUGH
        self._some = [_some(part) for part in rows]
        self._names: list[str] = []
        self._words: list[pl.Series] = []
        self._values: list[list[np.ndarray]] = [[], [], []]  # of some rows of each part
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []

    def at(self, frame: pl.DataFrame, train: pl.DataFrame, columns: Sequence[Column]) -> None:
        """Looks at columns of all rows, and of the train rows, as `cells.derived` makes them."""
        if not self._enough:
            return
        names = [c["name"] for c in columns if c["kind"] == "number" and "part" not in c]
        self._names += names
        self._words += [frame[c["name"]][self._some[0]] for c in columns if c["kind"] != "number"]
        for values, some in zip(self._values, self._some, strict=True):
            values.append(_floats(frame, names, some))
        low, high = _ends(train, names)
        self._low.append(low)
        self._high.append(high)

    def notes(self, columns: Sequence[Column], y: np.ndarray, scaling: Scaling) -> list[str]:
        """Notes on those that look odd. y: int64 [N] classes, or float64 [N, K]."""
        if not self._enough:
            return []
        names, some = self._names, self._some[0]
        values, *others = (np.concatenate(each, axis=1) for each in self._values)
        given = _away(names, values, self._words, y[some]) if len(columns) > 1 else []
        parts = dict(zip(("validation", "test"), others, strict=True))
        further = _further(names, np.concatenate(self._low), np.concatenate(self._high), parts)
        return [*given, *_stand_ins(names, values), *further, *_dwarfs(names, values, scaling)]


def _some(rows: np.ndarray) -> np.ndarray:
    return rows if len(rows) <= _ROWS else np.sort(np.random.RandomState(0).choice(rows, _ROWS, replace=False))


def _floats(frame: pl.DataFrame, names: list[str], rows: np.ndarray) -> np.ndarray:
    """Columns of numbers as float64 [rows, columns]; nan where one is missing."""
    import polars as pl

    if not names:
        return np.empty((len(rows), 0))
    return frame.select(names)[rows].cast(pl.Float64).to_numpy()


# -- one that gives the target away ----------------------------------------------------------------------------------


def _away(names: list[str], values: np.ndarray, words: list[pl.Series], y: np.ndarray) -> list[str]:
    target = y.astype(np.float64) if y.ndim == 1 else y[:, 0]
    if (y.ndim == 2 and y.shape[1] > 1) or target.min() == target.max():
        return []
    found = [(name, *_of_numbers(cells, y, target)) for name, cells in zip(names, values.T, strict=True)]
    found += [(cells.name, *_of_words(cells, y)) for cells in words]
    away = {name: f"{short(name)} ({how} {score:.3g})" for name, how, score in found if score >= _TOLD[how]}
    if not away:
        return []
    several, drop = len(away) > 1, override("data.drop", list(away))
    return [
        f"column{'s' * several} {listed(list(away.values()))}: alone tell{'s' * (not several)} the target; if "
        f"{'they are' if several else 'it is'} known only once the answer is, leave {'them' if several else 'it'} out: "
        f"{drop}"
    ]


def _of_numbers(values: np.ndarray, y: np.ndarray, target: np.ndarray) -> tuple[str, float]:
    """How well a number [N] tells the target by itself."""
    known, classes = np.isfinite(values), y.ndim == 1
    how = "area under the curve" if classes else "correlation"
    if not known.all():
        values, y, target = values[known], y[known], target[known]
    if len(values) < max(_ENOUGH, 0.5 * len(known)) or (classes and y.max() > 1):
        return how, 0.0
    ranks = _ranks(values)
    if classes:
        positive = y == 1
        count = positive.sum()
        if not 0 < count < len(positive):
            return how, 0.0
        area = (ranks[positive].sum() - count * (count - 1) / 2) / (count * (len(positive) - count))
        return how, float(max(area, 1 - area))
    return how, max(_correlation(values, target), _correlation(ranks, _ranks(target)))


def _ranks(values: np.ndarray) -> np.ndarray:
    """From 0, equal ones the middle of theirs, float64 [N]."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[index]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        a, b = a - a.mean(), b - b.mean()
        size = np.sqrt(a @ a) * np.sqrt(b @ b)
        found = abs(float(a @ b) / size) if size > 0 else 0.0
    return found if np.isfinite(found) else 0.0


def _of_words(cells: pl.Series, y: np.ndarray) -> tuple[str, float]:
    """How often the most frequent answer beside a word is right, of classes: a word that stands alone tells nothing."""
    import polars as pl

    how = "share of right answers"
    if y.ndim > 1:
        return how, 0.0
    pairs = pl.DataFrame({"word": cells.cast(pl.String), "y": y}).group_by("word", "y").len()
    most = pairs.group_by("word").agg(pl.col("len").max())["len"]
    right, usual = most.filter(most > 1).sum() / len(y), np.bincount(y).max() / len(y)
    return how, float(right) if right - usual > 0.5 * (1 - usual) else 0.0


# -- numbers that stand for something else ---------------------------------------------------------------------------


def _stand_ins(names: list[str], values: np.ndarray) -> list[str]:
    """Numbers like -1 and 999, often and far from all others of their column, which may mean a missing value."""
    found: dict[float, list[str]] = {}
    least = max(3, _OFTEN * len(values))
    for name, cells in zip(names, values.T, strict=True):
        cells = cells[np.isfinite(cells)]
        for value in {float(cells.min()), float(cells.max())} & _SENTINELS if len(cells) else ():
            others = cells[cells != value]
            if len(cells) - len(others) >= least and len(np.unique(others)) > 10 and _stands_apart(value, others):
                found.setdefault(value, []).append(short(name))
    return [
        f"column{'s' * (len(at) > 1)} {listed(at)}: {value:g} stands far from all other values, and often; if it means "
        f"a missing one: {override('data.missing_marks', [f'{value:g}'])}"
        for value, at in sorted(found.items())
    ]


def _stands_apart(value: float, others: np.ndarray) -> bool:
    if value == -1:  # the only negative one among amounts
        return bool(others.min() >= 0 and np.median(others) >= 10)
    low, high = float(others.min()), float(others.max())
    return min(abs(value - low), abs(value - high)) > max(high - low, 1.0) * 0.5


# -- parts that differ -----------------------------------------------------------------------------------------------


def _ends(train: pl.DataFrame, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest number of each column, float64 [columns]."""
    import polars as pl

    if not names:
        return np.empty(0), np.empty(0)
    seen = train.select(pl.col(names).cast(pl.Float64).fill_nan(None))
    low, high = (np.array(end.row(0), dtype=np.float64) for end in (seen.min(), seen.max()))
    return low, high


def _further(names: list[str], low: np.ndarray, high: np.ndarray, parts: dict[str, np.ndarray]) -> list[str]:
    """Columns in which many validation or test rows lie beyond all that the train rows showed: `low` and `high`."""
    notes = []
    for part, values in parts.items():
        if not len(values):
            continue
        shares = ((values < low) | (values > high)).mean(axis=0)
        least = max(_BEYOND, _FAR / len(values))
        if len(many := np.flatnonzero(shares >= least)):
            told = listed([f"{short(names[k])} ({shares[k]:.0%})" for k in many[np.argsort(-shares[many])]], 5)
            notes.append(
                f"column{'s' * (len(many) > 1)} {told}: so many of the {part} rows lie beyond all train rows, where a "
                "net guesses"
            )
    return notes


def _dwarfs(names: list[str], values: np.ndarray, scaling: Scaling) -> list[str]:
    """Without a scale: a column whose numbers are a thousand times those of most."""
    if scaling != "none" or len(names) < 2:
        return []
    with np.errstate(over="ignore"):
        sizes = np.nanmax(np.abs(np.nan_to_num(values)), axis=0)
    large = [
        name for name, size in zip(names, sizes, strict=True) if size > _DWARF * max(float(np.median(sizes)), 1e-30)
    ]
    if not large:
        return []
    return [
        f"column{'s' * (len(large) > 1)} {listed(large)}: a thousand times as large as most others, which "
        f"{'they outweigh' if len(large) > 1 else 'it outweighs'}; data.scaling=standard puts all on one scale"
    ]
