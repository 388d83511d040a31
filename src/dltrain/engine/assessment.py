"""How good answers are in detail: by class, by confidence, and which examples are the worst.

Rows of numbers in, plain values out, so that the result can be written as JSON and drawn.
"""

from __future__ import annotations

from math import nan
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

from dltrain.engine import ranking

BINS = 15


class Rates(TypedDict):
    """How good the answers are for one class, or one label, which has an accuracy of its own."""

    name: str
    rows: int
    predicted: int
    precision: float
    recall: float
    f1: float
    accuracy: NotRequired[float]
    roc_auc: NotRequired[float]  # against all others
    average_precision: NotRequired[float]


class Errors(TypedDict):
    """How good the answers are for one target of a regression, in its units; weighted where rows are."""

    name: str
    rmse: float
    mae: float
    median_absolute_error: float
    r2: float
    mean_error: float


Bin = TypedDict("Bin", {"from": float, "to": float, "rows": int, "confidence": float, "accuracy": float})


class Calibration(TypedDict):
    """The expected calibration error, and the bins that it is the mean over."""

    ece: float
    bins: list[Bin]


def confusion(guess: Tensor, y: Tensor, classes: int) -> Tensor:
    """int64 [P, 3], most frequent first: the true class, what it was taken for, and how often; as many as occur.

    guess and y: int64 [N]. The whole matrix would have the square of the number of classes.
    """
    codes, counts = torch.unique(y * classes + guess, return_counts=True)
    pairs = torch.stack([codes // classes, codes % classes, counts], dim=1)
    return pairs[torch.sort(counts, descending=True, stable=True).indices]


def matrix(pairs: Tensor, classes: int) -> Tensor:
    """The same as int64 [C, C]: how often class `row` was taken for class `column`."""
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    counts[pairs[:, 0], pairs[:, 1]] = pairs[:, 2]
    return counts


def by_class(pairs: Tensor, names: list[str]) -> list[Rates]:
    """Of each class of a confusion: rows, predicted, precision, recall and f1; nan where nothing is divided."""
    true, guess, count = pairs.unbind(1)
    zeros = torch.zeros(len(names), dtype=torch.int64)
    right, predicted, rows = (
        zeros.index_add(0, index, weight).tolist()
        for index, weight in ((true, count * (true == guess)), (guess, count), (true, count))
    )
    return [_rates(name, r, p, n) for name, r, p, n in zip(names, right, predicted, rows, strict=True)]


def by_label(guess: Tensor, y: Tensor, names: list[str]) -> list[Rates]:
    """The same of each label, and its accuracy. guess: bool [N, K]; y: float [N, K] from 0 to 1."""
    truth = y > 0.5
    right, predicted, rows = ((guess & truth).sum(0), guess.sum(0), truth.sum(0))
    accuracy = (guess == truth).double().mean(0)
    columns = zip(names, *(t.tolist() for t in (right, predicted, rows, accuracy)), strict=True)
    return [{**_rates(name, r, p, n), "accuracy": a} for name, r, p, n, a in columns]


def _rates(name: str, right: int, predicted: int, rows: int) -> Rates:
    return {
        "name": name,
        "rows": rows,
        "predicted": predicted,
        "precision": right / predicted if predicted else nan,
        "recall": right / rows if rows else nan,
        "f1": 2 * right / (predicted + rows) if predicted + rows else nan,
    }


def by_target(guess: Tensor, y: Tensor, names: list[str], weight: Tensor | None = None) -> list[Errors]:
    """Of each target of a regression: rmse, mae, median absolute error, r2 and the mean error.

    guess and y: float64 [N, K], original units. weight: [N], where rows do not count the same.
    """
    share = torch.full((len(y),), 1 / len(y), dtype=torch.float64) if weight is None else weight / weight.sum()
    share, y = share.double(), y.double()
    error = guess - y
    squared, shifted = share @ error.square(), y - y[:1]  # so that a constant one is exactly 0
    spread = share @ (shifted - share @ shifted).square()
    r2 = torch.where(spread > 0, 1 - squared / spread, nan)
    median = ranking.median(error.abs(), weight)
    columns = {"rmse": squared.sqrt(), "mae": share @ error.abs(), "median_absolute_error": median, "r2": r2}
    columns["mean_error"] = share @ error
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [Errors(name=name, **dict(zip(columns, row, strict=True))) for name, row in zip(names, rows, strict=True)]


def calibration(confidence: Tensor, right: Tensor, *, bins: int = BINS) -> Calibration:
    """The expected calibration error over bins of equal width, and the bins (Guo et al. 2017).

    ECE is the mean over all answers of |share that is right - mean confidence| of their bin. confidence: [N] from 0
    to 1; right: bool [N]. Bins without an answer are left out.
    """
    confidence, right = confidence.double(), right.double()
    which = (confidence * bins).long().clamp(0, bins - 1)
    counts, sums, hits = (
        torch.zeros(bins, dtype=torch.float64).index_add_(0, which, t)
        for t in (torch.ones_like(confidence), confidence, right)
    )
    ece = float((hits - sums).abs().sum() / max(len(confidence), 1))
    rows = zip(range(bins), *(t.tolist() for t in (counts, sums, hits)), strict=True)
    filled: list[Bin] = [
        {"from": b / bins, "to": (b + 1) / bins, "rows": int(n), "confidence": s / n, "accuracy": h / n}
        for b, n, s, h in rows
        if n
    ]
    return {"ece": ece, "bins": filled}


def badness(logits: Tensor, y: Tensor, probabilities: Tensor | None, *, task: str) -> Tensor:
    """How bad each answer is, [N], larger is worse.

    Classes: 1 - p(true class); without probabilities by how much the best other class is ahead. Labels: the mean of
    |p - truth|. Regression: the mean of |error| over the targets.
    """
    if task == "regression":
        return (logits - y).abs().mean(1)
    if task == "multilabel":
        return ((logits.sigmoid() if probabilities is None else probabilities) - y).abs().mean(1)
    if probabilities is not None:
        return 1 - probabilities.gather(1, y[:, None])[:, 0]
    if logits.shape[1] == 1:
        return -logits[:, 0] * (2 * y - 1)
    own = logits.gather(1, y[:, None])[:, 0]
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - own


def worst(bad: Tensor, count: int) -> list[int]:
    """The positions of the worst answers, worst first; among equals the first counts."""
    return torch.sort(bad, descending=True, stable=True).indices[:count].tolist()


def trivial(y: Tensor, *, task: str, weight: Tensor | None = None) -> dict[str, float]:
    """Metrics of the best answer that is the same for every row, on targets as the loss takes them.

    Classes (int64 [N]): the most frequent one, as sure for each row. Labels (float [N, K]): for each label what most
    rows have. Regression (float [N, K]): the mean of each target; rmse is in the units of y, as a mean over the
    targets. weight: of each row [N], where they do not count the same.
    """
    weight = torch.ones(len(y), dtype=torch.float64) if weight is None else weight.double()
    n = weight.sum()
    if task == "regression":
        mean = weight @ y.double() / n
        return {"rmse": (weight @ (y.double() - mean).square() / n).sqrt().mean().item(), "r2": 0.0}
    if task == "multilabel":
        share = weight @ (y > 0.5).double() / n
        return {"accuracy": torch.maximum(share, 1 - share).mean().item()}
    shares = (torch.bincount(y.long(), weight, minlength=2) / n).tolist()
    there, most = sum(share > 0 for share in shares), max(shares)
    f1 = 2 * most / (1 + most) / there
    averages = {"balanced_accuracy": 1 / there, "f1": f1, "f1_macro": f1, "mcc": 0.0}
    if there < 2:
        return {"accuracy": most, **averages}
    ranked = {"roc_auc": 0.5, "average_precision": shares[1] if task == "binary" else 1 / there}
    return {"accuracy": most, **averages, **ranked}


_ONE_FOR_MOST, _RANKS = 0.9, 0.6  # an accuracy by which one answer says nothing, and an area that is hardly chance


def no_better(metrics: dict[str, float], constant: dict[str, float]) -> bool:
    """Whether a net's metrics are no better than those of `trivial` on the same rows: it has learned nothing there.

    Where all rows have one answer, to be always right is all that there is to learn. Where most have, a net that ranks
    them has learned something, though it may never give the other answer.
    """
    if "accuracy" in constant:
        ranks = constant["accuracy"] >= _ONE_FOR_MOST and metrics.get("roc_auc", 0) > _RANKS
        return not (metrics["accuracy"] > constant["accuracy"] or metrics["accuracy"] == 1 or ranks)
    return metrics.get("r2", nan) <= 0  # of targets that are all the same there is none, and nothing to learn
