"""What a user may do to the optimizer, to the trainer's seams and to torch itself between two steps, each drawn."""

import copy

import torch
import torch.nn.functional as F
from drawn_hands import _module, _weight, _wrapped, new_data, undo
from torch import nn, optim

from dltrain.parts import losses
from dltrain.parts.regularisers import EMA, MaxNorm, Penalty
from dltrain.parts.schedules import PureSchedule, TorchSchedule


def _patch(n, owner, name, value):
    before, own = getattr(owner, name), name in vars(owner)
    setattr(owner, name, _wrapped(n, value, before))
    undo.append(lambda: setattr(owner, name, before) if own else delattr(owner, name))


def _states(t, n):
    """The states of one parameter or of all: name and tensor, and the dict in which they are."""
    held = [t.optimizer.state.get(p, {}) for p in t.parameters]  # in this order: that of the state is nobody's business
    held = [s for s in held if any(isinstance(v, torch.Tensor) for v in s.values())]
    if held and n.random() < 0.5:
        held = [n.choice(held)]
    return [(s, k, v) for s in held for k, v in list(s.items()) if isinstance(v, torch.Tensor) and k != "step"]


# -- optimizer -----------------------------------------------------------------------------------------------------


def rates(t, n):
    for group in t.optimizer.param_groups if n.random() < 0.5 else [n.choice(t.optimizer.param_groups)]:
        group["lr"] = n.choice([0.03, 0.0, 1e-4])


def options(t, n):
    group = n.choice(t.optimizer.param_groups)
    for name, value in n.sample(
        [
            *(("momentum", 0.5), ("momentum", 0.0), ("nesterov", True), ("dampening", 0.2), ("weight_decay", 0.2)),
            *(("betas", (0.5, 0.6)), ("eps", 0.1), ("maximize", True), ("fused", None), ("fused", True)),
            *(("alpha", 0.5), ("lr_decay", 0.5), ("foreach", True), ("decoupled_weight_decay", True)),
            ("lr", torch.tensor(0.02)),
        ],
        3,
    ):
        if name in group:
            group[name] = value


def group_more(t, n):
    new = nn.Parameter(torch.zeros(2, dtype=next(t.model.parameters()).dtype))
    t.optimizer.add_param_group({"params": [new]})


def group_less(t, n):
    t.optimizer.param_groups[-1]["params"].pop()


def group_order(t, n):
    t.optimizer.param_groups[0]["params"].reverse()


def state_in_place(t, n):
    for _, _, value in _states(t, n):
        value.mul_(0.5)


def state_replaced(t, n):
    for state, name, value in _states(t, n):
        state[name] = value * 0.5


def state_data(t, n):
    for _, _, value in _states(t, n):
        value.data = value.data * 0.5


def state_gone(t, n):
    if n.random() < 0.5:
        t.optimizer.state.clear()
    else:
        t.optimizer.state.pop(_weight(t, n), None)


@torch.inference_mode(False)  # of tensors of that mode torch's own updates can make nothing outside of it
def state_new_dict(t, n):
    for p, state in list(t.optimizer.state.items()):
        t.optimizer.state[p] = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()}


def state_count(t, n):
    states = [s for p in t.parameters if isinstance((s := t.optimizer.state.get(p, {})).get("step"), torch.Tensor)]
    if n.random() < 0.5:
        for state in states:
            state["step"].add_(3)
    elif states:
        for state in states if n.random() < 0.5 else [n.choice(states)]:
            state["step"] = state["step"] + 3


def load_optimizer(t, n):
    state = copy.deepcopy(t.optimizer.state_dict())
    for group in state["param_groups"]:
        group["lr"] = group["lr"] * 0.5
    t.optimizer.load_state_dict(state)


def zero_grad(t, n):
    t.optimizer.zero_grad(set_to_none=n.random() < 0.5)


def own_step(t, n):
    x = torch.ones(4, 6, dtype=next(t.model.parameters()).dtype)
    t.optimizer.zero_grad()
    t.model(x).square().mean().backward()
    t.optimizer.step()


def own_backward(t, n):
    t.model(torch.ones(4, 6, dtype=next(t.model.parameters()).dtype)).square().mean().backward()


def looks(t, n):
    with torch.no_grad() if n.random() < 0.5 else torch.inference_mode():
        t.model(torch.ones(4, 6, dtype=next(t.model.parameters()).dtype))


def step_again(t, n):
    t.optimizer.step()


def step_of_its_own(t, n):
    inner = t.optimizer.step
    t.optimizer.step = _wrapped(n, lambda *a: (inner(*a), [p.data.mul_(0.9) for p in t.parameters])[0], inner)


def another_optimizer(t, n):
    made = n.choice([optim.RMSprop, optim.Adam, optim.NAdam])
    t.optimizer = made([p for p in t.model.parameters() if p.requires_grad], lr=0.003)


# -- seams ---------------------------------------------------------------------------------------------------------


def seam(t, n):
    n.choice([
        lambda: setattr(t, "clip_norm", n.choice([0.05, None])),
        lambda: setattr(t, "clip_value", n.choice([0.001, None])),
        lambda: setattr(t, "penalty", n.choice([None, Penalty(t.model, l2=0.05)])),
        lambda: setattr(t, "penalty", lambda: sum(p.abs().sum() for p in t.model.parameters()) * 0.01),
        lambda: setattr(t.penalty or t, "l2", 0.3),
        lambda: setattr(t, "constraint", MaxNorm(t.model, 0.3)),  # refused where there is no weight to hold
        lambda: setattr(t, "constraint", lambda: new_data(t, n)),
        lambda: setattr(t, "transform", lambda x, y, i, e: (x * 0.5, y)),
        lambda: setattr(t, "ema", n.choice([None, EMA(t.model, 0.5)])),
        lambda: setattr(t, "schedule", PureSchedule(t.optimizer, lambda k: (0.01 / (1 + k), None))),
        lambda: setattr(t, "schedule", TorchSchedule(optim.lr_scheduler.StepLR(t.optimizer, 2), interval="step")),
        lambda: setattr(t, "loss", n.choice([nn.MultiMarginLoss(), losses.CrossEntropy(), losses.MSE()])),
        lambda: [setattr(t.loss, a, v) for a, v in (("margin", 0.2), ("delta", 0.3), ("label_smoothing", 0.2))],
    ])()  # fmt: skip


# -- torch itself --------------------------------------------------------------------------------------------------


def patch_a_class(t, n):
    owner = type(_module(t, n)) if n.random() < 0.7 else n.choice([nn.Linear, nn.ReLU, nn.Sequential])
    inner = owner.forward
    _patch(n, owner, "forward", lambda self, *a, **k: inner(self, *a, **k) * 0.9)


def patch_the_call(t, n):
    name = n.choice(["__call__", "_call_impl"])
    inner = getattr(nn.Module, name)

    def call(self, *a, **k):
        out = inner(self, *a, **k)
        return out * 0.9 if type(self) is nn.Linear else out

    _patch(n, nn.Module, name, call)


def patch_the_loss(t, n):
    inner = type(t.loss).forward
    _patch(n, type(t.loss), "forward", lambda self, *a: inner(self, *a) * 2)


def patch_the_optimizer(t, n):
    owner = type(t.optimizer)
    inner = owner.step

    def step(self, *a, **k):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(0.5)
        return inner(self, *a, **k)

    _patch(n, owner, "step", step)


def patch_a_function(t, n):
    name = n.choice(["linear", "relu", "leaky_relu", "gelu", "silu", "dropout", "batch_norm", "layer_norm"])
    name = n.choice([name, "cross_entropy", "mse_loss", "binary_cross_entropy_with_logits", "linear", "linear"])
    inner = getattr(F, name)
    _patch(n, F, name, lambda *a, **k: inner(*a, **k) * 0.9)


def patch_torch(t, n):
    name = n.choice(["tanh", "sigmoid", "sign"])
    inner = getattr(torch, name)
    _patch(n, torch, name, lambda *a, **k: inner(*a, **k) * 0.9)


def under_a_mode(t, n):
    class Halves(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            return out * 0.5 if func is F.linear or func is torch._C._nn.linear else out

    mode = Halves()
    mode.__enter__()
    undo.append(lambda: mode.__exit__(None, None, None))


def saved_tensors(t, n):
    pack = torch.autograd.graph.saved_tensors_hooks(lambda x: x * 0.9 if x.is_floating_point() else x, lambda x: x)
    pack.__enter__()
    undo.append(lambda: pack.__exit__(None, None, None))


def autocast(t, n):
    around = torch.autocast("cpu", torch.bfloat16)
    around.__enter__()
    undo.append(lambda: around.__exit__(None, None, None))


def default_dtype(t, n):
    torch.set_default_dtype(torch.float64)
    undo.append(lambda: torch.set_default_dtype(torch.float32))


def anomaly(t, n):
    around = torch.autograd.detect_anomaly(check_nan=False)
    around.__enter__()
    undo.append(lambda: around.__exit__(None, None, None))
