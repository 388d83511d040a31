"""Losses with one face: `forward(logits [B, K], target)` is the mean over the batch, a scalar.

Targets are int64 class indices [B] (binary, multiclass) or float32 [B, K] (multilabel, regression). Where mixup
or cutmix blends classes they are soft: float [B, K], or for two classes float [B], the share of class 1. Each class
says in `tasks` what it fits and in `outputs(task, classes)` how many outputs the network needs.

Label smoothing and class weights act in training mode only: losses reported on validation and test data are the
plain ones, so runs with different settings compare.

Any other `nn.Module` serves as a loss too. It gets the same arguments: `torch.nn.L1Loss` and the like fit a
regression, `torch.nn.BCEWithLogitsLoss` fits multilabel data, `torch.nn.CrossEntropyLoss` and
`torch.nn.MultiMarginLoss` fit classes, with one output for each class even where there are only two.

`reduction` is what torch's losses have: with "none" each gives the loss of every row, which `row_weights` asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.data import Task

Loss = nn.Module | Callable[..., nn.Module]  # an instance, or what makes one: a class, or `auto`
Meaning = Literal["softmax", "sigmoid", "shares"]  # what makes probabilities of outputs


def _one_per_class(task: Task, classes: int) -> int:
    return classes


def _one_if_binary(task: Task, classes: int) -> int:
    return 1 if task == "binary" else classes


class MSE(nn.Module):
    """Mean squared error over all targets. `target`: float32 [B, K]."""

    tasks = ("regression",)
    outputs = staticmethod(_one_per_class)

    def __init__(self) -> None:  # nn.Module's own takes any arguments; the signature is the schema
        super().__init__()
        self.reduction = "mean"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_shapes(logits, target)
        return F.mse_loss(logits, target, reduction=self.reduction)


class MAE(nn.Module):
    """Mean absolute error over all targets: outliers pull on it less than on MSE. `target`: float32 [B, K]."""

    tasks = ("regression",)
    outputs = staticmethod(_one_per_class)

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_shapes(logits, target)
        return F.l1_loss(logits, target, reduction=self.reduction)


class Huber(nn.Module):
    """Quadratic up to an error of `delta`, linear beyond (Huber 1964). `target`: float32 [B, K].

    `delta` is in the units of the targets that the network sees, which are standard deviations.
    """

    tasks = ("regression",)
    outputs = staticmethod(_one_per_class)

    def __init__(self, *, delta: float = 1.0) -> None:
        super().__init__()
        self.reduction = "mean"
        _check_positive("delta", delta)
        self.delta = delta

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        check_shapes(logits, target)
        return F.huber_loss(logits, target, reduction=self.reduction, delta=self.delta)


class CrossEntropy(nn.Module):
    """Softmax and negative log-likelihood. `target`: int64 [B], or soft.

    `class_weights` gives each class its weight; "balanced" is n / (K n_c) with n_c = `class_counts[c]`, the
    training samples of class c. As in torch, the weighted mean divides by the batch's sum of weights, so the
    parts of an accumulated batch do not add up exactly to the whole. Label smoothing: Szegedy et al. 2016.
    """

    tasks = ("binary", "multiclass")
    outputs = staticmethod(_one_per_class)

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        class_counts: list[int] | None = None,
    ) -> None:
        super().__init__()
        self.reduction = "mean"
        _check_smoothing(label_smoothing)
        if class_weights == "balanced":
            counts = _check_counts("class_weights", class_counts)
            class_weights = [sum(counts) / (len(counts) * n) for n in counts]
        elif class_weights is not None:
            _check_weights("class_weights", class_weights, class_counts)
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", _as_buffer(class_weights), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = _per_class(target)
        if not self.training:
            return F.cross_entropy(logits, target, reduction=self.reduction)
        smoothing = self.label_smoothing
        return F.cross_entropy(logits, target, self.weight, reduction=self.reduction, label_smoothing=smoothing)


class BCE(nn.Module):
    """Sigmoid and binary cross-entropy: one output for two classes, or one output for each label.

    `target`: int64 [B] or soft (binary); float [B, K] (multilabel).
    `pos_weight` multiplies the loss of positive targets, one number or one for each label; "balanced" is
    negatives / positives in the train part, from `class_counts`: samples of class 0 and of class 1 (binary), or
    positives of each label among `samples` (multilabel). Label smoothing moves targets to y (1 - s) + s / 2.
    """

    tasks = ("binary", "multilabel")
    outputs = staticmethod(_one_if_binary)

    def __init__(
        self,
        *,
        pos_weight: Literal["balanced"] | float | list[float] | None = None,
        label_smoothing: float = 0.0,
        task: Task = "binary",
        class_counts: list[int] | None = None,
        samples: int | None = None,
    ) -> None:
        super().__init__()
        self.reduction = "mean"
        _check_smoothing(label_smoothing)
        if pos_weight == "balanced":
            counts = _check_counts("pos_weight", class_counts)
            pos_weight = [counts[0] / counts[1]] if task == "binary" else _negatives_per_positive(counts, samples)
        elif isinstance(pos_weight, list):
            _check_weights("pos_weight", pos_weight, [1] if task == "binary" else class_counts)
        elif pos_weight is not None:
            _check_positive("pos_weight", pos_weight)
        self.label_smoothing = label_smoothing
        self.register_buffer("pos_weight", _as_buffer(pos_weight), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if target.dim() == 1:
            logits = logits.squeeze(1)
        target = target.to(torch.promote_types(logits.dtype, torch.float32))  # bfloat16 would round 0.95
        if not self.training:
            return F.binary_cross_entropy_with_logits(logits, target, reduction=self.reduction)
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, target, reduction=self.reduction, pos_weight=self.pos_weight)


class Perceptron(nn.Module):
    """Perceptron criterion: mean of max(0, -y f(x)) with y in {-1, +1} (Rosenblatt 1958).

    y f(x) <= 0 counts as a mistake, so the gradient at f(x) = 0 is -y: learning starts from zero weights. More
    than two classes are learnt one against the rest, averaged over classes. `target`: int64 [B].
    """

    tasks = ("binary", "multiclass")
    outputs = staticmethod(_one_if_binary)

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = -_signs("perceptron", logits, target) * logits
        return _reduced(loss.masked_fill(loss < 0, 0), self.reduction)  # relu's gradient at 0 is 0


def mistakes(logits: Tensor, target: Tensor) -> Tensor:
    """How many answers are mistakes of the perceptron, y f(x) <= 0: int64, a scalar. logits [B, K], target [B]."""
    return (_signs("perceptron", logits, target) * logits <= 0).sum()


class Hinge(nn.Module):
    """Hinge loss: mean of max(0, margin - y f(x)), y in {-1, +1}; `squared` is its square (Cortes & Vapnik 1995).

    More than two classes are learnt one against the rest, averaged over classes. `target`: int64 [B].
    """

    tasks = ("binary", "multiclass")
    outputs = staticmethod(_one_if_binary)

    def __init__(self, *, margin: float = 1.0, squared: bool = False) -> None:
        super().__init__()
        self.reduction = "mean"
        _check_positive("margin", margin)
        self.margin, self.squared = margin, squared

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = F.relu(self.margin - _signs("hinge", logits, target) * logits)
        return _reduced(loss.square() if self.squared else loss, self.reduction)


class OneHotMSE(nn.Module):
    """Squared error of sigmoid outputs against one-hot targets, averaged over samples and classes.

    Its gradient carries the factor s (1 - s), which vanishes where the network is sure and wrong; cross-entropy
    has no such factor. `target`: int64 [B], or soft.
    """

    tasks = ("binary", "multiclass")
    outputs = staticmethod(_one_per_class)

    def __init__(self) -> None:
        super().__init__()
        self.reduction = "mean"

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        soft = target.is_floating_point()
        target = _per_class(target) if soft else F.one_hot(target, logits.shape[1]).to(logits.dtype)
        check_shapes(logits, target)
        return F.mse_loss(torch.sigmoid(logits), target, reduction=self.reduction)


def auto(task: Task, *, label_smoothing: float = 0.0) -> nn.Module:
    """The usual loss of a task: BCE (binary, multilabel), CrossEntropy (multiclass) or MSE (regression)."""
    if task == "regression":
        if label_smoothing:
            raise ValueError(f"loss.label_smoothing={label_smoothing} has no meaning for a regression; leave it at 0")
        return MSE()
    if task == "multiclass":
        return CrossEntropy(label_smoothing=label_smoothing)
    return BCE(label_smoothing=label_smoothing, task=task)


_CHOICES = {
    "mse": MSE,
    "mae": MAE,
    "huber": Huber,
    "cross_entropy": CrossEntropy,
    "bce": BCE,
    "perceptron": Perceptron,
    "hinge": Hinge,
    "one_hot_mse": OneHotMSE,
}  # as configs/loss/ names them


def outputs(loss: Loss, task: Task, classes: int) -> int:
    """How many outputs the network needs under a loss.

    `classes` is the number of classes, labels or regression targets. A loss that is not ours gets one output
    for each.
    """
    if loss is auto:
        return _one_if_binary(task, classes)
    return getattr(loss, "outputs", _one_per_class)(task, classes)


def check_task(loss: Loss, task: Task) -> None:
    """Raises ValueError if a loss does not fit the task of the data. Losses that are not ours always pass."""
    if task in getattr(loss, "tasks", (task,)):
        return
    cls = loss if isinstance(loss, type) else type(loss)
    name = next((name for name, choice in _CHOICES.items() if choice is cls), cls.__name__)
    *others, last = [name for name, choice in _CHOICES.items() if task in choice.tasks]
    fitting = f"{', '.join(others)} or {last}" if others else last
    raise ValueError(f"loss={name} does not fit the task {task} of this data; use loss={fitting}")


def probabilities(loss: nn.Module, logits: Tensor, task: Task) -> Tensor | None:
    """What outputs [N, K] say of each class, float [N, C] with rows that sum to 1, or of each label, [N, K].

    None where the loss asks for no probabilities: regression, perceptron, hinge, and losses that are not known.
    The sigmoids of `OneHotMSE` are divided by their sum. Half precision becomes float32, float64 stays.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if isinstance(loss, _SOFTMAX) and task in ("binary", "multiclass"):
        return logits.softmax(1)
    if isinstance(loss, (BCE, nn.BCEWithLogitsLoss)) and task != "regression":
        p = logits.sigmoid()
        if task == "multilabel":
            return p
        return torch.cat([1 - p, p], dim=1) if logits.shape[1] == 1 else None
    if isinstance(loss, OneHotMSE):
        return F.normalize(logits.sigmoid(), p=1, dim=1)
    return None


def meaning(loss: nn.Module, task: Task) -> Meaning | None:
    """How `probabilities` makes them of outputs; None where it makes none. shares: sigmoids divided by their sum."""
    if isinstance(loss, _SOFTMAX) and task in ("binary", "multiclass"):
        return "softmax"
    if isinstance(loss, (BCE, nn.BCEWithLogitsLoss)) and task != "regression":
        return "sigmoid"
    return "shares" if isinstance(loss, OneHotMSE) else None


_SOFTMAX = (CrossEntropy, nn.CrossEntropyLoss, nn.NLLLoss)


def _reduced(each: Tensor, reduction: str) -> Tensor:
    return each.mean() if reduction == "mean" else each


def _signs(name: str, logits: Tensor, target: Tensor) -> Tensor:
    """float32 [B, K]: +1 at the sample's class and -1 elsewhere; half-precision logits are promoted by it."""
    if target.is_floating_point():
        raise ValueError(
            f"loss={name} needs class indices, not the soft targets of mixup or cutmix;"
            " turn these off or use loss=cross_entropy"
        )
    positive = target.unsqueeze(1) if logits.shape[1] == 1 else F.one_hot(target, logits.shape[1])
    return positive.to(torch.float32) * 2 - 1


def _per_class(target: Tensor) -> Tensor:
    """The soft targets [B] of two classes as [B, 2]; others as they are."""
    if target.is_floating_point() and target.dim() == 1:
        return torch.stack([1 - target, target], dim=1)
    return target


_PAIRED = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.BCELoss)


def check_paired(loss: nn.Module, outputs: Tensor, target: Tensor) -> None:
    """Raises ValueError where one of torch's own would hold each output against each target, with a warning alone, or
    says so in many words.
    """
    if isinstance(loss, _PAIRED):
        check_shapes(outputs, target)


def check_shapes(logits: Tensor, target: Tensor) -> None:
    """Raises ValueError unless they are alike."""
    if logits.shape != target.shape:  # torch would broadcast and learn something else
        mend = "; targets[:, None] fit" if target.shape == logits.shape[:1] and logits.shape[1:] == (1,) else ""
        raise ValueError(
            f"the model returned shape {list(logits.shape)}, but the targets have shape {list(target.shape)}{mend}"
        )


def _check_positive(knob: str, value: float) -> None:
    if not 0 < value < inf:
        raise ValueError(f"loss.{knob}={value} must be a positive number")


def _check_smoothing(value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"loss.label_smoothing={value} must be at least 0 and below 1")


def _check_weights(knob: str, weights: list[float], classes: list[int] | None) -> None:
    if not all(0 <= w < inf for w in weights) or not any(weights):
        raise ValueError(f"loss.{knob}={weights} must be numbers from 0 up, not all of them 0")
    if classes is not None and len(weights) != len(classes):
        raise ValueError(f"loss.{knob} has {len(weights)} numbers, but this data needs {len(classes)}")


def _check_counts(knob: str, counts: list[int] | None) -> list[int]:
    if counts is None:
        raise ValueError(f"loss.{knob}=balanced needs class_counts, the training samples of each class")
    if 0 in counts:
        raise ValueError(
            f"loss.{knob}=balanced has no answer for class {counts.index(0)}, which has no training sample;"
            " write the weights as a list"
        )
    return counts


def _negatives_per_positive(positives: list[int], samples: int | None) -> list[float]:
    if samples is None:
        raise ValueError("loss.pos_weight=balanced needs samples, the size of the train part")
    return [(samples - n) / n for n in positives]


def _as_buffer(weights: float | list[float] | None) -> Tensor | None:
    return None if weights is None else torch.tensor(weights, dtype=torch.float32)
