"""The losses of the direct step: each with its derivative by the logits beside it.

`forward(logits, target)` gives the mean loss; `backward(scale)` gives delta, scale times its derivative. They call
what autograd would call, for the same bits. `hard` ones know only targets that are class indices (int64), others as
many as the logits; `axes`: how many of them targets may have. What has others is left to `Autograd`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.engine.steps import hands
from dltrain.engine.steps.mistakes import Mistakes
from dltrain.parts import losses, private, row_weights

_aten = private.aten


class Loss(Protocol):
    """A loss and its derivative, which are asked for in turns."""

    hard: bool

    @property
    def axes(self) -> tuple[int, ...]: ...

    def forward(self, logits: Tensor, target: Tensor, /) -> Tensor: ...

    def backward(self, scale: Tensor, /) -> Tensor: ...


class ByRow(Loss, Protocol):
    """One that has the weighted mean over rows, too, and then its derivative. weight: [B]."""

    def weighted(self, logits: Tensor, target: Tensor, weight: Tensor, /) -> Tensor: ...


class Autograd:
    """Any loss: its derivative is left to autograd, which then sees nothing but the loss."""

    hard, axes = False, tuple(range(9))

    def __init__(self, module: nn.Module, *, low: bool = False, mistakes: Mistakes | None = None) -> None:
        self.module, self.low, self.mistakes = module, low, mistakes

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self._forward(logits, target, None)

    def weighted(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return self._forward(logits, target, weight)

    @torch.inference_mode(False)
    def _forward(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        with torch.enable_grad(), torch.autocast(logits.device.type, torch.bfloat16, enabled=self.low):
            # Copies: autograd takes no tensors of inference mode, in which the step makes its own.
            self.logits, target = logits.clone().requires_grad_(), target.clone() if target.is_inference() else target
            losses.check_paired(self.module, logits, target)
            if weight is None:
                self.value = self.module(self.logits, target)
            else:
                self.value = row_weights.weighted_mean(self.module, self.logits, target, weight)
        if self.mistakes is not None:
            self.mistakes.add(logits, target)
        return self.value.detach()

    @torch.inference_mode(False)
    def backward(self, scale: Tensor) -> Tensor:
        return torch.autograd.grad(self.value, self.logits, scale)[0]


class Low:
    """A loss of bf16 logits, which autocast makes fp32 first; delta goes down in bf16 again."""

    def __init__(self, loss: ByRow) -> None:
        self.loss, self.hard, self.axes = loss, loss.hard, loss.axes

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.loss.forward(logits.float(), target)

    def weighted(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        return self.loss.weighted(logits.float(), target, weight)

    def backward(self, scale: Tensor) -> Tensor:
        return self.loss.backward(scale).bfloat16()


class MSE:
    """The mean of (z - y)^2."""

    hard, axes = False, (2,)

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.rows: Tensor | None = None  # what the losses of rows are multiplied by, if it is not 1 / B

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.kept, self.rows = (logits, target), None
        return self.module(logits, target)  # which also says what shapes do not fit

    def weighted(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        self.kept = logits, target
        losses.check_shapes(logits, target)
        value, self.rows = row_weights.mean(F.mse_loss(logits, target, reduction="none"), weight)
        return value

    def backward(self, scale: Tensor) -> Tensor:
        if self.rows is not None:
            return _aten.mse_loss_backward.default(_spread(scale, self.rows, self.kept[0]), *self.kept, 0)
        return _aten.mse_loss_backward.default(scale, *self.kept, 1)


class MAE:
    """The mean of |z - y|."""

    hard, axes = False, (2,)

    def __init__(self, module: losses.MAE) -> None:
        self.module = module

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.error = logits - target
        return self.module(logits, target)

    def backward(self, scale: Tensor) -> Tensor:
        return self.error.sgn().mul_(_each(scale, self.error.numel()))


class Huber:
    """(z - y)^2 / 2 up to an error of delta, delta (|z - y| - delta / 2) beyond."""

    hard, axes = False, (2,)

    def __init__(self, module: losses.Huber) -> None:
        self.module = module

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.kept = logits, target
        return self.module(logits, target)

    def backward(self, scale: Tensor) -> Tensor:
        return _aten.huber_loss_backward.default(scale, *self.kept, 1, self.module.delta)


class CrossEntropy:
    """Minus log softmax(z) at the sample's class; a class's weight counts in the sum and in what divides it."""

    hard, axes = True, (1,)

    def __init__(self, module: nn.Module) -> None:
        self.module, self.weight = module, module.weight
        self.rows: Tensor | None = None  # as those of MSE

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.log_p, self.rows = torch.log_softmax(logits, 1), None
        # 1 is the mean, here and in other kernels; -100 the class that torch leaves out unless it is told another.
        loss, total = _aten.nll_loss_forward.default(self.log_p, target, self.weight, 1, -100)
        self.kept = self.log_p, target, self.weight, 1, -100, total
        return loss

    def weighted(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        self.log_p = torch.log_softmax(logits, 1)
        each, total = _aten.nll_loss_forward.default(self.log_p, target, self.weight, 0, -100)
        self.kept = self.log_p, target, self.weight, 0, -100, total
        value, self.rows = row_weights.mean(each, weight, row_weights.shares_of(self.module, target))
        return value

    def backward(self, scale: Tensor) -> Tensor:
        below = _aten.nll_loss_backward.default(scale if self.rows is None else scale * self.rows, *self.kept)
        return torch._log_softmax_backward_data(below, self.log_p, 1, self.log_p.dtype)


class BCE:
    """-(w y log s(z) + (1 - y) log(1 - s(z))), with s the sigmoid and w the weight of positives; delta is s(z) - y."""

    hard, axes = False, (1, 2)

    def __init__(self, module: losses.BCE) -> None:
        self.weight, self.smoothing = module.pos_weight, module.label_smoothing
        self._special = self.weight is not None or self.smoothing
        self._targets: dict[float, tuple[Tensor, Tensor]] = {}  # y and 1 - y, by the class
        self.rows: Tensor | None = None  # as those of MSE

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.rows = None
        if logits.numel() == 1 and logits.is_cpu and not (self._special or target.is_floating_point()):
            return self._one(logits, target)
        return torch.binary_cross_entropy_with_logits(*self._pair(logits, target), None, self.weight, 1)

    def weighted(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        each = torch.binary_cross_entropy_with_logits(*self._pair(logits, target), None, self.weight, 0)
        value, self.rows = row_weights.mean(each, weight)
        return value

    def _pair(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        self.shape = logits.shape
        z, y = logits.squeeze(1) if target.dim() == 1 else logits, target.to(logits.dtype)
        if self.smoothing:
            y = y * (1 - self.smoothing) + self.smoothing / 2
        self.kept = z, y
        return self.kept

    def _one(self, z: Tensor, target: Tensor) -> Tensor:
        """Of one sample alone: the same sum, (1 - y) z - log s(z), with y and 1 - y ready, in a third of the time."""
        number = target.item()
        if number not in self._targets:
            y = torch.full_like(z, number)
            self._targets[number] = y, 1 - y
        y, rest = self._targets[number]
        self.kept, self.shape = (z, y), None
        return rest.mul(z).sub_(F.logsigmoid(z)).view(())

    def backward(self, scale: Tensor) -> Tensor:
        z, y = self.kept
        if self.weight is None:
            delta = z.sigmoid().sub_(y)
        else:
            t = self.weight * y
            delta = t.add(1).sub_(y).mul_(z.sigmoid()).sub_(t)
        if self.rows is not None:
            delta.mul_(_spread(scale, self.rows, z))
        elif (
            not scale.is_cpu or scale.item() != 1
        ):  # reading it takes a fifth of the product; a GPU would be waited for
            delta.mul_(scale)
        if self.shape is None:
            return delta
        return (delta.div_(z.numel()) if z.numel() > 1 and self.rows is None else delta).view(self.shape)


class Perceptron:
    """The mean of max(0, -y z), y = -1 or 1: only mistakes push."""

    hard, axes = True, (1,)

    def __init__(self, module: losses.Perceptron, mistakes: Mistakes | None = None) -> None:
        self.mistakes = mistakes or Mistakes(torch.device("cpu"))
        self.kept: int | tuple[Tensor, Tensor] = 0  # -y, or 0 where it is right; of a batch, -y and where it is right

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.numel() == 1 and logits.is_cpu:
            return self._number(logits, target)
        minus_y = _minus_signs(logits, target)
        loss = minus_y * logits
        right = loss < 0
        self.kept = minus_y, right
        self.mistakes.tensor.add_(right.logical_not().sum())
        return loss.masked_fill_(right, 0).mean()

    def _number(self, logits: Tensor, target: Tensor) -> Tensor:
        """Of one sample alone, as the rule was first stated: a plain number takes a tenth of a tensor's time."""
        minus_y = 1 - 2 * int(target.item())  # -1 or 1; of a target that is no class, what its formula gives
        right = minus_y * logits.item() < 0
        self.kept = 0 if right else minus_y
        self.mistakes.number += not right
        return logits.new_zeros(()) if right else (logits * minus_y).view(())

    def backward(self, scale: Tensor) -> Tensor:
        if isinstance(self.kept, int):
            return _push(scale, self.kept)
        minus_y, right = self.kept
        return minus_y.mul_(_each(scale, right.numel())).masked_fill_(right, 0)


@lru_cache(maxsize=6)
def _push(scale: Tensor, sign: int) -> Tensor:
    return (scale * sign).view(1, 1)


class Hinge:
    """The mean of max(0, margin - y z), or of its square."""

    hard, axes = True, (1,)

    def __init__(self, module: losses.Hinge) -> None:
        self.margin, self.squared = module.margin, module.squared

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.minus_y = _minus_signs(logits, target)
        self.short = torch.relu_((self.minus_y * logits).add_(self.margin))
        return (self.short.square() if self.squared else self.short).mean()

    def backward(self, scale: Tensor) -> Tensor:
        each = _each(scale, self.short.numel()).expand(self.short.shape)
        if self.squared:
            each = each * (2 * self.short)
        return _aten.threshold_backward.default(each, self.short, 0).mul_(self.minus_y)


class OneHotMSE:
    """The mean of (s(z) - y)^2, with s the sigmoid."""

    hard, axes = True, (1,)

    def __init__(self, module: losses.OneHotMSE) -> None:
        pass

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.kept = torch.sigmoid(logits), F.one_hot(target, logits.shape[1]).to(logits.dtype)
        return F.mse_loss(*self.kept)

    def backward(self, scale: Tensor) -> Tensor:
        below = _aten.mse_loss_backward.default(scale, *self.kept, 1)
        return _aten.sigmoid_backward.default(below, self.kept[0])


def _minus_signs(logits: Tensor, target: Tensor) -> Tensor:
    """[B, K]: -1 at the sample's class and 1 elsewhere."""
    positive = target.unsqueeze(1) if logits.shape[1] == 1 else F.one_hot(target, logits.shape[1])
    return positive.to(logits.dtype).mul_(-2).add_(1)


def _spread(scale: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    """What the derivative of each loss is multiplied by, in the shape of `like`, [B] or [B, K]."""
    by_row = scale * rows
    return by_row if like.ndim == 1 else by_row[:, None].expand(like.shape) / like.shape[1]


@lru_cache(maxsize=4)
def _each(scale: Tensor, n: int) -> Tensor:
    """A sample's share of a mean; the same tensors come again and again."""
    return scale / n


_LOSSES: dict[type[nn.Module], Callable[..., Loss]] = {
    losses.MSE: MSE,
    losses.MAE: MAE,
    losses.Huber: Huber,
    losses.CrossEntropy: CrossEntropy,
    losses.BCE: BCE,
    losses.Perceptron: Perceptron,
    losses.Hinge: Hinge,
    losses.OneHotMSE: OneHotMSE,
    nn.CrossEntropyLoss: CrossEntropy,
    nn.MSELoss: MSE,
}
BY_ROW = (MSE, CrossEntropy, BCE, Low)
_IN_FP32 = (MSE, CrossEntropy, BCE)  # autocast calculates these in fp32, others partly in bf16


def of(module: nn.Module, *, low: bool = False, mistakes: Mistakes | None = None) -> Loss:
    """The loss of the direct step that computes what a module computes; low: from bf16 logits, under autocast;
    mistakes: where those of a perceptron are counted.
    """
    usual = getattr(module, "reduction", "mean") == "mean" and getattr(module, "ignore_index", -100) == -100
    smoothed = getattr(module, "label_smoothing", 0) and type(module) is not losses.BCE
    if type(module) not in _LOSSES or not usual or smoothed or (low and _LOSSES[type(module)] not in _IN_FP32):
        return Autograd(module, low=low, mistakes=mistakes)
    if isinstance(module, losses.Perceptron):
        return Perceptron(module, mistakes)
    loss = _LOSSES[type(module)](module)
    return Low(loss) if low and isinstance(loss, _IN_FP32) else loss


def why_not(loss: nn.Module) -> str | None:
    """Why a loss must be left to autograd together with the net, in a few words; None where it need not.

    Only losses of torch and of this package are sure to look at nothing but outputs and targets.
    """
    if any(True for _ in loss.parameters()) or any(b.requires_grad for b in loss.buffers()):
        return "the loss has parameters"
    if type(loss).__module__ not in (losses.__name__, nn.modules.loss.__name__):
        return f"the direct step does not know the loss {type(loss).__name__}"
    if hands.hooked(loss) or "forward" in vars(loss) or loss._compiled_call_impl is not None:
        return "the loss has hooks, is compiled, or has a forward of its own"
    return None
