"""What a model answers, and how good the answers are.

Metrics are sums on the device, read once at the end; every sample counts the same, also in a last batch that is
smaller than the others.

binary, multiclass   loss, accuracy, f1 (macro: the mean over the classes that occur or are predicted)
multilabel           loss, accuracy (per label), exact_match (all labels of a sample right), f1 (micro)
regression           loss (on standardised targets), rmse, mae, r2 (original units, mean over targets)
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import torch
from torch import Tensor, nn

from dltrain.data import Task
from dltrain.data.loaders import Batches
from dltrain.engine import accepted, devices, products
from dltrain.engine.steps import direct
from dltrain.errors import ConfigError, DataError
from dltrain.parts import losses
from dltrain.parts.metrics import METRICS
from dltrain.parts.modules import evaluating


def predict(
    model: nn.Module, loader: Batches | accepted.Source, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """The outputs float [N, K] of the model in eval mode and the targets, both on the CPU, in the loader's order.

    loader: whatever `Trainer.fit` takes, of `Data` a part. device: the model's.
    """
    device = torch.device(device) if device else _device(model)
    batches = accepted.loader(loader, device=device, shuffle=False)
    logits: list[Tensor] = []
    targets: list[Tensor] = []
    with evaluating(model), torch.inference_mode(), direct.applied(model, products.used()):
        for x, y, _ in batches.epoch():
            logits.append(model(x.to(device)))
            targets.append(y)
    if not logits:
        raise DataError("there is nothing to predict: this split has no samples")
    return torch.cat(logits).float().cpu(), torch.cat(targets).cpu()


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def decide(logits: Tensor, task: Task) -> Tensor:
    """The decisions in outputs [N, K]: classes, int64 [N], or for multilabel bool [N, K].

    With one output a binary decision is `logit > 0`; a logit of exactly 0 means class 0.
    """
    if task == "multilabel":
        return logits > 0
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def evaluate(
    model: nn.Module,
    loader: Batches | accepted.Source,
    loss: nn.Module | Callable[[Tensor, Tensor], Tensor],
    *,
    task: Task,
    target_mean: Tensor | None = None,
    target_std: Tensor | None = None,
) -> dict[str, float]:
    """The metrics that `METRICS` has of a task, in eval mode: no dropout, no label smoothing, no class weights.

    model: its outputs [B, K] are logits, for which 0 decides between two classes: no sigmoid at its end. loader and
    loss: whatever a `Trainer` takes, of `Data` a part.
    Targets reach the loss as int64 [B] (binary, multiclass) or float32 [B, K] (multilabel, regression), whatever
    loss it is, but for torch's BCEWithLogitsLoss: with one output it gets two classes as it wants them, float [B, 1].
    For a regression `target_mean` and `target_std` [K] turn standardised values back into original units; without
    them those of the loader do, which it has from a part of `Data`; where neither says anything the targets are taken
    as they are. r2 is nan if a target is constant; f1 of labels is nan if no label is set or predicted. A target
    outside its classes raises DataError (labels must lie between 0 and 1).
    """
    if task not in METRICS:
        raise ConfigError(f"task={task!r}: choose one of {', '.join(METRICS)}")
    batches, criterion = accepted.loader(loader, device=_device(model), shuffle=False), accepted.loss(loss)
    if (target_mean is None) != (target_std is None):
        raise ValueError("target_mean and target_std come together: give both, or neither")
    if target_std is None:
        target_mean, target_std = (getattr(batches, f"target_{name}", None) for name in ("mean", "std"))
    n = highest = 0
    totals = origin = None
    bounds: list[Tensor] = []  # the lowest and the highest target of each batch
    with evaluating(model, criterion), torch.inference_mode(), direct.applied(model, products.used()):
        for x, y, _ in batches.epoch():
            logits = model(x)
            if logits.dim() != 2:
                raise ValueError(f"the model must return [batch, outputs], but it returned {list(logits.shape)}")
            if n == 0:
                _check_first(task, criterion, logits, y)
            answer = _answer(task, y)
            if n == 0 and target_mean is not None and target_std is not None:  # once: a copy to the device waits for it
                target_mean, target_std = (devices.float64(t.to(y.device)) for t in (target_mean, target_std))
            if task == "regression":
                truth = original(answer, target_mean, target_std)
                origin = truth[0] if origin is None else origin
                sums = _regression_sums(original(logits, target_mean, target_std) - origin, truth - origin)
            else:
                bounds.append(devices.float64(torch.stack(answer.aminmax())))
                highest = _highest(task, logits)
                answer = answer.clamp(0, highest)  # a kernel that met a wrong class would stop the device
                sums = _label_sums(logits, answer) if task == "multilabel" else _class_sums(logits, answer)
                y = _for_loss(criterion, logits, answer)
            batch = torch.cat([devices.float64(criterion(logits, y) * len(y)).view(1), devices.float64(sums).flatten()])
            totals = batch if totals is None else totals.add_(batch)
            n += len(y)
    if totals is None:
        raise DataError("there is nothing to evaluate: this split has no samples")
    numbers = torch.cat([totals, *bounds]).tolist()  # the only time that the host waits for the device
    loss_sum, *sums = numbers[: len(totals)]
    _check_targets(task, numbers[len(totals) :], highest)
    return {"loss": loss_sum / n} | _FINISH[task](sums, n)


def _check_first(task: Task, loss: nn.Module, logits: Tensor, y: Tensor) -> None:
    """Raises ValueError for targets of another shape than the task has, for what are no classes, and for a loss of
    probabilities.
    """
    if isinstance(loss, nn.BCELoss):
        raise ConfigError("BCELoss takes probabilities, and here outputs are logits: no sigmoid, and BCEWithLogitsLoss")
    if task in ("regression", "multilabel"):
        if not isinstance(loss, accepted.Function):  # which may take targets [N] as they are
            losses.check_shapes(logits, y)
    elif y.is_floating_point() and bool((y != y.round()).any()):
        raise DataError(f"task={task!r}: targets are the numbers of classes, and these are others, of {y.dtype}")


def _answer(task: Task, y: Tensor) -> Tensor:
    """Targets as they are judged: int64 [B] of classes, else [B, K]."""
    if task in ("binary", "multiclass"):
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        return y.long() if y.is_floating_point() else y
    return y[:, None] if y.ndim == 1 else y


def _for_loss(loss: nn.Module, logits: Tensor, answer: Tensor) -> Tensor:
    """Torch's own wants a column of floats where classes are two and the output is one."""
    column = isinstance(loss, nn.BCEWithLogitsLoss) and answer.ndim == 1 and logits.shape[1] == 1
    return answer[:, None].to(logits.dtype) if column else answer


def _class_sums(logits: Tensor, y: Tensor) -> Tensor:
    """int64 [3, C]: for each class how often it was right, predicted, and true."""
    guess = decide(logits, "multiclass")
    sums, one = y.new_zeros(3, max(logits.shape[1], 2)), torch.ones_like(y)
    sums[0].index_add_(0, y, (guess == y).long())
    sums[1].index_add_(0, guess, one)
    sums[2].index_add_(0, y, one)
    return sums


def _class_metrics(sums: list[float], n: int) -> dict[str, float]:
    c = len(sums) // 3
    right, predicted, true = sums[:c], sums[c : 2 * c], sums[2 * c :]
    f1 = [2 * r / (p + t) for r, p, t in zip(right, predicted, true, strict=True) if p + t]
    return {"accuracy": sum(right) / n, "f1": sum(f1) / len(f1)}


def _label_sums(logits: Tensor, y: Tensor) -> Tensor:
    """[4]: share of right labels, samples with all labels right, labels rightly predicted, predicted plus true."""
    guess, truth = decide(logits, "multilabel"), y > 0.5
    guess, truth, same = (devices.float64(t) for t in (guess, truth, guess == truth))
    return torch.stack([same.mean(1).sum(), same.all(1).sum(), (guess * truth).sum(), guess.sum() + truth.sum()])


def _label_metrics(sums: list[float], n: int) -> dict[str, float]:
    right, exact, both, marked = sums
    return {"accuracy": right / n, "exact_match": exact / n, "f1": 2 * both / marked if marked else nan}


def original(values: Tensor, mean: Tensor | None, std: Tensor | None) -> Tensor:
    """Standardised targets [B, K] in original units, as float64."""
    values = devices.float64(values)
    if std is None:
        return values
    assert mean is not None  # they come together
    return values * std + mean


def _regression_sums(guess: Tensor, y: Tensor) -> Tensor:
    """float64 [4, K]: squared error, absolute error, y and y^2; y is shifted so that a constant one is exactly 0."""
    error = guess - y
    return torch.stack([t.sum(0) for t in (error.square(), error.abs(), y, y.square())])


def _regression_metrics(sums: list[float], n: int) -> dict[str, float]:
    k = len(sums) // 4
    squared, absolute, y, y2 = (sums[i * k : (i + 1) * k] for i in range(4))
    spread = [b - a * a / n for a, b in zip(y, y2, strict=True)]
    return {
        "rmse": sum((e / n) ** 0.5 for e in squared) / k,
        "mae": sum(e / n for e in absolute) / k,
        "r2": sum(1 - e / s if s > 0 else nan for e, s in zip(squared, spread, strict=True)) / k,
    }


_FINISH = {
    "binary": _class_metrics,
    "multiclass": _class_metrics,
    "multilabel": _label_metrics,
    "regression": _regression_metrics,
}


def _highest(task: Task, logits: Tensor) -> int:
    """The highest value that a class index or a label may have."""
    return 1 if task == "multilabel" else max(logits.shape[1] - 1, 1)


def _check_targets(task: Task, seen: list[float], highest: int) -> None:
    """`seen` holds the lowest and the highest target of each batch."""
    wrong = next((value for value in seen if not 0 <= value <= highest), None)
    if wrong is None:
        return
    if task == "multilabel":
        raise DataError(f"the targets hold {wrong:g}, but a label must lie between 0 (absent) and 1 (present)")
    raise DataError(
        f"the targets hold class {wrong:g}, but the model's outputs stand for classes 0 to {highest};"
        " number the classes from 0, and train on data that has them all"
    )
