"""How rows are shared out. Random cuts in two are row for row those of scikit-learn's `train_test_split`, and folds
those of its `KFold` and `StratifiedKFold`, whose import takes half a second; groups stay whole, and times in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np

from dltrain.errors import ConfigError, DataError

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # the numbers of the train, validation and test rows, int64
Share = float | int | str  # of the rows: a fraction, a count; for the test part also a fold, as 1/5


def size_of(part: str, wanted: Share, n: int) -> int:
    """How many of n rows a part is to have: a count, or a fraction rounded up; of a fold about so many. Raises
    DataError if none are left.
    """
    if isinstance(wanted, str):
        return round(n / fold(wanted).count)
    count = wanted if isinstance(wanted, int) else ceil(wanted * n)
    if wanted < 0 or count >= n:
        raise DataError(
            f"data.{part}={wanted} leaves no training rows of the {n} to share out; it is a fraction below 1 or a count"
        )
    return count


def check_seed(seed: int) -> None:
    """Raises DataError for one that NumPy doesn't take, or not the one after it."""
    if not 0 <= seed < 2**32 - 1:
        raise DataError(f"data.split_seed={seed} must be from 0 to {2**32 - 2}")


def shuffled(n: int, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers int64 [n - count] and [count], drawn from all n rows."""
    order = np.random.RandomState(seed).permutation(n)
    return order[count:], order[:count]


def stratified(classes: np.ndarray, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Row numbers int64 [n - count] and [count], each class of `classes` [n] shared out in proportion.

    A class of one row stays in the first part. None where the others are too few to give `count` rows and keep some.
    Source: scikit-learn's StratifiedShuffleSplit, whose draws are made here in the same order; it refuses classes of
    one row, and more classes than rows in a part.
    """
    _, number, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    if sizes.min() > 1:
        return _shared_out(number, sizes, count, seed=seed)
    single = sizes[number] < 2
    rest, alone = np.flatnonzero(~single), np.flatnonzero(single)
    if count + (sizes > 1).sum() > len(rest):
        return None
    _, number, sizes = np.unique(classes[rest], return_inverse=True, return_counts=True)
    kept, cut = _shared_out(number, sizes, count, seed=seed)
    return np.append(rest[kept], alone), rest[cut]


def _shared_out(number: np.ndarray, sizes: np.ndarray, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by the number of each row's class [n] and the sizes of the classes."""
    random = np.random.RandomState(seed)
    first = _shares(sizes, len(number) - count, random)
    second = _shares(sizes - first, count, random)
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(sizes)[:-1])
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for rows, one, two in zip(members, first, second, strict=True):
        drawn = rows[random.permutation(len(rows))]
        parts[0].append(drawn[:one])
        parts[1].append(drawn[one : one + two])
    train, test = (random.permutation(np.concatenate(part)) for part in parts)
    return train, test


def _shares(sizes: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """How many of `count` draws fall to each class, in proportion to its size; ties are broken at random."""
    exact = sizes / sizes.sum() * count
    shares = np.floor(exact)
    missing, rest = int(count - shares.sum()), exact - shares
    for value in np.unique(rest)[::-1]:
        if missing <= 0:
            break
        tied = np.flatnonzero(rest == value)
        chosen = random.choice(tied, size=min(len(tied), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    return shares.astype(int)


# -- folds -----------------------------------------------------------------------------------------------------------


class Fold(NamedTuple):
    """The fold that is the test part, from 1, and of how many."""

    number: int
    count: int


def fold(test: str) -> Fold:
    """What `data.test=2/5` says; raises ConfigError where that is no fold."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", test)
    chosen = Fold(*map(int, found.groups())) if found else None
    if chosen is None or chosen.number > chosen.count or chosen.count < 2:
        raise ConfigError(f"data.test={test}: want a fraction below 1, a count, or a fold from 1/5 to 5/5")
    return chosen


def refuse_fold(test: Share, why: str) -> None:
    """Raises DataError where the test part is to be a fold, and the rows have another one."""
    if isinstance(test, str):
        raise DataError(
            f"{fold(test).count:,} folds: {why}; folds are made of rows that have no test part of their own"
        )


def folds(n: int, count: int, *, seed: int, classes: np.ndarray | None = None) -> np.ndarray:
    """The fold of each row, int64 [n] from 0: their sizes differ by one row at most, and so do those of each class.

    Source: scikit-learn's KFold, and with `classes` [n] StratifiedKFold, both with `shuffle`, whose draws are made here
    in the same order. Raises DataError for more folds than rows.
    """
    check_seed(seed)
    if count > n:
        raise DataError(f"{count:,} folds: there are {n:,} rows, and a fold needs one; give {_fewer(n)}")
    random, found = np.random.RandomState(seed), np.empty(n, dtype=np.int64)
    if classes is None:
        for number, rows in enumerate(np.array_split(random.permutation(n), count)):
            found[rows] = number
        return found
    _, first, kind = np.unique(classes, return_index=True, return_inverse=True)
    kind = first.argsort().argsort()[kind]  # classes in the order in which they occur
    order = np.argsort(kind, kind="stable")
    for dealt in np.split(np.arange(n), np.flatnonzero(np.diff(kind[order])) + 1):
        share = np.sort(dealt % count)
        random.shuffle(share)
        found[order[dealt]] = share
    return found


def _fewer(most: int) -> str:
    """Which number of folds can be, where so many are the most."""
    return f"{'at most ' * (most > 2)}folds={most}" if most > 1 else "no folds"


def folds_of_groups(groups: np.ndarray, count: int, *, seed: int, classes: np.ndarray | None = None) -> np.ndarray:
    """The fold of each row, int64 [n] from 0, of whole groups: the largest first, each goes to the fold that has least
    of its rows and classes yet, as in scikit-learn's GroupKFold.

    groups, classes: as for `by_group`. Raises DataError for more folds than groups.
    """
    check_seed(seed)
    number, table = _by_class(groups, classes)
    if count > len(table):
        raise DataError(
            f"{count:,} folds: there are {len(table):,} groups (data.group), which stay whole; "
            f"give {_fewer(len(table))}"
        )
    shares = np.column_stack([table.sum(1) / table.sum(), table / np.maximum(table.sum(0), 1) / table.shape[1] ** 0.5])
    order = np.random.RandomState(seed).permutation(len(table))
    order = order[np.argsort(-(shares[order] ** 2).sum(1), kind="stable")]
    have, found = np.zeros((count, shares.shape[1])), np.empty(len(table), dtype=np.int64)
    for group in order:  # an empty fold is that with least of anything
        found[group] = least = int(np.argmin(have @ shares[group]))
        have[least] += shares[group]
    return found[number]


# -- in the order of time ------------------------------------------------------------------------------------------


def by_time(times: np.ndarray, *, val: float | int, test: Share) -> tuple[Rows, int]:
    """The earliest rows to train on, then those of validation, then the test rows; and how many rows ties moved.

    times: anything that sorts, [n]. Rows of one time stay in one part: a border among them moves to the nearer of
    their ends, so that no part is empty. What is later than a fold is in none. Raises DataError for fewer times than
    parts.
    """
    order = np.argsort(times, kind="stable")
    if isinstance(test, str):
        return _fold_in_time(order, times, fold(test), val=val)
    of_test = size_of("test", test, len(order))
    before = 1 + (size_of("val", val, len(order) - of_test) > 0)  # parts before the test part
    if (found := len(np.unique(times))) < before + (of_test > 0):
        raise DataError(f"data.time: {_too_few(found, 'time', before + (of_test > 0))}")
    rest, test_rows, moved = _last(order, times[order], of_test, parts=before)
    train, val_rows, more = _last(rest, times[rest], size_of("val", val, len(rest)), parts=1)
    return (train, val_rows, test_rows), moved + more


def _fold_in_time(order: np.ndarray, times: np.ndarray, chosen: Fold, *, val: float | int) -> tuple[Rows, int]:
    """The same with a fold as the test part: of one more block than there are folds the first is in none, and each
    other is a fold, before which all is earlier.

    Source: scikit-learn's TimeSeriesSplit. times: of the rows [n].
    """
    before = 1 + (val > 0)  # parts to be made of the first block
    if (found := len(np.unique(times))) < chosen.count + before:
        raise DataError(
            f"{chosen.count:,} folds: data.time has {found:,} different times, and rows of one time stay together; so "
            f"many folds need {chosen.count + before:,}; give {_fewer(found - before)}"
        )
    rest, test_rows, moved = order, order[:0], 0
    for left in range(chosen.count - 1, chosen.number - 2, -1):  # folds that are to come before
        rest, test_rows, moved = _last(rest, times[rest], len(order) // (chosen.count + 1), parts=left + before)
    train, val_rows, more = _last(rest, times[rest], size_of("val", val, len(rest)), parts=1)
    return (train, val_rows, test_rows), moved + more


def _last(rows: np.ndarray, times: np.ndarray, count: int, *, parts: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The rows but for the last `count`, these, and how many rows ties moved. times: of the rows, in their order;
    parts: how many are to be made of the first ones.
    """
    if count == 0:
        return rows, rows[:0], 0
    wanted = len(rows) - count
    borders = np.flatnonzero(times[1:] != times[:-1])[parts - 1 :] + 1
    border = int(borders[np.argmin(np.abs(borders - wanted))])
    return rows[:border], rows[border:], abs(border - wanted)


def _too_few(found: int, what: str, parts: int) -> str:
    there = f"there is 1 {what}" if found == 1 else f"there are {found} {what}s"
    return (
        f"{there}, and rows of one {what} stay in one part, of {parts} parts (train, val, test); set data.val=0 or "
        f"data.test=0 for fewer parts, or leave data.{what} out"
    )


# -- whole groups --------------------------------------------------------------------------------------------------

_TRIES, _DRAWS = 10, 20_000  # how often a cut is drawn, of so many groups together at most
_SEEN = 1000  # groups that are looked at for what is missing, or for a better one
_SWAPS = 200  # groups for which a better one is looked for
_CELLS = 20_000_000  # numbers of groups by classes that are held; groups beyond are so many that classes even out
_SIZE = 100.0  # what the size counts for beside the classes: 10 % too few rows are as bad as no row of any class


def by_group(
    groups: np.ndarray, *, val: float | int, test: Share, seed: int, classes: np.ndarray | None = None
) -> Rows:
    """Parts of about the sizes that `dltrain.data.split` gives, of which no two have rows of one group.

    groups: the number of each row's group, int64 [n]. The sizes, then the shares of the `classes`, int64 [n] from 0 up,
    are as near to what is wanted as a search finds. Raises DataError for fewer groups than parts.
    """
    check_seed(seed)
    if isinstance(test, str):
        number, count = fold(test)
        is_test = folds_of_groups(groups, count, seed=seed, classes=classes) == number - 1
        rest = np.flatnonzero(~is_test)
        own = None if classes is None else classes[rest]
        train, in_val, _ = by_group(groups[rest], val=val, test=0, seed=seed, classes=own)
        return rest[train], rest[in_val], np.flatnonzero(is_test)
    number, table = _by_class(groups, classes)
    of_test = size_of("test", test, len(groups))
    of_val = size_of("val", val, len(groups) - of_test)
    before = 1 + (of_val > 0)  # parts beside the test part
    if len(table) < before + (of_test > 0):
        raise DataError(f"data.group: {_too_few(len(table), 'group', before + (of_test > 0))}")
    apart = len(groups) - int(table.sum(1).max())  # rows that can be left for these two if one group has most
    scale = min(1.0, apart / max(1, of_test + of_val))
    part, left = np.zeros(len(table), dtype=np.int64), np.arange(len(table))
    for place, count, parts in ((2, of_test, before), (1, of_val, 1)):
        if count:
            random = np.random.RandomState(seed + 2 - place)
            chosen = _groups(table[left], max(1, round(scale * count)), most=len(left) - parts, random=random)
            part[left[chosen]] = place
            left = np.delete(left, chosen)
    train, in_val, in_test = (np.flatnonzero(part[number] == place) for place in range(3))
    return train, in_val, in_test


def _by_class(groups: np.ndarray, classes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's group, int64 [n] from 0, and how many rows each group has of each class, [G, C]; of
    groups that are too many how many it has in all, [G, 1].
    """
    names, number = np.unique(groups, return_inverse=True)
    many = classes is None or len(names) * (int(classes.max()) + 1) > _CELLS
    kinds = np.zeros_like(number) if many else classes
    table = np.bincount(number * (kinds.max() + 1) + kinds, minlength=len(names) * (kinds.max() + 1))
    return number, table.reshape(len(names), -1).astype(float)


def _groups(table: np.ndarray, count: int, *, most: int, random: np.random.RandomState) -> np.ndarray:
    """Numbers of groups that together have about `count` rows, and of each class its share: `most` groups at most.

    table: how many rows each has of each class, [G, C].
    """
    wanted = table.sum(0) * (count / table.sum())
    scale = np.maximum(wanted, 1)

    def error(have: np.ndarray) -> np.ndarray:
        """Of rows by class [..., C]."""
        return _SIZE * (have.sum(-1) / count - 1) ** 2 + (((have - wanted) / scale) ** 2).mean(-1)

    tries = min(max(1, _DRAWS // len(table)), _TRIES)
    found = [_search(table, count, error, most=most, random=random) for _ in range(tries)]
    return min(found, key=lambda chosen: float(error(table[chosen].sum(0))))


def _search(
    table: np.ndarray,
    count: int,
    error: Callable[[np.ndarray], np.ndarray],
    *,
    most: int,
    random: np.random.RandomState,
) -> np.ndarray:
    """Groups in random order while they fit, then the best of what may be added, then the best swaps."""
    sizes, order = table.sum(1), random.permutation(len(table))
    fitting = order[sizes[order] <= count]
    begun = fitting[: min(most, np.searchsorted(np.cumsum(sizes[fitting]), count, side="right"))]
    chosen, outside = list(begun), np.setdiff1d(order, begun, assume_unique=True)
    have = table[begun].sum(0)
    while len(chosen) < most:
        some = _some(outside, random)
        errors = error(have + table[some])
        if chosen and errors.min() >= error(have):
            break
        best = some[errors.argmin()]
        chosen.append(best)
        have, outside = have + table[best], outside[outside != best]
    for at in random.permutation(len(chosen))[:_SWAPS]:
        without, some = have - table[chosen[at]], _some(outside, random)
        errors = error(without + table[some])
        if errors.min() < error(have):
            best = some[errors.argmin()]
            have, outside = without + table[best], np.append(outside[outside != best], chosen[at])
            chosen[at] = best
    return np.array(chosen)


def _some(groups: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    return groups if len(groups) <= _SEEN else groups[random.randint(len(groups), size=_SEEN)]
