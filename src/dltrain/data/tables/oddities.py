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
_SENTINELS = (-1.0, *(sign * (10.0**k - 1) for k in range(2, 8) for sign in (-1, 1)))  # -1, 99, -99, 999, ...
_OFTEN = 0.005  # share of the rows
_BEYOND, _FAR = 0.05, 10  # share of the rows of a part, and how many they must be
_DWARF = 1_000.0


def oddities(frame: pl.DataFrame, columns: Sequence[Column], y: np.ndarray, rows: Rows, scaling: Scaling) -> list[str]:
    """Notes on the columns of a table that look odd.

    frame: as `cells.derived` makes it. y: int64 [N] classes, or float64 [N, K].
    """
    train = rows[0]
    if len(train) < _ENOUGH:
        return []
    some = train if len(train) <= _ROWS else np.sort(np.random.RandomState(0).choice(train, _ROWS, replace=False))
    names = [c["name"] for c in columns if c["kind"] == "number" and "part" not in c]
    values = _floats(frame, names, some)
    given = _away(frame, columns, y[some], some) if len(columns) > 1 else []
    return [*given, *_stand_ins(names, values), *_further(frame, names, rows), *_dwarfs(names, values, scaling)]


def _floats(frame: pl.DataFrame, names: list[str], rows: np.ndarray) -> np.ndarray:
    """Columns of numbers as float64 [rows, columns]; nan where one is missing."""
    import polars as pl

    if not names:
        return np.empty((len(rows), 0))
    return frame[rows].select(pl.col(names).cast(pl.Float64)).to_numpy()


# -- one that gives the target away ----------------------------------------------------------------------------------


def _away(frame: pl.DataFrame, columns: Sequence[Column], y: np.ndarray, some: np.ndarray) -> list[str]:
    notes: dict[str, str] = {}
    target = y.astype(np.float64) if y.ndim == 1 else y[:, 0]
    if (y.ndim == 2 and y.shape[1] > 1) or target.min() == target.max():
        return []
    for column in columns:
        name = column["name"]
        cells = frame[name][some]
        if column["kind"] == "number":
            how, score = _of_numbers(cells, y, target)
        else:
            how, score = _of_words(cells, y)
        if score >= _TOLD[how]:
            notes[column.get("source", name)] = f"{short(column.get('source', name))} ({how} {score:.3g})"
    if not notes:
        return []
    several, drop = len(notes) > 1, override("data.drop", list(notes))
    return [
        f"column{'s' * several} {listed(list(notes.values()))}: alone tell{'s' * (not several)} the target; if "
        f"{'they are' if several else 'it is'} known only once the answer is, leave {'them' if several else 'it'} out: "
        f"{drop}"
    ]


def _of_numbers(cells: pl.Series, y: np.ndarray, target: np.ndarray) -> tuple[str, float]:
    """How well a number tells the target by itself."""
    values = np.asarray(cells.cast(float).fill_null(float("nan")).to_numpy())
    known = np.isfinite(values)
    values, classes = values[known], y.ndim == 1
    how = "area under the curve" if classes else "correlation"
    if len(values) < max(_ENOUGH, 0.5 * len(known)) or values.min() == values.max() or (classes and y.max() > 1):
        return how, 0.0
    ranks = _ranks(values)
    if classes:
        positive = y[known] == 1
        count = positive.sum()
        if not 0 < count < len(positive):
            return how, 0.0
        area = (ranks[positive].sum() - count * (count - 1) / 2) / (count * (len(positive) - count))
        return how, float(max(area, 1 - area))
    return how, max(_correlation(values, target[known]), _correlation(ranks, _ranks(target[known])))


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
        for value in _SENTINELS:
            if len(cells) and value in (cells.min(), cells.max()) and (cells == value).sum() >= least:
                others = cells[cells != value]
                if len(np.unique(others)) > 10 and _stands_apart(value, others):
                    found.setdefault(value, []).append(short(name))
    return [
        f"column{'s' * (len(at) > 1)} {listed(at)}: {value:g} stands far from all other values, and often; if it means "
        f"a missing one: {override('data.missing_marks', [f'{value:g}'])}"
        for value, at in found.items()
    ]


def _stands_apart(value: float, others: np.ndarray) -> bool:
    if value == -1:  # the only negative one among amounts
        return bool(others.min() >= 0 and np.median(others) >= 10)
    low, high = float(others.min()), float(others.max())
    return min(abs(value - low), abs(value - high)) > max(high - low, 1.0) * 0.5


# -- parts that differ -----------------------------------------------------------------------------------------------


def _further(frame: pl.DataFrame, names: list[str], rows: Rows) -> list[str]:
    """Columns in which many validation or test rows lie beyond all that the train rows showed."""
    import polars as pl

    if not names:
        return []
    seen = frame[rows[0]].select(pl.col(names).cast(pl.Float64).fill_nan(None))
    low, high = seen.min().row(0), seen.max().row(0)
    notes = []
    for part, numbers in (("validation", rows[1]), ("test", rows[2])):
        if not len(numbers):
            continue
        cells = frame[numbers].select(pl.col(names).cast(pl.Float64).fill_nan(None))
        beyond = cells.select(
            ((pl.col(name) < a) | (pl.col(name) > b)).mean().fill_null(0.0)
            for name, a, b in zip(names, low, high, strict=True)
            if a is not None
        )
        least = max(_BEYOND, _FAR / len(numbers))
        many = sorted(((s, n) for n, s in zip(beyond.columns, beyond.row(0), strict=True) if s >= least), reverse=True)
        if many:
            told = listed([f"{short(name)} ({share:.0%})" for share, name in many], 5)
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
