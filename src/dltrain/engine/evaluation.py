"""What a model answers, and how good the answers are.

Metrics are sums on the device, read once at the end; every sample counts the same, or by its weight, also in a last
batch that is smaller than the others. Those that no sums give keep the answers: see `metrics.OF_ALL_ROWS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import Tensor, nn

from dltrain.data import Task
from dltrain.data.loaders import Batches
from dltrain.data.units import Units, moved
from dltrain.engine import accepted, devices, products
from dltrain.engine.ranks import Ranks
from dltrain.engine.steps import direct
from dltrain.engine.tally import Tally, pooled
from dltrain.engine.tally import decide as decide
from dltrain.errors import ConfigError, DataError, did_you_mean
from dltrain.parts import losses, row_weights
from dltrain.parts.metrics import DIRECTION, METRICS, OF_PROBABILITIES, USUAL
from dltrain.parts.modules import evaluating

More = Collection[str] | Literal["all"]  # metrics beside the usual ones


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


def available(task: Task, loss: nn.Module | Callable[..., nn.Module]) -> tuple[str, ...]:
    """The metrics that answers of a task have, in the order in which they are shown: those of probabilities only where
    the loss makes some.
    """
    chances = isinstance(loss, nn.Module) and losses.meaning(loss, task) is not None
    return tuple(name for name in DIRECTION if name in METRICS[task] and (chances or name not in OF_PROBABILITIES))


def evaluate(
    model: nn.Module,
    loader: Batches | accepted.Source,
    loss: nn.Module | Callable[[Tensor, Tensor], Tensor],
    *,
    task: Task,
    units: Units | None = None,
    metrics: More = (),
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """The metrics that are usual for a task, and more by their names, in eval mode: no dropout, no label smoothing, no
    class weights. dltrain.metrics.METRICS names those of each task, USUAL the usual ones.

    model: its outputs [B, K] are logits, for which 0 decides between two classes: no sigmoid at its end. loader and
    loss: whatever a `Trainer` takes, of `Data` a part; where that has a `weight` float [N] of its rows, each counts by
    its own.
    metrics: names beside the usual ones, or "all" that there are; log_loss and brier need a loss of probabilities.
    Targets reach the loss as int64 [B] (binary, multiclass) or float32 [B, K] (multilabel, regression), whatever
    loss it is, but for torch's BCEWithLogitsLoss: with one output it gets two classes as it wants them, float [B, 1].
    For a regression `units` turn what is learned back into the targets' own units; without them those of the loader
    do, which it has from a part of `Data`; where neither says anything the targets are taken as they are. What a part
    can't say is nan: r2 of a constant target, f1 where no label is set or predicted, roc_auc and average_precision of
    one class alone. A target outside its classes raises DataError (labels must lie between 0 and 1). ranks: processes
    that have rows of their own each, and get the metrics of all.
    """
    if task not in METRICS:
        raise ConfigError(f"task={task!r}: choose one of {', '.join(METRICS)}")
    batches, criterion = accepted.loader(loader, device=_device(model), shuffle=False), accepted.loss(loss)
    names = _names(task, criterion, metrics)
    units = units or getattr(batches, "units", None)
    rows = _Rows(task, criterion, names, units, getattr(batches, "weight", None))
    with evaluating(model, criterion), torch.inference_mode(), direct.applied(model, products.used()):
        for x, y, index in batches.epoch():
            rows.add(model(x), y, index)
    return rows.metrics(ranks)


def of_training(
    outputs: Tensor,
    y: Tensor,
    weight: Tensor | None,
    *,
    name: str,
    task: Task,
    loss: nn.Module,
    units: Units | None = None,
) -> dict[str, float]:
    """One metric of what a model answered to rows while it was trained on them, as `Trainer.fit` measures it; nothing
    of targets that stand between two classes, as a transform mixes them.

    outputs: [R, K], y: [R] or [R, K], weight: [R] where rows do not count the same.
    """
    if task in ("binary", "multiclass") and y.is_floating_point() and (y.ndim > 1 or bool((y != y.round()).any())):
        return {}
    answer = _answer(task, y)
    if name == "accuracy" and answer.ndim == 1 and weight is None:  # what most are judged by, in a third of the time
        return {name: int((decide(outputs, task) == answer).sum()) / len(answer)}
    if task == "regression":
        units = units if units is None else moved(units, devices.of_float64(y.device))
        outputs, answer = answers(outputs, units), original(answer, units)
    else:
        answer = answer.clamp(0, _highest(task, outputs))
    weight, tally = None if weight is None else devices.float64(weight.to(y.device)), Tally(task, [name], loss)
    tally.add(torch.zeros((), device=y.device), outputs, answer, weight)
    assert tally.totals is not None
    return tally.metrics(tally.sums(tally.totals.tolist(), len(y)))


class _Rows:
    """Rows with their answers, batch by batch. units: those of the targets; weight: of each row."""

    def __init__(
        self,
        task: Task,
        loss: nn.Module,
        names: list[str],
        units: Units | None,
        weight: Tensor | None,
    ) -> None:
        self.task, self.loss, self.units, self.weight = task, loss, units, weight
        self.tally, self.n, self.highest = Tally(task, names, loss), 0, 0
        self.bounds: list[Tensor] = []  # the lowest and the highest target of each batch

    def add(self, logits: Tensor, y: Tensor, index: Tensor) -> None:
        task, outputs = self.task, logits
        if logits.dim() != 2:
            raise ValueError(f"the model must return [batch, outputs], but it returned {list(logits.shape)}")
        if self.n == 0:
            _check_first(task, self.loss, logits, y)
            if self.units is not None:  # once: a copy to the device waits for it
                self.units = moved(self.units, devices.of_float64(y.device))
        answer = _answer(task, y)
        if task == "regression":
            outputs, answer = answers(logits, self.units), original(answer, self.units)
        else:
            self.bounds.append(devices.float64(torch.stack(answer.aminmax())))
            self.highest = _highest(task, logits)
            answer = answer.clamp(0, self.highest)  # a kernel that met a wrong class would stop the device
            y = _for_loss(self.loss, logits, answer)
        self.n += len(y)
        if self.weight is None:
            self.tally.add(devices.float64(self.loss(logits, y) * len(y)), outputs, answer, None)
        else:
            own = self.weight.to(index.device)[index]
            mean, weight = row_weights.weighted_mean(self.loss, logits, y, own), devices.float64(own.to(y.device))
            self.tally.add(devices.float64(mean) * weight.sum(), outputs, answer, weight)

    def metrics(self, ranks: Ranks | None) -> dict[str, float]:
        totals, bounds, sums = self.tally.totals, list[float](), None
        if totals is not None:
            numbers = torch.cat([totals, *self.bounds]).tolist()  # the only time that the host waits for the device
            sums, bounds = self.tally.sums(numbers[: len(totals)], self.n), numbers[len(totals) :]
        told = [(sums, bounds, self.highest)]
        if ranks is not None:
            told = ranks.all_gather_object((sums and sums.on_cpu(), bounds, self.highest))
        if not (parts := [sums for sums, _, _ in told if sums is not None]):
            raise DataError("there is nothing to evaluate: this split has no samples")
        bounds, highest = [value for _, each, _ in told for value in each], max(highest for _, _, highest in told)
        _check_targets(self.task, bounds, highest)
        return self.tally.metrics(pooled(parts))


def _names(task: Task, loss: nn.Module, more: More) -> list[str]:
    """The metrics that are wanted, in their order; raises ConfigError for one that there is not."""
    there = available(task, loss)
    if more == "all":
        return [*there]
    if unknown := [name for name in more if name not in there]:
        near = did_you_mean(unknown[0], there) or f"; there are {', '.join(there)}"
        raise ConfigError(f"metrics: there is no {unknown[0]} of a {task} task under {type(loss).__name__}{near}")
    return [name for name in there if name in USUAL[task] or name in more]


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


def original(y: Tensor, units: Units | None) -> Tensor:
    """Targets [B, K] as they were before they were learned, as float64."""
    return devices.float64(y) if units is None else units.original(devices.float64(y))


def answers(outputs: Tensor, units: Units | None) -> Tensor:
    """What a net's outputs [B, K] say of them, as float64."""
    return devices.float64(outputs) if units is None else units.answers(devices.float64(outputs))


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
