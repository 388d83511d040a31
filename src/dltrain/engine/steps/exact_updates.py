"""The updates of torch's own optimizers on a whole row, number by number: what torch would compute, to the bit.

g is the gradient (plus weight_decay * w, but for AdamW), lr the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from dltrain.engine.steps import hands
from dltrain.engine.steps.rows import Row
from dltrain.parts.optimizers import FUSED


def _sgd(row: Row) -> None:
    """w -= lr g; with momentum m: v = m v + g and w -= lr v, or w -= lr (g + m v) for Nesterov."""
    o, first = row.group, "momentum_buffer" not in row.state  # then v is g itself, as in torch
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
        row.counters().sub_(found_inf)  # the kernel left the update out


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
    # A Python number, as in torch: a tensor would round it to float32.
    rate = o["lr"] / (1 + (row.count().item() - 1) * o["lr_decay"])
    g, s = _decayed(row), row.buffer("sum", first=row.optimizer.defaults["initial_accumulator_value"])
    s.addcmul_(g, g, value=1)
    row.data.addcdiv_(g, s.sqrt().add_(o["eps"]), value=-rate)


def _decayed(row: Row) -> Tensor:
    decay = row.group["weight_decay"]
    return row.grad.add(row.data, alpha=decay) if decay else row.grad


RULES: dict[type, Callable[[Row], None]] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adam,
    RMSprop: _rmsprop,
    Adagrad: _adagrad,
}


def rule(optimizer: Optimizer) -> Callable[[Row], None] | None:
    """The rule of an optimizer as we make it: the fused kernel where there is one, else tensor by tensor."""
    rule = RULES.get(type(optimizer))
    special = ("maximize", "capturable", "differentiable", "centered", "foreach")
    if hands.step_hooks(optimizer) or not hands.is_original(type(optimizer).step):
        return None
    for group in optimizer.param_groups:
        if not optimizer.defaults.keys() <= group.keys():  # the optimizer itself says what it misses, and when
            return None
        numbers = group["lr"], group.get("momentum"), *group.get("betas", ())
        if any(group.get(name) for name in special) or any(isinstance(number, Tensor) for number in numbers):
            return None
        if bool(group.get("fused")) != (type(optimizer) in FUSED):  # torch's other kernels round in another order
            return None
    return rule
