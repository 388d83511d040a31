"""Cuts of the rows in two: the rows of scikit-learn's `train_test_split`, in its order."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from dltrain.data import split
from dltrain.data.shuffling import shuffled, stratified


def test_plain_cuts_are_scikit_learns():
    for seed in range(50):
        n = 2 + 7 * seed
        count = 1 + (13 * seed) % (n - 1)
        wanted = train_test_split(np.arange(n), test_size=count, random_state=seed)
        assert all(np.array_equal(a, b) for a, b in zip(shuffled(n, count, seed=seed), wanted, strict=True))


def test_stratified_cuts_are_scikit_learns_and_none_where_it_refuses():
    random, refused = np.random.default_rng(0), 0
    for seed in range(300):
        n = int(random.integers(2, 300))
        classes = random.integers(0, random.integers(1, 12), n) * 3 - 5
        if seed % 3 == 0:  # classes of equal size: their shares tie
            classes = np.arange(n) % 4
        count = int(random.integers(1, n))
        made = stratified(classes, count, seed=seed)
        try:
            wanted = train_test_split(np.arange(n), test_size=count, random_state=seed, stratify=classes)
        except ValueError:
            refused += 1
            assert made is None
        else:
            assert all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))
    assert 0 < refused < 250


def scikit_learns(rows, size, seed, classes):
    try:
        labels = None if classes is None else classes[rows]
        return train_test_split(rows, test_size=size, random_state=seed, stratify=labels)
    except ValueError:  # a class too rare to stand in both parts
        return train_test_split(rows, test_size=size, random_state=seed)


@pytest.mark.parametrize(
    "classes", [None, np.arange(500) % 3, np.array([0] * 499 + [1])], ids=["none", "three", "rare"]
)
@pytest.mark.parametrize(("val", "test"), [(0.15, 0.2), (7, 0.333), (0.5, 1)])
def test_the_three_parts_are_two_cuts_of_scikit_learns(classes, val, test):
    rest, wanted_test = scikit_learns(np.arange(500), test, 5, classes)
    wanted_train, wanted_val = scikit_learns(rest, val, 6, classes)
    made = split(500, val=val, test=test, seed=5, classes=classes)
    for a, b in zip(made, (wanted_train, wanted_val, wanted_test), strict=True):
        assert np.array_equal(a, b)
