"""What the answers to the rows of a part add up to: sums on the device, from which metrics are made at the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import nan, prod, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.data import Task
from dltrain.engine import devices, ranking
from dltrain.parts import losses
from dltrain.parts.metrics import OF_ALL_ROWS, OF_PROBABILITIES

_MOST_KEPT = 1 << 25  # outputs that are kept to be ranked; of more the metrics that need them are nan
_EPS = torch.finfo(torch.float64).eps  # below which no probability counts, as in scikit-learn's log loss


@dataclass(frozen=True)
class Sums:
    """What rows add up to, as numbers: the totals, and of how many rows; the target that those of a regression are
    counted from, [K]; the answers that are kept, `size` numbers, none of too many.
    """

    totals: list[float]
    rows: int
    weighted: bool
    origin: list[float] | None
    size: int
    kept: list[tuple[Tensor, Tensor, Tensor | None]]

    def on_cpu(self) -> Sums:
        """The same, for other processes, whose devices are others."""
        return replace(self, kept=[(o.cpu(), a.cpu(), None if w is None else w.cpu()) for o, a, w in self.kept])


def pooled(parts: Sequence[Sums]) -> Sums:
    """The sums of all rows, from those of parts of them: one at least."""
    first = parts[0]
    if len(parts) == 1:
        return first
    totals = [sum(each) for each in zip(*(_moved(part, first.origin) for part in parts), strict=True)]
    rows, size = sum(part.rows for part in parts), sum(part.size for part in parts)
    return replace(first, totals=totals, rows=rows, size=size, kept=[k for part in parts for k in part.kept])


def _moved(part: Sums, origin: list[float] | None) -> list[float]:
    """The totals of a part, with targets of a regression counted from this origin."""
    if part.origin is None or origin is None:
        return part.totals
    k, last = len(origin), part.totals[-4 * len(origin) :]
    count, before = (part.totals[1] if part.weighted else part.rows), part.totals[: -4 * k]
    squared, absolute, y, y2 = (last[i * k : (i + 1) * k] for i in range(4))
    by = [a - b for a, b in zip(part.origin, origin, strict=True)]
    y2 = [s2 + 2 * d * s + count * d * d for s2, s, d in zip(y2, y, by, strict=True)]
    return [*before, *squared, *absolute, *(s + count * d for s, d in zip(y, by, strict=True)), *y2]


class Tally:
    """names: the metrics that are wanted; loss: what outputs mean, it is not called here."""

    def __init__(self, task: Task, names: Collection[str], loss: nn.Module) -> None:
        self.task, self.loss, self.names = task, loss, names
        self._chances = any(name in names for name in OF_PROBABILITIES)
        self._ranks, self._size = any(name in names for name in OF_ALL_ROWS), 0
        self._weighted = False
        self._origin: Tensor | None = None
        self._kept: list[tuple[Tensor, Tensor, Tensor | None]] = []
        self.totals: Tensor | None = None  # float64: of the losses, of the weights, then those of the task

    def add(self, loss: Tensor, outputs: Tensor, answer: Tensor, weight: Tensor | None) -> None:
        """A batch: the sum of its losses, outputs [B, K], what is true, in the units of the outputs, int64 [B] or
        [B, K], and the weight of each row, float64 [B].
        """
        sums = [loss.view(1)]
        if weight is not None:
            self._weighted = True
            sums.append(weight.sum().view(1))
        if self._chances:
            sums.append(_chance_sums(self.loss, self.task, outputs, answer, weight))
        if self.task == "regression":
            self._origin = answer[0] if self._origin is None else self._origin
            sums.append(_regression_sums(outputs - self._origin, answer - self._origin, weight))
        else:
            sums.append((_label_sums if self.task == "multilabel" else _class_sums)(outputs, answer, weight))
        batch = torch.cat([devices.float64(t).flatten() for t in sums])
        self.totals = batch if self.totals is None else self.totals.add_(batch)
        if self._ranks:
            self._keep((outputs - answer).abs() if self.task == "regression" else outputs, answer, weight)

    def _keep(self, outputs: Tensor, answer: Tensor, weight: Tensor | None) -> None:
        self._size += prod(outputs.shape)
        self._kept.append((outputs, answer, weight))
        if self._size > _MOST_KEPT:
            self._kept.clear()

    def sums(self, totals: list[float], rows: int) -> Sums:
        """What was added, with its totals as numbers, and how many rows it was."""
        origin = None if self._origin is None else self._origin.tolist()
        return Sums(totals, rows, self._weighted, origin, self._size, self._kept)

    def metrics(self, found: Sums) -> dict[str, float]:
        """Those that were asked for, of these rows."""
        loss, *sums = found.totals
        weight = sums.pop(0) if found.weighted else found.rows
        if not weight:  # rows that all weigh nothing
            return dict.fromkeys(self.names, nan)
        made = {"loss": loss / weight}
        if self._chances:
            made |= {name: sums.pop(0) / weight for name in OF_PROBABILITIES}
        of_task = {"multilabel": _label_metrics, "regression": _regression_metrics}.get(self.task, _class_metrics)
        made |= of_task(sums, weight)
        if self._ranks:
            made |= self._ranked(found)
        return {name: made[name] for name in self.names}

    def _ranked(self, found: Sums) -> dict[str, float]:
        if found.size > _MOST_KEPT:
            return dict.fromkeys(OF_ALL_ROWS, nan)
        outputs, answer = (torch.cat([*parts]).cpu() for parts in zip(*((o, y) for o, y, _ in found.kept), strict=True))
        weights = [part[2] for part in found.kept if part[2] is not None]
        weight = torch.cat(weights).cpu() if weights else None
        if self.task == "regression":
            return {"median_absolute_error": ranking.mean(ranking.median(outputs, weight))}
        ranked = scores(self.loss, self.task, outputs)  # all at once: equal rows get equal bits
        if self.task == "multiclass":
            roc, average = ranking.class_areas(ranked, answer, weight)
        else:
            positive = (answer == 1)[:, None] if self.task == "binary" else answer > 0.5
            roc, average = ranking.areas(ranked.T.contiguous(), positive.T, weight)
        return {"roc_auc": ranking.mean(roc), "average_precision": ranking.mean(average)}


def scores(loss: nn.Module, task: Task, outputs: Tensor) -> Tensor:
    """What ranks rows by outputs [N, K], float64: probabilities where there are some, else the outputs; [N, C], of two
    classes [N, 1] for the second.
    """
    outputs = devices.float64(outputs)
    p = losses.probabilities(loss, outputs, task)
    if p is not None:
        return p[:, 1:] if task == "binary" else p
    return outputs[:, 1:] - outputs[:, :1] if task == "binary" and outputs.shape[1] == 2 else outputs


def decide(logits: Tensor, task: Task) -> Tensor:
    """The decisions in outputs [N, K]: classes, int64 [N], or for multilabel bool [N, K].

    With one output a binary decision is `logit > 0`; a logit of exactly 0 means class 0.
    """
    if task == "multilabel":
        return logits > 0
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


# -- classes and labels --------------------------------------------------------------------------------------------


def _chance_sums(loss: nn.Module, task: Task, outputs: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """float64 [2]: log loss and Brier score, of labels the mean over them; nan where there are no probabilities."""
    p = losses.probabilities(loss, devices.float64(outputs), task)
    if p is None:
        return torch.full((2,), nan, dtype=torch.float64, device=y.device)
    y = y.to(p.device)
    if task == "multilabel":
        truth = y > 0.5
        log_loss = -torch.where(truth, p, 1 - p).clamp(min=_EPS).log().mean(1)
        brier = (p - truth.to(p.dtype)).square().mean(1)
    else:
        own = p.gather(1, y[:, None])[:, 0]
        log_loss = -own.clamp(min=_EPS).log()
        brier = p.square().sum(1) - 2 * own + 1
        brier = brier / 2 if task == "binary" else brier
    both = torch.stack([log_loss, brier])
    return (both if weight is None else both * weight).sum(1)


def _class_sums(logits: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """[3, C]: for each class how often it was right, predicted, and true; int64, with weights float64."""
    guess, classes = decide(logits, "multiclass"), max(logits.shape[1], 2)
    if weight is not None:  # a product: to add to places has not the same bits twice on a GPU
        guess, y = (devices.float64(F.one_hot(t, classes)) for t in (guess, y))
        return torch.stack([weight @ (guess * y), weight @ guess, weight @ y])
    sums, one = y.new_zeros(3, classes), torch.ones_like(y)
    sums[0].index_add_(0, y, (guess == y).long())
    sums[1].index_add_(0, guess, one)
    sums[2].index_add_(0, y, one)
    return sums


def _class_metrics(sums: list[float], n: float) -> dict[str, float]:
    c = len(sums) // 3
    right, predicted, true = sums[:c], sums[c : 2 * c], sums[2 * c :]
    rows = [(r, p, t) for r, p, t in zip(right, predicted, true, strict=True) if p + t]
    f1 = [2 * r / (p + t) for r, p, t in rows]
    macro, hits = sum(f1) / len(f1), sum(right)
    recalls = [r / t for r, _, t in rows if t]
    unlike = (n * n - sum(p * p for p in predicted)) * (n * n - sum(t * t for t in true))
    alike = hits * n - sum(p * t for p, t in zip(predicted, true, strict=True))
    return {
        "accuracy": hits / n,
        "f1": macro,
        "balanced_accuracy": sum(recalls) / len(recalls),
        "mcc": alike / sqrt(unlike) if unlike > 0 else 0.0,
        "f1_macro": macro,
        "f1_micro": hits / n,
        "f1_weighted": sum(f * t for f, (_, _, t) in zip(f1, rows, strict=True)) / n,
        "precision_macro": sum(r / p for r, p, _ in rows if p) / len(rows),
        "recall_macro": sum(recalls) / len(rows),
    }


def _label_sums(logits: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """[2 + 3 K]: share of right labels, samples with all labels right; of each label rightly predicted, predicted, and
    true ones.
    """
    guess, truth = decide(logits, "multilabel"), y > 0.5
    guess, truth, same = (devices.float64(t) for t in (guess, truth, guess == truth))
    right, exact, both = same.mean(1), devices.float64(same.all(1)), guess * truth
    if weight is None:
        sums = [right.sum(), exact.sum()]
        return torch.cat([torch.stack(sums), both.sum(0), guess.sum(0), truth.sum(0)])
    return torch.cat([torch.stack([weight @ right, weight @ exact]), *(weight @ t for t in (both, guess, truth))])


def _label_metrics(sums: list[float], n: float) -> dict[str, float]:
    right, exact, *each = sums
    k = len(each) // 3
    both, marked = each[:k], [p + t for p, t in zip(each[k : 2 * k], each[2 * k :], strict=True)]
    f1 = [2 * b / m for b, m in zip(both, marked, strict=True) if m]
    micro = 2 * sum(both) / sum(marked) if f1 else nan
    macro = sum(f1) / len(f1) if f1 else nan
    return {"accuracy": right / n, "exact_match": exact / n, "f1": micro, "f1_micro": micro, "f1_macro": macro}


# -- regression ----------------------------------------------------------------------------------------------------


def _regression_sums(guess: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
    """float64 [4, K]: squared error, absolute error, y and y^2; y is shifted so that a constant one is exactly 0."""
    error = guess - y
    each = (error.square(), error.abs(), y, y.square())
    return torch.stack([t.sum(0) if weight is None else weight @ t for t in each])


def _regression_metrics(sums: list[float], n: float) -> dict[str, float]:
    k = len(sums) // 4
    squared, absolute, y, y2 = (sums[i * k : (i + 1) * k] for i in range(4))
    spread = [b - a * a / n for a, b in zip(y, y2, strict=True)]
    return {
        "rmse": sum((e / n) ** 0.5 for e in squared) / k,
        "mae": sum(e / n for e in absolute) / k,
        "r2": sum(1 - e / s if s > 0 else nan for e, s in zip(squared, spread, strict=True)) / k,
    }
