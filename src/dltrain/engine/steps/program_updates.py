"""Updates as pure functions, whose rates are tensors: what a compiled step and a CUDA graph are made of.

`flat` has the kernels that give the bits of torch's own updates, with rates that are numbers; a program or a graph that
is to serve for all steps can hold no number that a schedule changes. Here the same formulas stand as torch has them;
they agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from dltrain.engine.steps import hands
from dltrain.engine.steps.rows import Row, is_uniform, state_names
from dltrain.parts import Group, private

Values = dict[str, Tensor]  # a row's, by the names of its state, or of its rates
_Update = Callable[[Values, Values, Group], Values]


def state(row: Row) -> Values:
    """What an update of a row starts from: weights w, gradient g, and the optimizer's state by its names."""
    names = state_names(row.optimizer, row.group)
    kept = {name: row.counters() if name == "step" else row.buffer(name) for name in names}
    return {"w": row.data, "g": row.grad, **kept}


def updated(old: Values, rates: Values, row: Row, finite: Tensor) -> Values:
    """The state after an update, or, where `finite` is false, the old one; nothing is changed in place."""
    new = {"g": old["g"], **_UPDATES[type(row.optimizer)](old, rates, row.group)}
    return {name: torch.where(finite, new[name], value) for name, value in old.items()}


def rates(row: Row) -> dict[str, float]:
    """What a schedule may change from step to step."""
    group = row.group
    if "betas" in group:
        return {"lr": group["lr"], "beta1": group["betas"][0], "beta2": group["betas"][1]}
    return {"lr": group["lr"], "momentum": group.get("momentum", 0.0)}


def why_not(model: nn.Module, optimizer: Optimizer, *, step: str, precision: str) -> str | None:
    """Why there is no such step with these updates, in a few words; None where there is."""
    if (why := private.missing()) is not None:
        return why
    if type(optimizer) not in _UPDATES:
        return f"there is no {step} step for {type(optimizer).__name__}"
    for group in optimizer.param_groups:
        if any(group.get(name) for name in ("maximize", "capturable", "differentiable", "centered", "dampening")):
            return f"the {step} step knows the optimizer's usual form only"
    if precision == "fp16":
        return f"the {step} step does not scale losses, as fp16 needs"
    if hands.step_hooks(optimizer):
        return "the optimizer has hooks"
    if not all(is_uniform(optimizer, group) for group in optimizer.param_groups):
        return "the optimizer's state is not alike for all parameters"
    return hands.why_not(model)


# -- the new weights and state of a row. s: its state; r: rates; o: the group's options ----------------------------


def _sgd(s: Values, r: Values, o: Group) -> Values:
    g = s["g"] + o["weight_decay"] * s["w"]
    if not o["momentum"]:
        return {"w": s["w"] - r["lr"] * g}
    v = r["momentum"] * s["momentum_buffer"] + g
    return {"w": s["w"] - r["lr"] * (g + r["momentum"] * v if o["nesterov"] else v), "momentum_buffer": v}


def _adam(s: Values, r: Values, o: Group) -> Values:
    shrunk = o["decoupled_weight_decay"]
    g = s["g"] if shrunk else s["g"] + o["weight_decay"] * s["w"]
    w = s["w"] * (1 - r["lr"] * o["weight_decay"]) if shrunk else s["w"]
    m = s["exp_avg"] + (1 - r["beta1"]) * (g - s["exp_avg"])
    v = r["beta2"] * s["exp_avg_sq"] + (1 - r["beta2"]) * g * g
    steps = s["step"] + 1  # once for each parameter
    new, top, step = {"step": steps, "exp_avg": m, "exp_avg_sq": v}, v, steps[0]  # all alike, as `why_not` has seen
    if o["amsgrad"]:
        new["max_exp_avg_sq"] = top = torch.maximum(s["max_exp_avg_sq"], v)
    root = (top / (1 - r["beta2"] ** step)).sqrt() + o["eps"]
    return {"w": w - r["lr"] / (1 - r["beta1"] ** step) * m / root, **new}


def _rmsprop(s: Values, r: Values, o: Group) -> Values:
    g = s["g"] + o["weight_decay"] * s["w"]
    v = o["alpha"] * s["square_avg"] + (1 - o["alpha"]) * g * g
    move = g / (v.sqrt() + o["eps"])
    new = {"step": s["step"] + 1, "square_avg": v}
    if not o["momentum"]:
        return {"w": s["w"] - r["lr"] * move, **new}
    u = r["momentum"] * s["momentum_buffer"] + move
    return {"w": s["w"] - r["lr"] * u, "momentum_buffer": u, **new}


def _adagrad(s: Values, r: Values, o: Group) -> Values:
    g = s["g"] + o["weight_decay"] * s["w"]
    total = s["sum"] + g * g
    rate = r["lr"] / (1 + s["step"][0] * o["lr_decay"])
    return {"w": s["w"] - rate * g / (total.sqrt() + o["eps"]), "step": s["step"] + 1, "sum": total}


_UPDATES: dict[type[Optimizer], _Update] = {
    SGD: _sgd,
    Adam: _adam,
    AdamW: _adam,
    RMSprop: _rmsprop,
    Adagrad: _adagrad,
}
