"""Which of the keys that a sweep varied decides what came of it: an analysis of variance of a random forest.

As Hutter, Hoos and Leyton-Brown (2014): a tree of regression is a function over the whole space, so that the share of
its variance that one key makes alone can be computed from its leaves. Neither torch nor matplotlib is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dltrain.insight import trials
from dltrain.insight.trials import MISSING, Score, Trial
from dltrain.runs import seeds
from dltrain.runs.foreign import is_number
from dltrain.runs.reading import Run

if TYPE_CHECKING:
    import numpy as np

    from dltrain.insight.forest import Floats, Tree, Whole

FEWEST = 10  # trials from which anything is said
_MOST = 500  # trials that are looked at; more of them change the shares by less than their intervals
_TREES = 100
_AT_ONCE = 1_000_000  # cells of trees x axes x points: so many trees are grown together
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
    """At which of the points of a key each trial stands, -1 where it has none: numbers in order, names as they come."""

    places: Whole
    points: int
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

    random = np.random.default_rng(0)
    if len(compared) > _MOST:
        compared = [compared[i] for i in np.sort(random.choice(len(compared), _MOST, replace=False))]
    y = np.array([t.score for t in compared], dtype=np.float64)
    y = np.log(y) if y.min() > 0 and y.max() >= 20 * y.min() else y
    y /= np.abs(y).max() or 1.0  # whose squares are none too large
    if np.ptp(y) < 1e-9:
        return None
    axes = [_axis([t.values[key] for t in compared]) for key in keys]
    shares, foretold = _grown(axes, y - y.mean(), random)
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    means = np.mean(shares, axis=0)
    found = [Share(*each) for each in zip(keys, means.tolist(), low.tolist(), high.tolist(), strict=True)]
    found.sort(key=lambda share: -share.share)
    return Importance(found, foretold, len(compared))


def _seen(value: float | str) -> float | str:
    """A value as an axis has it: two whole numbers may be one there."""
    return float(value) if is_number(value) else value


def _axis(values: Sequence[float | str]) -> _Axis:
    import numpy as np

    there = [v for v in values if v != MISSING]
    if not all(map(is_number, there)):
        order = {name: i for i, name in enumerate(dict.fromkeys(map(str, there)))}
        return _Axis(np.array([-1 if v == MISSING else order[str(v)] for v in values]), len(order), names=True)
    at = np.array([float(v) if is_number(v) else math.nan for v in values])
    low, high = np.nanmin(at), np.nanmax(at)
    if low > 0 and high >= 20 * low:
        at, low, high = np.log10(at), np.log10(low), np.log10(high)
    at = (at - low) / (high - low)
    known = ~np.isnan(at)
    points = np.unique(at[known])
    places = np.full(len(at), -1)
    if len(points) > _FINE:
        places[known] = np.rint(at[known] * (_POINTS - 1))
        return _Axis(places, _POINTS, names=False)
    places[known] = np.searchsorted(points, at[known])
    return _Axis(places, len(points), names=False)


def _grown(axes: Sequence[_Axis], y: Floats, random: np.random.Generator) -> tuple[list[Floats], float]:
    """Of each tree of the forest the share of each axis; and how much of the variance all of them foretell."""
    import numpy as np

    from dltrain.insight import forest

    sizes = np.array([axis.points for axis in axes])
    together = max(1, min(_TREES, _AT_ONCE // (len(axes) * int(sizes.max()))))
    shares: list[Floats] = []
    sums, votes = np.zeros(len(y)), np.zeros(len(y))
    while len(shares) < _TREES:
        places = np.stack([_numbered(axis, together, random) for axis in axes], axis=-1)
        weights = random.multinomial(len(y), np.full(len(y), 1 / len(y)), together)
        for tree, drawn in zip(forest.grown(places, sizes, y, weights, random), weights, strict=True):
            shares.append(_shares(tree, sizes))
            sums += np.where(drawn, 0, tree.answers[tree.leaf])
            votes += drawn == 0
    seen = votes > 0
    errors = np.square(y[seen] - sums[seen] / votes[seen]).mean()
    return shares, float(1 - errors / np.var(y[seen]))


def _numbered(axis: _Axis, trees: int, random: np.random.Generator) -> Whole:
    """The places of an axis as each tree sees them [T, N]: names in a new order, missing ones drawn."""
    import numpy as np

    gaps = axis.places < 0
    places = np.tile(axis.places, (trees, 1))
    places[:, gaps] = random.choice(axis.places[~gaps], (trees, int(gaps.sum())))
    if not axis.names:
        return places
    orders = random.permuted(np.tile(np.arange(axis.points), (trees, 1)), axis=1)
    return np.take_along_axis(orders, places, 1)


def _shares(tree: Tree, sizes: Whole) -> Floats:
    """The share of a tree's variance over the space that each axis makes alone; zeros of a tree that is one leaf."""
    import numpy as np

    covered = ((tree.high - tree.low) / sizes).T  # axes x leaves: how much of each axis a leaf covers
    whole = covered.prod(0)
    mean = float(tree.answers @ whole)
    variance = float(np.square(tree.answers - mean) @ whole)
    alone: list[float] = []
    for axis, (low, high) in enumerate(zip(tree.low.T, tree.high.T, strict=True)):
        points = np.arange(sizes[axis])[:, None]
        inside = (low <= points) & (points < high)
        alone.append(np.square(inside @ (tree.answers * np.delete(covered, axis, 0).prod(0)) - mean).mean())
    return np.array(alone) / variance if variance > 0 else np.zeros(len(sizes))


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
