"""What users do to a model while it is trained: what a quick step rests on, taken down so that a change is seen, and
what only autograd and `Optimizer.step` can serve.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import is_

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from dltrain.parts.regularisers import EMA, Penalty

_PLAIN = (dict, list, tuple, set)
_CONTAINERS = (*_PLAIN, OrderedDict, defaultdict)  # and no others: a class of the user's may hold its values elsewhere
_SCHEDULED = ("params", "lr", "betas", "momentum")  # of a group; what a schedule moves is read at each step


def same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether two lists hold the very same objects."""
    return len(one) == len(other) and all(map(is_, one, other))


def footprint(model: nn.Module, loss: nn.Module, optimizer: Optimizer, *seams: object) -> list[object]:
    """All objects that decide what a step computes, but for the memory of parameters and state.

    Of a user's own modules attributes down through dicts, lists, tuples and sets; what lies inside other objects is
    not seen.
    """
    # Objects, to be compared by `is`: equality of tensors would compute, and a number by `id` could come again once its
    # object is gone.
    found: list[object] = [optimizer, *seams, bool(torch_module._has_any_global_hook()), watched()]
    _add_module(model, found)
    _add_module(loss, found)
    for group in optimizer.param_groups:
        for p in group["params"]:
            found += (p, p.requires_grad, bool(p._backward_hooks or p._post_accumulate_grad_hooks))
        found += [value for name, value in group.items() if name not in _SCHEDULED]
        # A schedule moves these at each step; what they are, and whether there is momentum at all, decides the rule.
        found += (group["lr"].__class__, bool(group.get("momentum")))
    found.append(step_hooks(optimizer))
    return found


def _add_module(module: nn.Module, found: list[object]) -> None:
    inside = module.__dict__
    found.append(module.__class__)
    found += inside.values()
    found += inside["_parameters"].values()
    found += inside["_buffers"].values()
    found.append(hooked(module))
    if module.__class__.__module__.partition(".")[0] not in ("torch", "dltrain"):
        _add_contents(inside.values(), found, set())
    for child in inside["_modules"].values():
        if child is not None:
            _add_module(child, found)


def _add_contents(values: Iterable[object], found: list[object], seen: set[int]) -> None:
    for value in values:
        if isinstance(value, _PLAIN) and value.__class__ in _CONTAINERS and id(value) not in seen:
            seen.add(id(value))
            inside = value.values() if isinstance(value, dict) else value
            found += inside
            _add_contents(inside, found, seen)


def watched() -> bool:
    """Whether torch has been told to look on at autograd, or to change what it computes."""
    return torch.is_autocast_enabled("cpu") or torch.is_anomaly_enabled()


def step_hooks(optimizer: Optimizer) -> bool:
    """Whether something is to happen around `optimizer.step()`, or in its place."""
    own = vars(optimizer).get("step")
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or (own is not None and not hasattr(own, "_wrapped_by_lr_sched"))  # which only counts
    )


def why_not(model: nn.Module) -> str | None:
    """Why a net can't be trained past autograd, in a few words; None where it can."""
    parameters = list(model.parameters())
    if not parameters or not all(p.requires_grad for p in parameters):
        return "some parameters are not trained"
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters):
        return "a parameter has a hook"
    if any(map(hooked, model.modules())) or torch_module._has_any_global_hook():
        return "the model has hooks"
    if any(type(p).__module__.partition(".")[0] != "torch" for p in parameters):
        return "a parameter is of a type of its own"
    if watched():
        return "autocast or anomaly detection is on around the trainer"
    return scattered(parameters)


def scattered(parameters: Sequence[Tensor]) -> str | None:
    """Why parameters can't be moved into one piece of memory, in a few words; None where they can."""
    if len({(p.dtype, p.device) for p in parameters}) > 1 or not parameters[0].is_floating_point():
        return "parameters are of several types"
    if not all(p.is_contiguous() for p in parameters):
        return "a parameter does not lie in one piece of memory"
    if _overlap(parameters):
        return "parameters share memory"
    return None


def hooked(m: nn.Module) -> bool:
    """Whether a module has a hook on its way forward or back."""
    return bool(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks)


def _overlap(parameters: Sequence[Tensor]) -> bool:
    real = [p for p in parameters if p.data_ptr()]  # others are on the meta device
    spans = sorted((p.data_ptr(), p.data_ptr() + p.nbytes) for p in real)
    shared = any(p.is_cpu and p.is_shared() for p in real)  # with other processes
    return shared or any(end > start for (_, end), (start, _) in pairwise(spans))


def ours(part: object) -> bool:
    """Whether a callable is this package's, or nothing: what leaves model and optimizer as they are, or changes values
    in place.
    """
    home = str(getattr(part, "__module__", None)).partition(".")[0]
    return part is None or (home == "dltrain" and all(map(ours, getattr(part, "transforms", ()))))


def keeps_memory(optimizer: Optimizer) -> bool:
    """Whether an optimizer is sure to change parameters where they lie, and nothing else of a model."""
    return type(optimizer).__module__.partition(".")[0] in ("torch", "dltrain")


def is_on_all(penalty: object, model: nn.Module) -> bool:
    """Whether a penalty is ours, and on all weights of a model."""
    weights = {id(p) for p in model.parameters() if p.ndim >= 2}
    return type(penalty) is Penalty and {*map(id, penalty.weights)} == weights


def strangers(model: nn.Module, optimizer: Optimizer, ema: object, schedule: object) -> list[str]:
    """What no longer belongs together, a sentence each."""
    found: list[str] = []
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    if left_out:
        found.append(
            f"{len(left_out)} of the model's parameters are not in the optimizer and stay as they are "
            f"({left_out[0]}, ...): make the optimizer anew, or use its add_param_group"
        )
    if isinstance(ema, EMA) and not ema.is_of(model):
        found.append("trainer.ema averages tensors that the model no longer has: make it anew")
    driven = getattr(getattr(schedule, "scheduler", schedule), "optimizer", optimizer)
    if driven is not optimizer:
        found.append("trainer.schedule sets the rates of another optimizer than trainer.optimizer: make it anew")
    return found
