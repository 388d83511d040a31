"""How rows are shared out: the rows of scikit-learn's `train_test_split`, in its order; whole groups; times."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from sklearn.model_selection import (
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
    train_test_split,
)

from dltrain.data import split
from dltrain.data.split import by_group, by_time, folds, folds_of_groups, shuffled, size_of, stratified
from dltrain.errors import ConfigError, DataError


def test_plain_cuts_are_scikit_learns():
    for seed in range(50):
        n = 2 + 7 * seed
        count = 1 + (13 * seed) % (n - 1)
        wanted = train_test_split(np.arange(n), test_size=count, random_state=seed)
        assert all(np.array_equal(a, b) for a, b in zip(shuffled(n, count, seed=seed), wanted, strict=True))


def test_stratified_cuts_are_scikit_learns_and_proportional_where_it_refuses():
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
            if made is not None:
                check_shares(classes, *made, count)
        else:
            assert all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))
    assert 0 < refused < 250


def check_shares(classes, kept, cut, count):
    """Every row once, single rows kept, and of each other class its share to within one row."""
    assert sorted([*kept, *cut]) == list(range(len(classes)))
    assert len(cut) == count
    names, sizes = np.unique(classes, return_counts=True)
    common = names[sizes > 1]
    rows = np.isin(classes, common).sum()
    for name in names:
        share = (classes[cut] == name).sum()
        assert abs(share - (count * (classes == name).sum() / rows if name in common else 0)) <= 1
    assert np.isin(names[sizes == 1], classes[kept]).all()


@pytest.mark.parametrize("single", [1, 3])
@pytest.mark.parametrize(("val", "test"), [(0.15, 0.2), (10, 20), (3, 0.5)])
def test_classes_of_one_row_do_not_keep_the_others_from_their_shares(single, val, test):
    classes = np.array([0] * 360 + [1] * 120 + [2] * 20 + list(range(3, 3 + single)))
    train, in_val, in_test = split(len(classes), val=val, test=test, seed=3, classes=classes)
    check_shares(classes, np.concatenate([train, in_val]), in_test, len(in_test))
    rest = np.concatenate([train, in_val])
    position = {row: i for i, row in enumerate(rest)}
    check_shares(classes[rest], [position[r] for r in train], [position[r] for r in in_val], len(in_val))
    again = split(len(classes), val=val, test=test, seed=3, classes=classes)
    assert all(np.array_equal(a, b) for a, b in zip(again, (train, in_val, in_test), strict=True))


def test_rows_that_cannot_be_shared_out_by_class_are_drawn_from_all():
    classes = np.arange(20)
    parts = split(20, val=5, test=5, seed=0, classes=classes)
    assert all(np.array_equal(a, b) for a, b in zip(parts, split(20, val=5, test=5, seed=0), strict=True))
    assert stratified(np.array([0, 0, *range(1, 9)]), 4, seed=0) is None


def scikit_learns(rows, size, seed, classes):
    return train_test_split(
        rows, test_size=size, random_state=seed, stratify=classes if classes is None else classes[rows]
    )


@pytest.mark.parametrize("classes", [None, np.arange(500) % 3], ids=["none", "three"])
@pytest.mark.parametrize(("val", "test"), [(0.15, 0.2), (7, 0.333), (0.5, 4)])
def test_the_three_parts_are_two_cuts_of_scikit_learns(classes, val, test):
    rest, wanted_test = scikit_learns(np.arange(500), test, 5, classes)
    wanted_train, wanted_val = scikit_learns(rest, val, 6, classes)
    made = split(500, val=val, test=test, seed=5, classes=classes)
    for a, b in zip(made, (wanted_train, wanted_val, wanted_test), strict=True):
        assert np.array_equal(a, b)


# -- groups and times --------------------------------------------------------------------------------------------------


def grouped(sizes, seed=0, classes=None, **wanted):
    """The rows of each part of groups of these sizes, whose numbers are spread over the rows."""
    groups = np.random.default_rng(7).permutation(np.repeat(np.arange(len(sizes)) * 3 - 5, sizes))
    parts = by_group(groups, seed=seed, classes=classes, **{"val": 0.15, "test": 0.2} | wanted)
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    found = [set(groups[part]) for part in parts]
    assert sum(map(len, found)) == len(sizes)  # none is in two
    return parts


def test_parts_of_whole_groups_are_as_near_to_their_sizes_as_any_choice_of_groups():
    random, missed = np.random.default_rng(0), []
    for seed in range(20):
        sizes = random.integers(1, 100, 11)
        _, _, test = grouped(sizes, seed, val=0)
        count = size_of("test", 0.2, int(sizes.sum()))
        chosen = [sizes[list(some)].sum() for k in range(1, 11) for some in combinations(range(11), k)]
        missed.append(abs(len(test) - count) - min(abs(total - count) for total in chosen))
    assert np.mean(missed) < 0.5
    assert max(missed) <= 3


@pytest.mark.parametrize("groups", [30, 300, 3000])
def test_many_groups_keep_the_shares_of_classes(groups):
    random = np.random.default_rng(1)
    sizes = random.integers(1, 30, groups)
    classes = random.choice(3, sizes.sum(), p=[0.9, 0.07, 0.03])
    parts = grouped(sizes, classes=classes)
    n = len(classes)
    assert [len(part) / n for part in parts] == pytest.approx([0.68, 0.12, 0.2], abs=20 / n)
    for part in parts[1:]:
        shares = np.bincount(classes[part], minlength=3) / len(part)
        assert shares == pytest.approx(np.bincount(classes) / n, abs=1 / groups**0.5 / 5)


def test_groups_are_drawn_by_the_seed_and_each_part_has_one():
    sizes = np.full(100, 5)
    first, again, other = (grouped(sizes, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[2], other[2])
    assert [len(part) for part in grouped([500, 1, 1])] == [500, 1, 1]
    assert [len(part) for part in grouped([3, 3], val=0)] == [3, 0, 3]
    with pytest.raises(DataError, match="there is 1 group, and rows of one group stay in one part"):
        grouped([9])


@pytest.mark.parametrize(("val", "test"), [(0.15, 0.2), (0, 0.3), (0.5, 0), (7, 9)])
def test_parts_follow_one_another_in_time(val, test):
    random = np.random.default_rng(2)
    for most in (4, 30, 10_000):
        times = random.integers(0, most, 200).astype(float)
        (train, in_val, in_test), moved = by_time(times, val=val, test=test)
        assert sorted(np.concatenate([train, in_val, in_test])) == list(range(200))
        filled = [times[part] for part in (train, in_val, in_test) if len(part)]
        assert len(filled) == 1 + (val > 0) + (test > 0)
        assert all(a.max() < b.min() for a, b in pairwise(filled))
        wanted = split(200, val=val, test=test, seed=0)
        assert abs(len(in_test) - len(wanted[2])) <= moved
        if most == 10_000:
            assert moved <= 2


# -- folds -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_folds_are_scikit_learns_and_as_even_as_can_be():
    random = np.random.default_rng(0)
    for seed in range(100):
        count = int(random.integers(2, 12))
        n = int(random.integers(max(count, 14), 200))
        classes = random.permutation(np.minimum(np.arange(n), random.geometric(0.3, n) + 2))  # some of one row
        for made, source in ((None, KFold), (classes, StratifiedKFold)):
            number = folds(n, count, seed=seed, classes=made)
            if made is None or np.unique(made, return_counts=True)[1].max() >= count:  # else scikit-learn refuses
                wanted = source(count, shuffle=True, random_state=seed).split(np.arange(n), classes)
                assert all(np.array_equal(np.flatnonzero(number == k), test) for k, (_, test) in enumerate(wanted))
            for kind in (None, *np.unique(classes)) if made is not None else (None,):
                sizes = np.bincount(number[classes == kind] if kind is not None else number, minlength=count)
                assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("val", [0, 0.15, 7])
@pytest.mark.parametrize("classes", [None, np.arange(103) % 4], ids=["none", "four"])
def test_each_row_is_a_test_row_of_one_fold_and_the_others_are_shared_out_as_ever(val, classes):
    parts = [split(103, val=val, test=f"{k}/4", seed=2, classes=classes) for k in range(1, 5)]
    assert sorted(np.concatenate([test for _, _, test in parts])) == list(range(103))
    for train, in_val, test in parts:
        assert sorted(np.concatenate([train, in_val, test])) == list(range(103))
        assert len(in_val) == size_of("val", val, 103 - len(test))
    again, other = (split(103, val=val, test="3/4", seed=seed, classes=classes) for seed in (2, 3))
    assert all(np.array_equal(a, b) for a, b in zip(again, parts[2], strict=True))
    assert not np.array_equal(other[2], parts[2][2])


def test_folds_of_groups_are_no_less_even_than_scikit_learns():
    random, ours, theirs = np.random.default_rng(3), [], []
    for seed in range(12):
        count = int(random.integers(2, 7))
        sizes = random.integers(1, 30, random.integers(max(count, 8), 80))
        groups = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
        classes = (random.random(len(groups)) < random.random(len(sizes))[groups] ** 3).astype(np.int64)
        number = folds_of_groups(groups, count, seed=seed, classes=classes)
        parts = [
            by_group(groups, val=0.2, test=f"{k}/{count}", seed=seed, classes=classes) for k in range(1, count + 1)
        ]
        for k, (train, in_val, test) in enumerate(parts):
            assert np.array_equal(test, np.flatnonzero(number == k))
            assert len(test) > 0
            assert len({*groups[train]}) + len({*groups[in_val]}) + len({*groups[test]}) == len(sizes)
        scikit = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(groups, classes, groups)
        for found, tests in ((ours, [test for *_, test in parts]), (theirs, [test for _, test in scikit])):
            rows = np.array([[len(test), classes[test].sum()] for test in tests]) * count / [len(groups), classes.sum()]
            found.append(np.abs(rows - 1).max(0))
    assert (np.mean(ours, axis=0) <= np.mean(theirs, axis=0)).all()


def test_folds_in_time_are_scikit_learns_and_each_comes_after_what_it_is_judged_by():
    random = np.random.default_rng(4)
    for most in (12, 10_000):
        times = random.permutation(np.arange(400)) if most > 400 else random.integers(0, most, 400)
        wanted = TimeSeriesSplit(5).split(times)
        tests = []
        for k, (before, there) in zip(range(1, 6), wanted, strict=True):
            (train, in_val, test), moved = by_time(times, val=0.15, test=f"{k}/5")
            assert times[train].max() < times[in_val].min() <= times[in_val].max() < times[test].min()
            tests.append(test)
            if most > 400:
                order = np.argsort(times)
                assert np.array_equal(test, order[there])
                assert np.array_equal(np.concatenate([train, in_val]), order[before])
                assert moved == 0
        assert all(len(np.intersect1d(a, b)) == 0 for a, b in combinations(tests, 2))
        assert max(times[test].max() for test in tests) == times.max()


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (lambda test: split(20, val=0.1, test=test, seed=0), "30 folds: there are 20 rows"),
        (lambda test: by_group(np.arange(60) % 20, val=0.1, test=test, seed=0), "30 folds: there are 20 groups"),
        (lambda test: by_time(np.arange(60) % 20, val=0.1, test=test), "30 folds: data.time has 20 different times"),
    ],
)
def test_more_folds_than_there_are_of_what_is_shared_out_are_refused(cut, words):
    with pytest.raises(DataError, match=words):
        cut("1/30")
    for wrong in ("0/5", "6/5", "1/1", "a third", "1/5 "):
        with pytest.raises(ConfigError, match="want a fraction below 1, a count, or a fold from 1/5 to 5/5"):
            cut(wrong)
