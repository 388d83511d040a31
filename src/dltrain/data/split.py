"""Random cuts in two, row for row those of scikit-learn's `train_test_split`, whose import takes half a second."""

from __future__ import annotations

import numpy as np


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
