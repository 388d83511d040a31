"""How well answers rank rows: curves of each class or label, and the thresholds that are best on validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from dltrain.engine import ranking
from dltrain.engine.assessment import Rates

_CURVES = 10  # of classes or labels: of more the poorest
_POINTS = 200  # of a curve


class Curves(TypedDict):
    """The ROC and the precision-recall curve of one class against the others, or of one label.

    share: of the rows that are positive, which is the average precision of an answer that never changes.
    """

    name: str
    share: float
    roc_auc: float
    average_precision: float
    roc: list[tuple[float, float]]  # false positive rate, recall
    precision_recall: list[tuple[float, float]]  # recall, precision


def areas(scores: Tensor, positive: Tensor, weight: Tensor | None) -> list[tuple[float, float]]:
    """Of each column the area under the ROC curve and the average precision; nan where its rows are of one kind.

    scores [N, K], positive: bool [N, K].
    """
    roc, average = ranking.areas(scores.T.contiguous(), positive.T, weight)
    return list(zip(roc.tolist(), average.tolist(), strict=True))


def curves(scores: Tensor, positive: Tensor, weight: Tensor | None, each: Sequence[Rates]) -> list[Curves]:
    """Of each column that has rows of both kinds, the poorest first; `each` has its name and its areas."""
    known = [k for k, rates in enumerate(each) if rates["average_precision"] == rates["average_precision"]]
    known.sort(key=lambda k: each[k]["average_precision"])
    return [_curves(scores[:, k], positive[:, k], weight, each[k]) for k in known[:_CURVES]]


def _curves(scores: Tensor, positive: Tensor, weight: Tensor | None, own: Rates) -> Curves:
    found = ranking.curve(scores, positive, weight)
    true, false = found.hits[-1], found.misses[-1]
    recall, wrong, precision = found.hits / true, found.misses / false, found.hits / (found.hits + found.misses)
    some, other = _along(recall + wrong), _along(recall)
    return {
        "name": own["name"],
        "share": float(true / (true + false)),
        "roc_auc": own["roc_auc"],
        "average_precision": own["average_precision"],
        "roc": [(0.0, 0.0), *zip(wrong[some].tolist(), recall[some].tolist(), strict=True)],
        "precision_recall": list(zip(recall[other].tolist(), precision[other].tolist(), strict=True)),
    }


def _along(way: Tensor) -> Tensor:
    """Positions in a growing way, as evenly as they come, with both ends of where it stands still."""
    if len(way) <= _POINTS:
        return torch.arange(len(way))
    marks = torch.linspace(float(way[0]), float(way[-1]), _POINTS, dtype=way.dtype)
    left, right = torch.searchsorted(way, marks), torch.searchsorted(way, marks, right=True) - 1
    return torch.cat([left, right]).clamp(max=len(way) - 1).unique()


# -- thresholds of two classes -------------------------------------------------------------------------------------


class At(TypedDict):
    """A threshold, what it is the best for, and what it gives on validation and on the rows that are judged."""

    best_for: str  # f1 of the positive class, balanced_accuracy; or usual
    threshold: float
    val: dict[str, float]
    here: dict[str, float]


Scored = tuple[Tensor, Tensor, Tensor | None]  # scores [N], positive bool [N], and weights [N]


def thresholds(val: Scored, here: Scored, *, usual: float) -> list[At]:
    """The usual one, and those that are best on validation; none where its rows are all of one kind."""
    best = ranking.best_thresholds(ranking.curve(*val))
    return [_at(name, at, val, here) for name, at in ({"usual": usual} | best).items()] if best else []


def _at(best_for: str, threshold: float, val: Scored, here: Scored) -> At:
    found = [ranking.rates(scores, positive, threshold, weight)._asdict() for scores, positive, weight in (val, here)]
    return {"best_for": best_for, "threshold": threshold, "val": found[0], "here": found[1]}
