"""What keeps a network from learning its training set by heart, apart from augmentation: weight penalties, max-norm,
input noise, mixup, cutmix, weight averaging and early stopping.

A batch transform is any callable `(x, y, index, epoch) -> (x, y)`: inputs [B, ...], targets [B] or [B, K], the
samples' positions in their split int64 [B], and the epoch number. It returns new tensors: a batch can be a view of
the data set itself. One that mixes rows has a method `weighed`, which takes their weights, too, float32 [B] on the CPU,
and returns (x, y, weight).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import reduce
from math import isfinite, sqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.data import Task
from dltrain.errors import ConfigError
from dltrain.parts import State, private
from dltrain.parts.ranges import check_range

BatchTransform = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]
Weighed = tuple[Tensor, Tensor, Tensor]  # x, y and how much each row counts


def changed_with_weights(
    transform: BatchTransform, x: Tensor, y: Tensor, index: Tensor, epoch: int, weight: Tensor
) -> Weighed:
    """What a transform makes of rows with weights [B], which stay as they are unless it mixes rows."""
    if (mixes := getattr(transform, "weighed", None)) is not None:
        return mixes(x, y, index, epoch, weight)
    return *transform(x, y, index, epoch), weight


def penalty(parameters: Iterable[Tensor], *, l1: float, l2: float) -> Tensor:
    """l1 * sum |w| + l2 * sum w^2 over the weights (two dimensions or more), not over biases and norm parameters.

    A scalar tensor to add to the loss. There is no factor 1/2: for plain SGD, weight_decay = 2 * l2 does the same.
    """
    return _penalty([p for p in parameters if p.ndim >= 2], l1, l2)


def _penalty(weights: list[Tensor], l1: float, l2: float) -> Tensor:
    # dot(w, w) makes no temporary; square().sum() and _foreach_norm()**2 were slower, forward and backward
    squares = [torch.dot(flat, flat) for flat in (w.flatten() for w in weights)] if l2 else []
    absolutes = [w.abs().sum() for w in weights] if l1 else []
    terms = [factor * reduce(torch.add, part) for factor, part in ((l2, squares), (l1, absolutes)) if part]
    return reduce(torch.add, terms) if terms else torch.zeros(())


class Penalty:
    """The L1 and L2 penalty of a model's trainable weights, picked once; call it at each step.

    l1, l2: factors of sum |w| and sum w^2, both >= 0. Raises ConfigError where the model has no such weight.
    """

    def __init__(self, model: nn.Module, *, l1: float = 0.0, l2: float = 0.0) -> None:
        check_range("regularisation.l1", l1)
        check_range("regularisation.l2", l2)
        self.l1, self.l2, self.weights = l1, l2, _weights(model, "l1 and l2")

    def __call__(self) -> Tensor:
        return _penalty(self.weights, self.l1, self.l2)

    def gradient(self, weights: Tensor) -> Tensor:
        """Its derivative by these weights: l1 sign(w) + 2 l2 w, rounded as autograd rounds it."""
        if not self.l2:
            return weights.sign().mul_(self.l1)
        pull = (weights * self.l2).mul_(2)
        return weights.sign().mul_(self.l1).add_(pull) if self.l1 else pull


class MaxNorm:
    """Keeps the L2 norm of every unit's incoming weights at most c; call it after each update.

    A unit's incoming weights are one row (index of dimension 0) of a trainable weight of two dimensions or more;
    rows under c stay as they are; of an embedding a row is the vector of a category. Source: Srivastava et al.,
    Dropout, JMLR 2014, section 5.1 (c of 2 to 4).
    """

    def __init__(self, model: nn.Module, c: float) -> None:
        check_range("regularisation.max_norm", c)
        self.c, self.weights = c, _weights(model, "max_norm")

    @torch.no_grad()
    def __call__(self) -> None:
        for weight in self.weights:
            weight.renorm_(p=2, dim=0, maxnorm=self.c)


def _weights(model: nn.Module, knob: str) -> list[Tensor]:
    weights: list[Tensor] = [p for p in model.parameters() if p.ndim >= 2 and p.requires_grad]
    if not weights:
        raise ConfigError(
            f"{knob} would do nothing: {type(model).__name__} has no trainable weight matrix; turn it off"
        )
    return weights


class Compose:
    """Several batch transforms as one, applied in order."""

    def __init__(self, transforms: Iterable[BatchTransform]) -> None:
        self.transforms = list(transforms)

    def __call__(self, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        for transform in self.transforms:
            x, y = transform(x, y, index, epoch)
        return x, y

    def weighed(self, x: Tensor, y: Tensor, index: Tensor, epoch: int, weight: Tensor) -> Weighed:
        for transform in self.transforms:
            x, y, weight = changed_with_weights(transform, x, y, index, epoch, weight)
        return x, y, weight


class InputNoise:
    """Adds Gaussian noise of mean 0 and the given standard deviation to the inputs, anew for each batch.

    std is in units of the preprocessed input (1 = one standard deviation of a standardised feature). Draws from
    torch's generator of the batch's device.
    """

    def __init__(self, std: float) -> None:
        check_range("regularisation.input_noise", std)
        self.std = std

    def __call__(self, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        return torch.randn_like(x).mul_(self.std).add_(x), y


class Mixup:
    """Trains on mixtures of pairs: lam * sample + (1 - lam) * another sample, inputs and targets alike.

    lam ~ Beta(alpha, alpha) is drawn per batch, the partners are a permutation of the batch, both from torch's CPU
    generator. Class targets become soft: multiclass int64 [B] -> float32 [B, outputs], binary int64 [B] -> float32
    [B]; multilabel and regression targets [B, K] stay [B, K]. Of rows with weights v and w the mixture counts
    lam v + (1 - lam) w, and each target has its part of that. Source: Zhang et al., mixup, ICLR 2018.
    """

    def __init__(self, alpha: float, *, task: Task, outputs: int) -> None:
        self.beta, self.task, self.outputs = _beta("mixup", alpha), task, outputs

    def __call__(self, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        lam, partner = float(self.beta.sample()), _permutation(x)
        there = _moved(partner, x)
        soft = _soft(y, self.task, self.outputs)
        return torch.lerp(x[there], x, lam), torch.lerp(soft[there], soft, lam)

    def weighed(self, x: Tensor, y: Tensor, index: Tensor, epoch: int, weight: Tensor) -> Weighed:
        lam, partner = float(self.beta.sample()), _permutation(x)
        there = _moved(partner, x)
        soft = _soft(y, self.task, self.outputs)
        return torch.lerp(x[there], x, lam), *_mixed(soft, weight, partner, lam)


class CutMix:
    """Pastes a rectangle of another image into each image and mixes the targets by area.

    The rectangle, one per batch, covers a share 1 - lam of the image (less where it meets the border; the targets
    follow what was really pasted), lam ~ Beta(alpha, alpha). Draws and targets as for `Mixup`. x must be images
    [B, C, H, W], else ConfigError (a ValueError). Source: Yun et al., CutMix, ICCV 2019.
    """

    def __init__(self, alpha: float, *, task: Task, outputs: int) -> None:
        self.beta, self.task, self.outputs = _beta("cutmix", alpha), task, outputs

    def __call__(self, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        mixed, partner, kept = self._pasted(x)
        there = _moved(partner, x)
        soft = _soft(y, self.task, self.outputs)
        return mixed, torch.lerp(soft[there], soft, kept)

    def weighed(self, x: Tensor, y: Tensor, index: Tensor, epoch: int, weight: Tensor) -> Weighed:
        mixed, partner, kept = self._pasted(x)
        return mixed, *_mixed(_soft(y, self.task, self.outputs), weight, partner, kept)

    def _pasted(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """The images, the partner of each, on the CPU, and which share of it they have kept."""
        if x.ndim != 4:
            raise ConfigError(
                f"cutmix needs images [B, C, H, W] and got inputs of shape {list(x.shape)}; mixup works on any input"
            )
        lam, partner = float(self.beta.sample()), _permutation(x)
        there = _moved(partner, x)
        (top, bottom), (left, right) = (_span(size, sqrt(1 - lam)) for size in x.shape[2:])
        mixed = x.clone()
        mixed[:, :, top:bottom, left:right] = x[there, :, top:bottom, left:right]
        return mixed, partner, 1 - (bottom - top) * (right - left) / (x.shape[2] * x.shape[3])


def _beta(knob: str, alpha: float) -> torch.distributions.Beta:
    check_range(f"regularisation.{knob}", alpha)
    return torch.distributions.Beta(torch.tensor(float(alpha)), torch.tensor(float(alpha)))


def _permutation(x: Tensor) -> Tensor:
    return torch.randperm(len(x))  # a CPU draw: same pairs on every device


def _moved(t: Tensor, x: Tensor) -> Tensor:
    return t.to(x.device, non_blocking=True)


def _mixed(soft: Tensor, weight: Tensor, partner: Tensor, kept: float) -> tuple[Tensor, Tensor]:
    """Targets and weights of mixtures, so that the loss is kept * v * loss(own) + (1 - kept) * w * loss(other)."""
    own, other = kept * weight, (1 - kept) * weight[partner]
    whole = own + other
    share = _moved(torch.where(whole > 0, own / whole, kept), soft).view(-1, *(1,) * (soft.ndim - 1))
    return torch.lerp(soft[_moved(partner, soft)], soft, share.to(soft.dtype)), whole


def _span(size: int, share: float) -> tuple[int, int]:
    """First and one-past-last pixel of a stretch of `share * size` pixels round a random centre, clipped."""
    length, centre = round(share * size), int(torch.randint(size, ()))
    low = centre - length // 2
    return max(low, 0), min(low + length, size)


def _soft(y: Tensor, task: Task, outputs: int) -> Tensor:
    """Targets that can be mixed: class indices as float32 probabilities, anything else as it is."""
    if y.is_floating_point():  # multilabel, regression, or softened already by another transform
        return y
    return F.one_hot(y, outputs).float() if task == "multiclass" else y.float()


class EMA:
    """An exponential moving average of a model's weights and float buffers: often better than the last weights.

    `model` is an averaged copy in eval mode, ready to evaluate. average = d * average + (1 - d) * weights, where
    d = min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is soon forgotten (the warm-up of
    TensorFlow's ExponentialMovingAverage). Integer buffers are copied. Construct it once the model is on its
    device. Source: Polyak & Juditsky 1992; Tarvainen & Valpola, Mean teachers, 2017.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        check_range("regularisation.ema", decay)
        self.decay, self.updates = decay, 0
        self.model = deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(_state(self.model), _state(model), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    def __repr__(self) -> str:
        return f"EMA({type(self.model).__name__}, {self.decay:g}) after {self.updates:,} updates"

    def is_of(self, model: nn.Module) -> bool:
        """Whether it averages the tensors that a model has now."""
        return {id(original) for _, original in self._floats + self._others} == {*map(id, _state(model))}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, weights = zip(*self._floats, strict=True)
        private.lerp(averages, weights, 1 - decay)
        for copy, original in self._others:
            copy.copy_(original)
        self.updates += 1

    def state_dict(self) -> State:
        """The averaged model's and how often it was updated."""
        return {"updates": self.updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Goes on from what `state_dict` gave."""
        self.updates = state["updates"]
        self.model.load_state_dict(state["model"])


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


class Best:
    """Remembers the best value of a metric. None, NaN and infinities are never an improvement.

    mode: `min` or `max`, whichever is better. min_delta: smallest change that counts, in the metric's own unit.
    """

    def __init__(self, mode: Literal["min", "max"], *, min_delta: float = 0.0) -> None:
        if mode not in ("min", "max"):
            raise ConfigError(f"mode={mode!r}: write min or max")
        check_range("min_delta", min_delta)
        self.mode, self.min_delta = mode, min_delta
        self.value: float | None = None

    def improved(self, value: float | None) -> bool:
        """Whether `value` beats the best one so far; if so, it becomes the best."""
        if value is None or not isfinite(value):
            return False
        if self.value is not None:
            gain = self.value - value if self.mode == "min" else value - self.value
            if gain <= self.min_delta:
                return False
        self.value = float(value)
        return True

    def state_dict(self) -> State:
        return {"value": self.value}

    def load_state_dict(self, state: State) -> None:
        self.value = state["value"]


class EarlyStopping:
    """Says when a metric has not improved for `patience` evaluations in a row.

    monitor: the metric's name, for the caller to look up. mode, min_delta: see `Best`.
    """

    def __init__(
        self, monitor: str, mode: Literal["min", "max"], *, patience: int = 10, min_delta: float = 0.0
    ) -> None:
        check_range("early_stopping.patience", patience)
        self.monitor, self.patience, self.waited = monitor, patience, 0
        self.best = Best(mode, min_delta=min_delta)

    def __repr__(self) -> str:
        return f"EarlyStopping({self.monitor!r}, patience={self.patience}), which has waited {self.waited}"

    def update(self, value: float | None) -> bool:
        """Takes one evaluation's value; True means that training should stop."""
        self.waited = 0 if self.best.improved(value) else self.waited + 1
        return self.waited >= self.patience

    def state_dict(self) -> State:
        """The best value, and for how many validations it has stood."""
        return {"best": self.best.state_dict(), "waited": self.waited}

    def load_state_dict(self, state: State) -> None:
        """Goes on from what `state_dict` gave."""
        self.best.load_state_dict(state["best"])
        self.waited = state["waited"]
