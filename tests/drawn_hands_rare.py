"""What few users do between two steps, each drawn; and all hands together, `HANDS`. One that returns a trainer goes on
with that.
"""

import copy
import pickle
import sys
import warnings

import drawn_hands
import drawn_hands_on_torch
import torch
from drawn_hands import _layer, _module, _place, _tensor_like, _weight, _wrapped, kept, undo
from drawn_hands_on_torch import _patch, _states
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

# -- tensors -------------------------------------------------------------------------------------------------------


def buffer_of_another_kind(t, n):
    held = [(m, name) for m in t.model.modules() for name, b in m._buffers.items() if b is not None]
    if not held:
        return
    m, name = n.choice(held)
    b = m._buffers[name]
    n.choice([
        lambda: b.resize_(2).fill_(1),
        lambda: b.resize_(len(b) + 2 if b.ndim else 1).fill_(1),
        lambda: setattr(b, "data", torch.ones(2, dtype=b.dtype)),
        lambda: setattr(b, "data", torch.ones_like(b, dtype=torch.float64)),
        lambda: setattr(m, name, torch.ones_like(b, dtype=torch.float64)),
        lambda: setattr(m, name, torch.ones(*b.shape, 1, dtype=b.dtype)),
        lambda: setattr(m, name, None),
        lambda: delattr(m, name),
    ])()  # fmt: skip


def gradient_from_before(t, n):
    for p in t.parameters if n.random() < 0.5 else [_weight(t, n)]:
        if p.grad is not None:
            p.grad = n.choice([p.grad, p.grad.clone(), p.grad.detach().clone().requires_grad_()])


def gradient_of_another(t, n):
    p = _weight(t, n)
    for q in t.parameters:
        if q is not p and q.shape == p.shape and q.grad is not None and q.dtype == p.dtype:
            p.grad = q.grad


def frozen_with_a_gradient(t, n):
    p = _weight(t, n)
    p.requires_grad_(False)
    p.grad = _tensor_like(p, n)


def hidden_weight(t, n):
    m = _layer(t, n)
    name = n.choice([name for name, p in m._parameters.items() if p is not None] or ["weight"])
    value = getattr(m, name).detach() * 0.5
    m.__dict__[name] = value if n.random() < 0.5 else value.requires_grad_()


def no_weight(t, n):
    m = _layer(t, n)
    delattr(m, n.choice([name for name, p in m._parameters.items() if p is not None] or ["weight"]))


def one_tensor_of_all(t, n):
    # Each at a multiple of 64 bytes, for the last bits of products.
    ps, end, spans = list(t.model.parameters()), 0, []
    for p in ps:
        spans.append((end, end + p.numel()))
        end += -(-p.numel() // 16) * 16
    whole = torch.zeros(end, dtype=ps[0].dtype)
    for p, (a, b) in zip(ps, spans, strict=True):
        p.data = whole[a:b].view(p.shape).copy_(p.data)


def inference_weight(t, n):
    p = _weight(t, n)
    with torch.inference_mode():
        p.data = n.choice([p.data.clone(), p.data * 0.5])


# -- parameters that are computed --------------------------------------------------------------------------------------


def parametrized(t, n):
    class Halved(nn.Module):
        def forward(self, w):
            return w * 0.5

    how = n.choice([
        parametrizations.weight_norm,
        lambda m: parametrize.register_parametrization(m, "weight", Halved()),
        parametrizations.spectral_norm,
    ])  # fmt: skip
    m = _layer(t, n)
    if m.weight.ndim == 2 and not parametrize.is_parametrized(m):
        how(m)
        if n.random() < 0.5:
            held = {id(p) for group in t.optimizer.param_groups for p in group["params"]}
            if new := [p for p in m.parameters() if id(p) not in held]:
                t.optimizer.add_param_group({"params": new})


def no_longer_parametrized(t, n):
    for m in t.model.modules():
        if parametrize.is_parametrized(m):
            parametrize.remove_parametrizations(m, "weight")


def old_weight_norm(t, n):
    m = _layer(t, n)
    if m.weight.ndim == 2 and "weight" in m._parameters:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.utils.weight_norm(m)


def pruned(t, n):
    m = _layer(t, n)
    if "weight" in m._parameters and m.weight.ndim == 2:
        prune.l1_unstructured(m, "weight", amount=0.4)


def no_longer_pruned(t, n):
    for m in t.model.modules():
        if prune.is_pruned(m) and any(isinstance(h, prune.BasePruningMethod) for h in m._forward_pre_hooks.values()):
            prune.remove(m, "weight")


# -- modules -------------------------------------------------------------------------------------------------------


class _Halving:
    """Gives half of each weight that is asked for."""

    def __getattr__(self, name):
        value = super().__getattr__(name)
        return value * 0.5 if name == "weight" else value


class _Setting:
    def __setattr__(self, name, value):
        super().__setattr__(name, value.double() if name == "running_mean" else value)


def own_attributes(t, n):
    m = _layer(t, n)
    kind, more = type(m), n.choice([_Halving, _Setting])
    if not issubclass(kind, (_Halving, _Setting, torch.jit.ScriptModule)):
        m.__class__ = type(kind.__name__, (more, kind), {"__module__": n.choice([kind.__module__, __name__])})


def patched_attributes(t, n):
    owner = n.choice([nn.Module, nn.Linear, type(_module(t, n))])
    inner = owner.__getattr__

    def get(self, name):
        value = inner(self, name)
        return value * 0.5 if name == "weight" and isinstance(value, torch.Tensor) else value

    _patch(n, owner, "__getattr__", get)


def patched_call_of_a_class(t, n):
    owner = type(_module(t, n))
    inner = owner.__call__
    _patch(n, owner, "__call__", lambda self, *a, **k: inner(self, *a, **k) * 0.9)


def load_with_a_hook(t, n):
    m = _module(t, n)
    factor = n.choice([0.5, 1.0])

    def change(module, _):
        with torch.no_grad():
            for p in module.parameters():
                p.mul_(factor)

    m.register_load_state_dict_post_hook(change)
    t.model.load_state_dict({k: v.clone() for k, v in t.model.state_dict().items()}, assign=n.random() < 0.5)


def compiled_model(t, n):
    part = n.choice([t.model, _module(t, n), t.loss])
    undo.append(torch.compiler.reset)
    part.compile(backend="eager")


def scripted(t, n):
    owner, name = _place(t, n)
    if any(isinstance(m, nn.modules.dropout._DropoutNd) for m in getattr(owner, name).modules()):
        return  # torch's first runs of a script draw other numbers from time to time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(owner, name, torch.jit.script(getattr(owner, name)))


# -- the trainer ---------------------------------------------------------------------------------------------------


def goes_on_with_a_copy(t, n):
    return copy.deepcopy(t)


def keeps_a_copy(t, n):
    kept.append(copy.deepcopy(t))
    if n.random() < 0.5:
        x, y = torch.ones(4, 6, dtype=next(t.model.parameters()).dtype), torch.zeros(4, dtype=torch.int64)
        kept[-1].step([(x, y, torch.arange(4))])


def pickled_state(t, n):
    state = pickle.loads(pickle.dumps(t.state_dict()))
    if n.random() < 0.7:
        t.load_state_dict(state)


# -- the optimizer -------------------------------------------------------------------------------------------------


def group_edited(t, n):
    group, p = n.choice(t.optimizer.param_groups), _weight(t, n)
    n.choice([
        lambda: group.update(params=list(reversed(group["params"]))),
        lambda: group.update(params=[q for q in group["params"] if q is not p]),
        lambda: group["params"].sort(key=lambda q: q.numel()),
        lambda: group["params"].append(p),
        lambda: group["params"].insert(0, group["params"].pop()),
        lambda: group.pop(n.choice(["weight_decay", "lr"])),
    ])()  # fmt: skip


def groups_edited(t, n):
    groups = t.optimizer.param_groups
    n.choice([
        lambda: groups.pop(),
        lambda: groups.reverse(),
        lambda: groups.append(dict(groups[0], params=[groups[0]["params"].pop()], lr=0.02)),
        lambda: setattr(t.optimizer, "param_groups", [dict(group) for group in groups]),
        lambda: groups[0]["params"].extend(groups.pop()["params"]) if len(groups) > 1 else None,
    ])()  # fmt: skip


def state_of_another_kind(t, n):
    for state, name, value in _states(t, n):
        n.choice([
            lambda s=state, k=name, v=value: s.update({k: v.double()}),
            lambda s=state, k=name, v=value: s.update({k: v.bfloat16()}),
            lambda s=state, k=name, v=value: s.update({k: v.reshape(-1)}),
            lambda s=state, k=name, v=value: s.update({k: v[:1]}),
            lambda s=state, k=name, v=value: setattr(v, "data", v.data.double()),
            lambda s=state, k=name, v=value: s.pop(k),
            lambda s=state, k=name, v=value: s.update({k: None}),
            lambda s=state, k=name, v=value: s.update(more=v),
        ])()  # fmt: skip


def count_of_another_kind(t, n):
    for state in [t.optimizer.state.get(p, {}) for p in t.parameters]:
        if isinstance(state.get("step"), torch.Tensor):
            state["step"] = n.choice([float, torch.Tensor.double, lambda s: s.reshape(1)])(state["step"])


# -- torch itself --------------------------------------------------------------------------------------------------


def _set(get, change, value):
    before = get()
    undo.append(lambda: change(before))
    change(value)


def no_gradients(t, n):
    _set(torch.is_grad_enabled, torch.set_grad_enabled, False)


def deterministic(t, n):
    _set(torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True)


def flush_denormal(t, n):
    torch.set_flush_denormal(True)
    undo.append(lambda: torch.set_flush_denormal(False))


def default_device(t, n):
    around = torch.device(n.choice(["meta", "cpu"]))
    around.__enter__()
    undo.append(lambda: around.__exit__(None, None, None))


def inference(t, n):
    around = n.choice([torch.inference_mode, torch.no_grad])()
    around.__enter__()
    undo.append(lambda: around.__exit__(None, None, None))


def patched_update_of_one(t, n):
    inner = t.optimizer.step
    t.optimizer.step = _wrapped(
        n, lambda *a: [p.grad.mul_(0.5) for p in t.parameters if p.grad is not None] and inner(*a), inner
    )


# What costs too much to be looked at before each step that a user makes by hand; docs/steps.md says so.
SEEN_AT_REPORTS = ("node_hook",)
_FILES = (drawn_hands, drawn_hands_on_torch, sys.modules[__name__])
HANDS = {name: hand for file in _FILES for name, hand in drawn_hands.named(file).items()}
