"""What users do to a model while it is trained: what a quick step rests on, taken down so that a change is seen, and
what only autograd and `Optimizer.step` can serve.
"""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter, is_, itemgetter
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

from dltrain.parts import private
from dltrain.parts.modules import every
from dltrain.parts.regularisers import EMA, Penalty

_PLAIN = (dict, list, tuple, set)
_CONTAINERS = (*_PLAIN, OrderedDict, defaultdict)  # and no others: a class of the user's may hold its values elsewhere
_SCHEDULED = ("params", "lr", "betas", "momentum")  # of a group; what a schedule moves is read at each step
_HOOKS = itemgetter("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# What known modules and losses call by name, so that others see their own function in its place.
_FUNCTIONS = itemgetter(
    *("linear", "embedding", "relu", "leaky_relu", "gelu", "silu", "dropout", "batch_norm", "layer_norm"),
    *("cross_entropy", "mse_loss", "l1_loss", "huber_loss", "binary_cross_entropy_with_logits"),
)
_OF_TORCH, _OF_MODULES = (
    itemgetter("relu", "tanh", "sigmoid", "sign", "cat"),
    itemgetter("__call__", "_call_impl", "__getattr__"),
)
_OF_CLASSES = attrgetter("forward", "__call__", "__getattr__")


def _called() -> tuple[object, ...]:
    return _FUNCTIONS(F.__dict__) + _OF_TORCH(torch.__dict__) + _OF_MODULES(nn.Module.__dict__)


_AT_FIRST = _called()


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
    found: list[object] = [optimizer, optimizer.__class__.step, *seams, _called() == _AT_FIRST]
    found += (bool(torch_module._has_any_global_hook()), watched())
    _add_module(model, found)
    _add_module(loss, found)
    for group in optimizer.param_groups:
        for p in group["params"]:
            found += (p, p.requires_grad, bool(p._backward_hooks or p._post_accumulate_grad_hooks))
        found += [value for name, value in group.items() if name not in _SCHEDULED]
        # A schedule moves these at each step; what they are, and whether there is momentum at all, decides the rule.
        found += (group.get("lr").__class__, bool(group.get("momentum")))
    found.append(step_hooks(optimizer))
    return found


def _add_module(module: nn.Module, found: list[object]) -> None:
    inside = module.__dict__
    kind = module.__class__
    found.append(kind)
    try:  # `suppress` would take as long
        found += _OF_CLASSES(kind)
    except AttributeError:  # a script's class has no `forward`
        found.append(None)
    found += inside.values()
    found += inside["_parameters"].values()
    found += inside["_buffers"].values()
    found.append(any(_HOOKS(inside)))
    if is_foreign(module.__class__):
        _add_contents(inside.values(), found, set())
    for child in inside["_modules"].values():
        if child is not None:
            _add_module(child, found)


@lru_cache(maxsize=256)
def is_foreign(kind: type) -> bool:
    """Whether a class is neither torch's nor this package's."""
    return kind.__module__.partition(".")[0] not in ("torch", "dltrain")


def _add_contents(values: Iterable[object], found: list[object], seen: set[int]) -> None:
    for value in values:
        if isinstance(value, _PLAIN) and value.__class__ in _CONTAINERS and id(value) not in seen:
            seen.add(id(value))
            inside = value.values() if isinstance(value, dict) else value
            found += inside
            _add_contents(inside, found, seen)


def watched() -> bool:
    """Whether torch has been told to look on at what it computes, or to change it."""
    return bool(
        torch.is_autocast_enabled("cpu")
        or torch.is_anomaly_enabled()
        or torch._C._len_torch_dispatch_stack()
        or (torch._C._len_torch_function_stack() and not private.only_sets_devices())
        or torch._C._autograd._top_saved_tensors_default_hooks(False)
    )


def replaced(model: nn.Module, loss: nn.Module) -> bool:
    """Whether somebody has put his own in the place of a function that known modules call, or of their `forward`."""
    classes = {type(m) for m in (*every(model), *every(loss))}
    known = [c for c in classes if not is_foreign(c)]
    called = _called()
    return called != _AT_FIRST or not all(map(is_original, called)) or not all(map(_is_as_written, known))


def _is_as_written(kind: Any) -> bool:
    """Whether a class of torch's, or of ours, goes forward as was written for it, and is called as all modules are."""
    if (kind.__call__, kind.__getattr__) != (nn.Module.__call__, nn.Module.__getattr__):
        return False
    owner = next(c for c in kind.__mro__ if "forward" in vars(c))
    forward = vars(owner)["forward"]
    own = getattr(forward, "__qualname__", "") == f"{owner.__qualname__}.forward"
    return is_original(forward) and (own or owner is nn.Module) and not hasattr(forward, "__wrapped__")


def is_original(function: Any) -> bool:
    """Whether a function is torch's or this package's, and so is whatever it wraps."""
    # By where it was written: name, module and `__wrapped__`, a wrapper takes over from whatever it is told. What it
    # calls, it holds. torch itself wraps the step of an optimizer's class that it finds replaced.
    if isinstance(function, BuiltinFunctionType):
        return True
    if getattr(function, "__globals__", {}).get("__name__", "").partition(".")[0] not in ("torch", "dltrain"):
        return False
    held = [cell.cell_contents for cell in function.__closure__ or ()]
    return all(is_original(inner) for inner in held if isinstance(inner, (FunctionType, MethodType)))


class _Leaves(torch.autograd.Function):
    """A node on all parameters: what lies below it in the graph are those that accumulate their gradients."""

    @staticmethod
    def forward(ctx: object, *parameters: Tensor) -> Tensor:  # pyrefly: ignore[bad-override]
        return torch.empty(0)


@torch.inference_mode(False)
@torch.enable_grad()
def hooked_nodes(parameters: Sequence[Tensor]) -> bool:
    """Whether a node of autograd that accumulates a gradient has a hook. It costs 15 microseconds."""
    if not any(p.requires_grad for p in parameters):
        return False
    end = _Leaves.apply(*parameters)  # kept: in torch 2.10 a node lives no longer than what it made
    nodes = [node for node, _ in end.grad_fn.next_functions]
    del end  # while a graph holds a node, Python does not show what the node holds
    return any(gc.get_referents(*nodes))  # dicts of hooks, which may be empty again


def step_hooks(optimizer: Optimizer) -> bool:
    """Whether something is to happen around `optimizer.step()`, or in its place."""
    own = vars(optimizer).get("step")
    return bool(
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or (own is not None and not _only_counts(own, type(optimizer).step))
    )


def _only_counts(step: Any, of_class: object) -> bool:
    """Whether an optimizer's own `step` is the one that a scheduler of torch's has put there, around its class's."""
    inner = getattr(step, "__wrapped__", None)
    is_torchs = getattr(step, "__globals__", {}).get("__name__") == "torch.optim.lr_scheduler"
    return is_torchs and inner is of_class


def why_not(model: nn.Module) -> str | None:
    """Why a net can't be trained past autograd, in a few words; None where it can."""
    parameters = list(model.parameters())
    if not parameters or not all(p.requires_grad for p in parameters):
        return "some parameters are not trained"
    if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters):
        return "a parameter has a hook"
    if any(map(hooked, every(model))) or torch_module._has_any_global_hook():
        return "the model has hooks"
    if any(type(p).__module__.partition(".")[0] != "torch" for p in parameters):
        return "a parameter is of a type of its own"
    if hooked_nodes(parameters):
        return "a node of autograd has a hook"
    if watched():
        return "autocast, anomaly detection or a mode of torch is on around the trainer"
    return scattered(parameters)


def scattered(parameters: Sequence[Tensor]) -> str | None:
    """Why parameters can't be moved into one piece of memory, in a few words; None where they can."""
    if len({(p.dtype, p.device) for p in parameters}) > 1 or not parameters[0].is_floating_point():
        return "parameters are of several types"
    if any(p.is_inference() for p in parameters):
        return "a parameter was made in inference mode"
    if not all(p.is_contiguous() for p in parameters):
        return "a parameter does not lie in one piece of memory"
    if _overlap(parameters):
        return "parameters share memory"
    return None


def hooked(m: nn.Module) -> bool:
    """Whether a module has a hook on its way forward or back."""
    return any(_HOOKS(m.__dict__))


def _overlap(parameters: Sequence[Tensor]) -> bool:
    real = [p for p in parameters if p.data_ptr()]  # others are on the meta device
    spans = sorted((p.data_ptr(), p.data_ptr() + p.nbytes) for p in real)
    shared = any(p.is_cpu and p.is_shared() for p in real)  # with other processes
    return shared or any(end > start for (_, end), (start, _) in pairwise(spans))


def ours(part: object) -> bool:
    """Whether a callable is this package's, or nothing: what leaves model and optimizer as they are, or changes values
    in place.
    """
    if part is None:  # as most are, at each look
        return True
    home = str(getattr(part, "__module__", None)).partition(".")[0]
    return home == "dltrain" and all(map(ours, getattr(part, "transforms", ())))


def keeps_memory(optimizer: Optimizer) -> bool:
    """Whether an optimizer is sure to change parameters where they lie, and nothing else of a model."""
    return not is_foreign(type(optimizer))


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
