"""The direct step: loss and gradients of known modules, one after the other, without autograd, and one call to update.

It is back-propagation as one writes it on a board. With the samples of a batch in rows, a layer computes

    forward     z = a W^T + b       from the activation a of the layer below
    backward    dL/dW = delta^T a,  dL/db = the sum of delta's rows,  and hands down delta W

where delta is dL/dz, which an activation f makes of the dL/da that it is handed: dL/da * f'(z). (A course, and
`dltrain trace`, swap the letters: a before the non-linearity, z = g(a) after it.) Layers and losses call the kernels
that autograd would call, on the same operands in the same order, so that the gradients are the same bits; what is saved
is autograd's bookkeeping, which on a small net is most of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from dltrain.engine.products import Kernels, Products, suits
from dltrain.engine.steps import answers, direct_layers, direct_losses, hands
from dltrain.engine.steps.batches import Parted, parted
from dltrain.engine.steps.direct_layers import FRESH, Activation, Linear, LowLinear
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.gate import Gate
from dltrain.engine.steps.mistakes import Mistakes, counted
from dltrain.engine.steps.step import Batch, Gradients, Kind, Parts
from dltrain.parts import codes, models, private
from dltrain.parts.modules import every
from dltrain.parts.regularisers import Penalty


class Direct:
    """The step by a `Net`, on the memory of `flat`, once `why_not` has nothing against it.

    gives_way: called with the reason in the middle of a step, where a batch is not for it; returns the step that makes
    the gradients of this batch and of those after it.
    """

    kind: Kind = "direct"

    def __init__(self, parts: Parts, gate: Gate, flat: Flat, gives_way: Callable[[str], Gradients]) -> None:
        assert parts.penalty is None or isinstance(parts.penalty, Penalty)  # with others there is no direct step
        made = {"precision": parts.precision, "kernels": parts.kernels, "mistakes": counted(parts)}
        self.net = Net(parts.model, parts.loss, **made)
        self.flat, self.gate, self._penalty, self._gives_way = flat, gate, parts.penalty, gives_way
        row = flat.rows[0].data
        self._answers, self._loss, self._ranks = parts.answers, parts.loss, parts.ranks
        self._one = torch.ones((), dtype=row.dtype, device=row.device)  # a new one costs as much as a small product
        self._mode = torch.inference_mode()  # kept: making and entering a new one costs 0.7 us more at each step

    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        with self._mode:  # parameters want gradients: autograd would record each product
            loss = self.gate(self.backward(parted(batches, given, self._loss, self._ranks), len(given)), given, epoch)
            self.flat.step()
        return loss

    def backward(self, parts: Iterator[Parted], count: int) -> Tensor:
        """Leaves the gradient of the mean loss, plus the penalty's, in `.grad`; returns that loss. count: of parts."""
        net, mean = self.net, None
        keep = self._answers if self._answers.on else None
        for batch, share in parts:
            x, y = batch[:2]
            if (why := net.why_not(x, y)) is not None:
                return self._gives_way(why).backward(chain([(batch, share)], parts), count, mean)
            weight = batch[3] if len(batch) == 4 else None
            if self.flat.apart:
                self.flat.take_gradients()
            try:
                if not share and self._ranks is not None:  # rows of another process's, or some that weigh nothing
                    if self._ranks.counts:
                        net.answer(x, y, weight=weight, keep=keep)
                    loss = self._no_part(first=mean is None)
                elif share == 1:  # as it is for most: no product with 1, which would be a kernel more
                    loss = net.gradients(x, y, self._one, weight=weight, add=mean is not None, keep=keep)
                else:
                    scale = self._one * share
                    loss = net.gradients(x, y, scale, weight=weight, add=mean is not None, keep=keep) * share
            except BaseException:
                if mean is None:
                    self.flat.leave_none()
                raise
            if self._penalty is not None and mean is None:
                for row in self.flat.rows:
                    row.grad[: row.weights] += self._penalty.gradient(row.data[: row.weights])
            mean = loss if mean is None else mean + loss
        assert mean is not None  # a step has a batch
        return mean

    def _no_part(self, *, first: bool) -> Tensor:
        if first:
            torch._foreach_zero_(self.flat.gradients)
        return torch.zeros_like(self._one)


class Net:
    """A model of known modules and its loss, once `why_not` has nothing against them.

    The parameters' `.grad` are tensors to be filled. mistakes: where those of a perceptron are counted.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        *,
        precision: str = "fp32",
        kernels: Kernels = "mkl",
        mistakes: Mistakes | None = None,
    ) -> None:
        modules = [m for m in _modules(model) if type(m) is not nn.Identity]
        lowest = next(i for i, m in enumerate(modules) if any(True for _ in m.parameters()))
        self.layers = [direct_layers.of(m, precision, kernels) for m in modules]
        if isinstance(first := self.layers[lowest], (Linear, LowLinear)):
            first.lowest = True  # below it nothing learns, and no delta is needed
        for below, layer, above in zip(self.layers, self.layers[1:], self.layers[2:], strict=False):
            if isinstance(layer, Activation) and isinstance(below, FRESH) and isinstance(above, FRESH):
                layer.work_in_place()
        self._forward = [layer.forward for layer in self.layers]
        self._backward = [layer.backward for layer in reversed(self.layers[lowest:])]
        low, self._wants_rows = precision == "bf16", not _flattens(modules)
        self._loss = direct_losses.of(loss, low=low, mistakes=mistakes)
        self._soft = direct_losses.Autograd(loss, low=low, mistakes=mistakes)
        self._by_row = self._loss if isinstance(self._loss, direct_losses.BY_ROW) else self._soft

    def why_not(self, x: Tensor, y: Tensor) -> str | None:
        """Why it can't take such a batch, in a few words; None where it can."""
        plain = type(x) is Tensor and type(y) is Tensor  # which they mostly are
        if (not plain and any(hands.is_foreign(type(t)) for t in (x, y))) or x.layout is not torch.strided:
            return "a batch is of a type of its own"
        if not x.numel():
            return "a batch has no rows"
        if y.shape[:1] != x.shape[:1] or (y.dtype is not x.dtype and y.is_floating_point()):
            return "targets are not as many as the inputs, or of another type"
        if self._wants_rows and x.ndim != 2:
            return f"inputs have {x.ndim} axes, and no Flatten stands before the first Linear"
        return "a batch wants gradients of its own" if x.requires_grad or y.requires_grad else None

    def gradients(
        self,
        x: Tensor,
        y: Tensor,
        scale: Tensor,
        *,
        weight: Tensor | None = None,
        add: bool = False,
        keep: answers.Answers | None = None,
    ) -> Tensor:
        """Leaves the gradients of scale * loss in the parameters' `.grad`, or adds them; returns the mean loss.

        x: [B, ...], y: [B] or [B, K], scale: a scalar tensor, weight: [B], keep: takes the answers. To be called in
        inference mode.
        """
        value, loss = self.answer(x, y, weight=weight, keep=keep)
        delta = loss.backward(scale)
        for backward in self._backward:
            delta = backward(delta, add)
        return value

    def answer(
        self, x: Tensor, y: Tensor, *, weight: Tensor | None, keep: answers.Answers | None
    ) -> tuple[Tensor, direct_losses.Loss]:
        """The first half of `gradients`: the mean loss, and what goes back from it."""
        for forward in self._forward:
            x = forward(x)
        if keep is not None:
            keep.add(x, y, weight)
        loss = self._loss
        # Kernels of class indices know no soft targets, which mixup and cutmix make; others do not ask what they get.
        soft = y.ndim not in loss.axes or (y.dtype is not torch.int64 if loss.hard else y.numel() != x.numel())
        if weight is not None:
            loss = self._soft if soft else self._by_row
            value = loss.weighted(x, y, weight)
        else:
            loss = self._soft if soft else loss
            value = loss.forward(x, y)
        return value, loss


def _modules(model: nn.Module) -> list[nn.Module]:
    """What a batch passes through, in order: sequences opened, also those of our own models."""
    if type(model) is models.Perceptron or type(model) is models.Linear or type(model) is models.MLP:
        return _modules(model.layers)
    if type(model) is codes.OneHot:
        return [*_modules(model.expand), *_modules(model.model)]
    if type(model) is nn.Sequential:
        return [part for child in model for part in _modules(child)]
    return [model]


def why_not(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    *,
    precision: str,
    device: torch.device,
    in_shape: Sequence[int] | None = None,
) -> str | None:
    """Why the direct step can't train this net, in a few words; None where it can.

    in_shape: of one sample, where it is known.
    """
    if (why := private.missing()) is not None:
        return why
    if precision not in direct_layers.PRECISIONS:
        return f"the direct step does not know {precision}"
    if device.type != "cpu":
        return f"the direct step is for CPUs, not {device.type}"
    if isinstance(optimizer, LBFGS):
        return "L-BFGS takes many gradients a step"
    if why := direct_losses.why_not(loss) or _unknown(model, in_shape):
        return why
    return "a function of torch has been replaced by another" if hands.replaced(model, loss) else hands.why_not(model)


def _unknown(model: nn.Module, in_shape: Sequence[int] | None) -> str | None:
    modules = _modules(model)
    if why := next(filter(None, map(direct_layers.why_not, modules)), None):
        return why
    if not _flattens(modules) and in_shape is not None and len(in_shape) != 1:
        return "no Flatten stands before its first Linear"
    if any(map(direct_layers.hides, every(model))):
        return "an attribute hides a tensor or a part of a module"
    parameters = list(model.parameters())
    if len(parameters) != sum(1 for m in modules for _ in m.parameters()):
        return "modules share parameters"
    if any(p.dtype not in (torch.float32, torch.float64) for p in parameters):
        return "the direct step does not know parameters of such a type"
    if any("forward" in vars(m) or m._compiled_call_impl is not None for m in every(model)):
        return "the model is compiled, or has a forward of its own"
    return None


def applied(model: nn.Module, kernels: Kernels) -> AbstractContextManager[object]:
    """In which a net that is known has these products where it runs by itself; it may be entered again and again."""
    large = kernels != "mkl" and any(type(m) is nn.Linear and suits(m.weight) for m in every(model))
    return Products(kernels) if large and not _unknown(model, None) else nullcontext()


def _flattens(modules: list[nn.Module]) -> bool:
    """Whether samples are rows when they come to the first product."""
    return isinstance(next((m for m in modules if isinstance(m, (nn.Linear, nn.Flatten))), None), nn.Flatten)
