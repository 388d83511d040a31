"""Which of the keys that a sweep varied decides what came of it: an analysis of variance of a random forest.

As Hutter, Hoos and Leyton-Brown (2014): a tree of regression is a function over the whole space, so that the share of
its variance that one key makes alone can be computed from its leaves. Neither torch nor matplotlib is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from dltrain.insight import trials
from dltrain.insight.trials import MISSING, Score, Trial
from dltrain.runs import seeds
from dltrain.runs.foreign import is_number
from dltrain.runs.reading import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.tree import DecisionTreeRegressor

    Floats = NDArray[np.float64]

    class _Grown(Protocol):
        """scikit-learn's arrays of a tree, one element a node; a leaf has -1 as its children."""

        children_left: NDArray[np.int64]
        children_right: NDArray[np.int64]
        feature: NDArray[np.int64]
        threshold: Floats
        value: Floats


FEWEST = 10  # trials from which anything is said
_MOST = 500  # trials that are looked at; more of them change the shares by less than their intervals
_TREES = 100
_LEAVES = 64
_FINE, _POINTS = 12, 32  # an axis of more numbers than the first is seen as so many points of equal distance
_FORETOLD = 0.2  # of the variance of trials that a tree has not seen: below, the axes explain nothing
_LITTLE, _SURELY = 0.05, 0.2  # a share below the first, whose interval ends below the second, is next to nothing


@dataclass(frozen=True)
class Share:
    """How much of the variance a key makes alone, from 0 to 1, with the interval that holds 95 % of the trees."""

    key: str
    share: float
    low: float
    high: float

    @property
    def little(self) -> bool:
        """Whether it is next to nothing."""
        return self.share < _LITTLE and self.high < _SURELY

    def __str__(self) -> str:
        return f"{self.key} {_percent(self.share)} ({self.low * 100:.0f} to {_percent(self.high)})"


@dataclass(frozen=True)
class Importance:
    """The keys, the most important first, of so many trials. `foretold` is the share of the variance (R2) that the
    forest foretells of trials that its trees have not seen.
    """

    shares: list[Share]
    foretold: float
    trials: int

    @property
    def told(self) -> bool:
        """Whether the forest knows enough to say anything."""
        return self.foretold >= _FORETOLD


@dataclass(frozen=True)
class _Axis:
    """The values of a key as places, NaN where it is missing, and the points at which the space is looked at: numbers
    from 0 to 1, names as their numbers.
    """

    places: Floats
    points: Floats
    names: bool


def of_trials(compared: Sequence[Trial], keys: Sequence[str]) -> Importance | None:
    """The importance of each key over its range, each value as likely as another (small numbers as large ones where
    they span a factor of 20). None for fewer than ten trials, or where all have one score. Keys that have one value are
    left out.

    A key that a trial does not have decides nothing there: each tree sees a value at random. Each tree is grown on
    trials that are drawn anew with replacement. Scores above zero that span a factor of 20, a loss as an accuracy,
    are judged by their logarithm.
    """
    keys = [key for key in keys if len({_seen(t.values[key]) for t in compared} - {MISSING}) > 1]
    if len(compared) < FEWEST or not keys:
        return None
    import numpy as np
    from sklearn.tree import DecisionTreeRegressor

    random = np.random.default_rng(0)
    if len(compared) > _MOST:
        compared = [compared[i] for i in np.sort(random.choice(len(compared), _MOST, replace=False))]
    y = np.array([t.score for t in compared], dtype=np.float64)
    y = np.log(y) if y.min() > 0 and y.max() >= 20 * y.min() else y
    y /= np.abs(y).max() or 1.0  # whose squares are none too large
    if np.ptp(y) < 1e-9:
        return None
    axes = [_axis([t.values[key] for t in compared]) for key in keys]
    shares: list[Floats] = []
    unseen, votes = np.zeros(len(y)), np.zeros(len(y))
    for _ in range(_TREES):
        places, points = _numbered(axes, random)
        drawn = random.integers(len(y), size=len(y))
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=2, random_state=0)
        tree.fit(places[drawn], y[drawn])
        shares.append(_shares(tree, points))
        out = np.setdiff1d(np.arange(len(y)), drawn)
        unseen[out] += tree.predict(places[out]) if len(out) else 0.0
        votes[out] += 1
    seen = votes > 0
    errors = np.square(y[seen] - unseen[seen] / votes[seen]).mean()
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    means = np.mean(shares, axis=0)
    found = [Share(*each) for each in zip(keys, means.tolist(), low.tolist(), high.tolist(), strict=True)]
    found.sort(key=lambda share: -share.share)
    return Importance(found, float(1 - errors / np.var(y[seen])), len(compared))


def _seen(value: float | str) -> float | str:
    """A value as an axis has it: two whole numbers may be one there."""
    return float(value) if is_number(value) else value


def _axis(values: Sequence[float | str]) -> _Axis:
    import numpy as np

    there = [v for v in values if v != MISSING]
    if not all(map(is_number, there)):
        order = {name: float(i) for i, name in enumerate(dict.fromkeys(map(str, there)))}
        places = np.array([math.nan if v == MISSING else order[str(v)] for v in values])
        return _Axis(places, np.array(list(order.values())), names=True)
    places = np.array([float(v) if is_number(v) else math.nan for v in values])
    low, high = np.nanmin(places), np.nanmax(places)
    if low > 0 and high >= 20 * low:
        places = np.log10(places)
        low, high = np.log10(low), np.log10(high)
    places = (places - low) / (high - low)
    points = np.unique(places[~np.isnan(places)])
    if len(points) > _FINE:
        points = np.linspace(0, 1, _POINTS)
    return _Axis(places, points, names=False)


def _numbered(axes: Sequence[_Axis], random: np.random.Generator) -> tuple[Floats, list[Floats]]:
    """The table of a tree (trials, axes) and the points of each axis: names in a new order, missing values drawn."""
    import numpy as np

    columns: list[Floats] = []
    points: list[Floats] = []
    for axis in axes:
        gaps = np.isnan(axis.places)
        column = np.where(gaps, random.choice(axis.places[~gaps], len(gaps)), axis.places)
        order = random.permutation(len(axis.points)).astype(np.float64) if axis.names else None
        columns.append(column if order is None else order[column.astype(np.int64)])
        points.append(axis.points if order is None else order)
    return np.stack(columns, axis=1), points


def _shares(tree: DecisionTreeRegressor, points: Sequence[Floats]) -> Floats:
    """The share of a tree's variance over the space that each axis makes alone; zeros of a tree that is one leaf."""
    import numpy as np

    answers, inside = _leaves(tree, points)
    weights = np.array([own.mean(1) for own in inside])  # axes x leaves: how much of each axis a leaf covers
    whole = weights.prod(0)
    mean = float(answers @ whole)
    variance = float(np.square(answers - mean) @ whole)
    alone = [
        np.square((answers * np.delete(weights, i, 0).prod(0)) @ own - mean).mean() for i, own in enumerate(inside)
    ]
    return np.array(alone) / variance if variance > 0 else np.zeros(len(points))


def _leaves(tree: DecisionTreeRegressor, points: Sequence[Floats]) -> tuple[Floats, list[Floats]]:
    """What each leaf answers, and of each axis which of its points lie in it (leaves x points, 0 or 1)."""
    import numpy as np

    grown = cast("_Grown", tree.tree_)
    answers: list[float] = []
    found: list[list[Floats]] = [[] for _ in points]
    waiting = [(0, [np.ones(len(own)) for own in points])]
    while waiting:
        node, boxes = waiting.pop()
        if grown.children_left[node] < 0:
            answers.append(float(grown.value[node, 0, 0]))
            for own, box in zip(found, boxes, strict=True):
                own.append(box)
            continue
        axis = grown.feature[node]
        left = points[axis] <= grown.threshold[node]
        for child, side in ((grown.children_left[node], left), (grown.children_right[node], ~left)):
            waiting.append((child, [box * side if i == axis else box for i, box in enumerate(boxes)]))
    return np.array(answers), [np.stack(own) for own in found]


# -- in words ------------------------------------------------------------------------------------------------------


def sentence(found: Importance, judge: Score, *, most: int = 3) -> str:
    """What decides, for a person."""
    if not found.told:
        return (
            f"What was varied does not foretell how the {found.trials} trials differ in {judge.title}: no importance "
            "is told."
        )
    first, *others = found.shares
    words = [f"{first.key} decides {str(first).removeprefix(f'{first.key} ')} of the differences in {judge.title}"]
    words += [str(share) for share in others[: most - 1] if not share.little]
    little = [share.key for share in others[: most - 1] if share.little]
    text = ", ".join(words) + (f"; {' and '.join(little)} next to nothing" if little else "")
    rest = 1 - sum(share.share for share in found.shares)
    return f"{text}.{f' {_percent(rest)} are made by several together.' if rest >= _LITTLE else ''}"


def of_sweep(jobs: Sequence[Run]) -> str:
    """The same of the jobs of a sweep; nothing where fewer than two keys were varied, or too few trials have ended."""
    varied, judge = [key for key in trials.keys(jobs) if key != trials.SEED], trials.score(jobs)
    if judge is None or len(varied) < 2 or len(jobs) < FEWEST:
        return ""
    found = of_trials(trials.of_groups(seeds.ranked(jobs), varied, judge), varied)
    return sentence(found, judge) if found else ""


def too_few(count: int) -> str:
    """What is said where there are fewer than ten."""
    trials = "1 trial is" if count == 1 else f"{count} trials are"
    return f"{trials} too few to tell which key matters: that is told from {FEWEST} on."


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"
