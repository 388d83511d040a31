"""How well scores rank rows: areas under curves, thresholds, and medians of errors.

Sums over sorted rows in double precision: exact, ties counted as scikit-learn counts them, whose import alone would
take a second. On the CPU, since elsewhere torch has no cumulative sum that gives the same bits twice.
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 1 << 22  # scores that are sorted together


def areas(scores: Tensor, positive: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The area under the ROC curve, and the average precision, of each row of scores: float64 [K] each.

    scores [K, N], larger for what is rather positive; positive: bool [K, N]; weight: [N], 1 without it. nan where all
    are positive, none is, or a score is nan.
    """
    order = torch.from_numpy(np.argsort(-scores.numpy(), 1))  # a quarter of the time that torch's own takes
    ranked = scores.gather(1, order)
    hits, misses = positive.double(), (~positive).double()
    if weight is not None:
        hits, misses = hits * weight, misses * weight
    hits, misses = hits.gather(1, order), misses.gather(1, order)
    hit, missed = hits.cumsum(1), misses.cumsum(1)
    before, at, wrong = hit - hits, hit, missed
    last = torch.ones_like(ranked, dtype=torch.bool)  # of the rows with its score
    torch.ne(ranked[:, :-1], ranked[:, 1:], out=last[:, :-1])
    if not last.all():
        count = ranked.shape[1]
        place = torch.arange(count).expand_as(ranked)
        end = torch.where(last, place, count).flip(1).cummin(1).values.flip(1)
        first = torch.ones_like(last)
        first[:, 1:] = last[:, :-1]
        start = torch.where(first, place, 0).cummax(1).values
        before, at, wrong = before.gather(1, start), hit.gather(1, end), missed.gather(1, end)
    all_hits, all_misses = hit[:, -1], missed[:, -1]
    roc = (misses * (before + at)).sum(1) / (2 * all_hits * all_misses)
    precision = at / (at + wrong).clamp(min=torch.finfo(torch.float64).tiny)  # a row that weighs nothing may be first
    average = (hits * precision).sum(1) / all_hits
    unknown = (all_hits == 0) | (all_misses == 0) | scores.isnan().any(1)
    return roc.masked_fill(unknown, nan), average.masked_fill(unknown, nan)


def class_areas(scores: Tensor, y: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The areas of each class against the others, float64 [C] each. scores: [N, C]; y: int64 [N]."""
    n, classes = scores.shape
    some = max(1, _AT_ONCE // max(n, 1))
    found: list[tuple[Tensor, Tensor]] = []
    for low in range(0, classes, some):
        names = torch.arange(low, min(low + some, classes))
        found.append(areas(scores[:, low : low + some].T.contiguous(), y == names[:, None], weight))
    roc, average = zip(*found, strict=True)
    return torch.cat(roc), torch.cat(average)


def mean(values: Tensor) -> float:
    """Of those that are no nan; nan where there is none."""
    return float(values.nanmean())


def median(errors: Tensor, weight: Tensor | None = None) -> Tensor:
    """The median of each column, float64 [K]; errors: float64 [N, K], weight: [N].

    With weights what half of them lies below, as the mean of two where it lies between them (Hyndman & Fan 1996, 2).
    """
    if weight is not None:
        errors, weight = errors[weight > 0], weight[weight > 0].double()
    n = len(errors)
    if not n:
        return torch.full((errors.shape[1],), nan, dtype=torch.float64)
    ranked, order = errors.sort(0)
    if weight is None:
        return (ranked[(n - 1) // 2] + ranked[n // 2]) / 2
    below = weight[order].cumsum(0).T.contiguous()  # [K, N]
    half = below[:, -1:] / 2
    low = torch.searchsorted(below, half).clamp(max=n - 1)
    between = below.gather(1, low) - half <= torch.finfo(torch.float64).eps
    high = torch.where(between, (low + 1).clamp(max=n - 1), low)
    return (ranked.T.gather(1, low) + ranked.T.gather(1, high))[:, 0] / 2


class Curve(NamedTuple):
    """What is found by each threshold, from the highest on: float64 [T] each, `hits` and `misses` as weights of rows.

    A row counts as positive from its threshold on.
    """

    thresholds: Tensor
    hits: Tensor
    misses: Tensor


def curve(scores: Tensor, positive: Tensor, weight: Tensor | None = None) -> Curve:
    """Of scores [N] and what is true, bool [N]."""
    ranked, order = scores.double().sort(descending=True)
    weight = torch.ones_like(ranked) if weight is None else weight.double()
    hits, misses = (torch.where(chosen, weight, 0)[order].cumsum(0) for chosen in (positive, ~positive))
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[:-1] != ranked[1:]
    return Curve(ranked[last], hits[last], misses[last])


class Rates(NamedTuple):
    """What a threshold gives: of the positive rows, but for the balanced accuracy."""

    precision: float
    recall: float
    f1: float
    balanced_accuracy: float


def rates(scores: Tensor, positive: Tensor, threshold: float, weight: Tensor | None = None) -> Rates:
    """Of rows with a score from the threshold on taken for positive; nan where nothing is divided."""
    weight = torch.ones(len(scores), dtype=torch.float64) if weight is None else weight.double()
    guess = scores.double() >= threshold
    hit, missed = (float(weight[guess & chosen].sum()) for chosen in (positive, ~positive))
    true, false = (float(weight[chosen].sum()) for chosen in (positive, ~positive))
    balanced = (hit / true + 1 - missed / false) / 2 if true and false else nan
    f1 = 2 * hit / (hit + missed + true) if true else nan
    return Rates(hit / (hit + missed) if hit + missed else nan, hit / true if true else nan, f1, balanced)


def best_thresholds(found: Curve) -> dict[str, float]:
    """The threshold with the best F1 of the positive rows, and that with the best balanced accuracy; halfway to the
    next lower score. Empty where all rows are of one kind. Of equals the highest.
    """
    true, false = found.hits[-1], found.misses[-1]
    if not (true > 0 and false > 0):
        return {}
    judged = {
        "f1": 2 * found.hits / (found.hits + found.misses + true),
        "balanced_accuracy": (found.hits / true + 1 - found.misses / false) / 2,
    }
    lower = torch.cat([found.thresholds[1:], found.thresholds[-1:]])
    halfway = (found.thresholds + lower) / 2
    return {name: float(halfway[values.argmax()]) for name, values in judged.items()}
