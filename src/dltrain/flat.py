"""Parameters, gradients and optimizer state of a whole net, each in one row of memory, updated by one call.

The optimizer stays torch's: its groups give the rates at each step, and its state holds views of the rows, so that
what is saved and restored is what torch would save. The rules are those of torch's own updates, number by number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop


class Flat:
    """Lays an optimizer's parameters out in rows, one for each of its groups, and updates them.

    Parameters become views of a row, weights before what has fewer than two dimensions, and so do their `.grad`.
    An optimizer without a rule here updates the views by itself, and keeps its state as it is.
    """

    def __init__(self, optimizer: Optimizer, *, exact: bool = True) -> None:
        """exact: only by a rule that gives the bits which the optimizer, set as it is, would give."""
        self.optimizer = optimizer
        self._rule = _rule(optimizer) if exact else _RULES.get(type(optimizer))
        self.rows = [Row(optimizer, group, keeps_state=self._rule is not None) for group in optimizer.param_groups]

    def attach(self) -> None:
        """Takes in what others have put in the place of our views: weights, gradients, optimizer state."""
        for row, group in zip(self.rows, self.optimizer.param_groups, strict=True):
            row.group = group  # load_state_dict makes new ones
            row.attach()

    @property
    def fused(self) -> bool:
        """Whether one kernel makes the update, which takes the learning rate from the device, too."""
        return self._rule in (_sgd, _adam)

    @property
    def gradients(self) -> list[Tensor]:
        return [row.grad for row in self.rows]

    def step(self) -> None:
        """One update of all parameters."""
        if self._rule is None or not all(row.uniform for row in self.rows):
            self.optimizer.step()
            return
        for row in self.rows:
            self._rule(row)


class Row:
    """One group: `data`, `grad` and each `state` are as long as its parameters together; `step` counts updates."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any], *, keeps_state: bool = True) -> None:
        self.optimizer, self.group, self.keeps_state = optimizer, group, keeps_state
        self.parameters = sorted(group["params"], key=lambda p: p.ndim < 2)
        self._sizes = [p.numel() for p in self.parameters]
        self.data = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.grad = torch.zeros_like(self.data)
        self.weights = sum(p.numel() for p in self.parameters if p.ndim >= 2)  # how many come first
        self._pieces = _pieces(self._sizes)
        self.datas, self.grads = self.data.split(self._pieces), self.grad.split(self._pieces)
        self.state: dict[str, Tensor] = {}
        self._parts: dict[str, tuple[Tensor, ...]] = {}  # of each state, as fused kernels take them
        self.step: Tensor | None = None
        self._one = torch.ones(())  # a number would be made a tensor at each step, for twice the time of adding it
        self.uniform = True  # all parameters have the same kinds of state, and steps
        self.rates: dict[str, Tensor] | None = None  # the group's, on the device, where a graph looks for them
        self.attach()

    def _views(self, row: Tensor) -> list[Tensor]:
        return [part.view_as(p) for part, p in zip(row.split(self._sizes), self.parameters, strict=True)]

    @torch.inference_mode(False)  # what is made here must be of use outside, too
    def attach(self) -> None:
        for p, data, grad in zip(self.parameters, self._views(self.data), self._views(self.grad), strict=True):
            if p.data_ptr() != data.data_ptr():
                data.copy_(p.detach())
                p.data = data
            if p.grad is None or p.grad.data_ptr() != grad.data_ptr():
                p.grad = grad
        if not self.keeps_state:
            return
        states = [self.optimizer.state.get(p, {}) for p in self.parameters]
        steps = {float(s["step"]) for s in states if "step" in s}
        self.uniform = len({tuple(s) for s in states}) == 1 and len(steps) <= 1
        if self.uniform and states[0]:
            for name, value in states[0].items():
                if name == "step":
                    self._count(float(value))
                elif value is not None:
                    self._keep(name, torch.cat([s[name].reshape(-1) for s in states]))

    @property
    def lr(self) -> float | Tensor:
        return self.group["lr"] if self.rates is None else self.rates["lr"]

    def buffer(self, name: str) -> Tensor:
        """The state of that name; zeros at first."""
        if name not in self.state:
            with torch.inference_mode(False):
                self._keep(name, torch.zeros_like(self.data))
        return self.state[name]

    def buffers(self, name: str) -> tuple[Tensor, ...]:
        """The same in pieces."""
        self.buffer(name)
        return self._parts[name]

    def counter(self) -> Tensor:
        """The number of updates so far as torch keeps it: a float32 scalar."""
        if self.step is None:
            with torch.inference_mode(False):
                self._count(0.0)
        return self.step

    def count(self) -> Tensor:
        """The number of this update, from 1."""
        return self.counter().add_(self._one)

    def _keep(self, name: str, row: Tensor) -> None:
        self.state[name], self._parts[name] = row, row.split(self._pieces)
        for p, view in zip(self.parameters, self._views(row), strict=True):
            self.optimizer.state[p][name] = view

    def _count(self, value: float) -> None:
        self.step = torch.tensor(value, device=self.data.device)
        for p in self.parameters:
            self.optimizer.state[p]["step"] = self.step


def _pieces(sizes: list[int]) -> list[int]:
    """The row in as few pieces as give the bits that one call for each parameter gives.

    A fused kernel works through 64 bytes at a time, and what is left at the end it rounds differently: a piece may go
    on only where a parameter fills its last 64 bytes.
    """
    pieces = [0]
    for size in sizes:
        if pieces[-1] % 16:
            pieces.append(0)
        pieces[-1] += size
    return pieces


# -- rules -----------------------------------------------------------------------------------------------------
# g is the gradient (plus weight_decay * w, but for AdamW), lr the learning rate.


def _sgd(row: Row) -> None:
    """w -= lr g; with momentum m: v = m v + g and w -= lr v, or w -= lr (g + m v) for Nesterov."""
    o, first = row.group, "momentum_buffer" not in row.state
    torch._fused_sgd_(
        row.datas,
        row.grads,
        row.buffers("momentum_buffer") if o["momentum"] else [],
        weight_decay=o["weight_decay"],
        momentum=o["momentum"],
        lr=row.lr,
        dampening=o["dampening"],
        nesterov=o["nesterov"],
        maximize=False,
        is_first_step=first,
        grad_scale=None,
        found_inf=getattr(row.optimizer, "found_inf", None),
    )


def _adam(row: Row) -> None:
    """m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, w -= lr m' / (sqrt(v') + eps), ' for unbiased.

    AdamW shrinks w by lr * weight_decay * w instead of adding to g.
    """
    o, (beta1, beta2) = row.group, row.group["betas"]
    step, found_inf = row.count(), getattr(row.optimizer, "found_inf", None)
    update = torch._fused_adamw_ if o["decoupled_weight_decay"] else torch._fused_adam_
    update(
        row.datas,
        row.grads,
        row.buffers("exp_avg"),
        row.buffers("exp_avg_sq"),
        row.buffers("max_exp_avg_sq") if o["amsgrad"] else [],
        [step] * len(row.datas),
        lr=row.lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=o["weight_decay"],
        eps=o["eps"],
        amsgrad=o["amsgrad"],
        maximize=False,
        grad_scale=None,
        found_inf=found_inf,
    )
    if found_inf is not None:
        step.sub_(found_inf)  # the kernel left the update out


def _rmsprop(row: Row) -> None:
    """v = alpha v + (1 - alpha) g^2, w -= lr g / (sqrt(v) + eps); with momentum, u = m u + this, w -= lr u."""
    o = row.group
    row.count()
    g, v = _decayed(row), row.buffer("square_avg")
    v.mul_(o["alpha"]).addcmul_(g, g, value=1 - o["alpha"])
    root = v.sqrt().add_(o["eps"])
    if o["momentum"]:
        u = row.buffer("momentum_buffer").mul_(o["momentum"]).addcdiv_(g, root)
        row.data.add_(u, alpha=-o["lr"])
    else:
        row.data.addcdiv_(g, root, value=-o["lr"])


def _adagrad(row: Row) -> None:
    """s += g^2, w -= lr g / (sqrt(s) + eps)."""
    o = row.group
    rate = o["lr"] / (1 + (row.count().item() - 1) * o["lr_decay"])
    g, s = _decayed(row), row.buffer("sum")
    s.addcmul_(g, g, value=1)
    row.data.addcdiv_(g, s.sqrt().add_(o["eps"]), value=-rate)


def _decayed(row: Row) -> Tensor:
    decay = row.group["weight_decay"]
    return row.grad.add(row.data, alpha=decay) if decay else row.grad


_RULES: dict[type, Callable[[Row], None]] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adam,
    RMSprop: _rmsprop,
    Adagrad: _adagrad,
}


def _rule(optimizer: Optimizer) -> Callable[[Row], None] | None:
    """The rule of an optimizer as we make it: the fused kernel where there is one, else tensor by tensor."""
    rule = _RULES.get(type(optimizer))
    special = ("maximize", "capturable", "differentiable", "centered", "foreach")
    for group in optimizer.param_groups:
        if any(group.get(name) for name in special) or isinstance(group["lr"], Tensor):
            return None
        if bool(group.get("fused")) != (rule in (_sgd, _adam)):
            return None
    return rule
