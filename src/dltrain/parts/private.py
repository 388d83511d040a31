"""What is called of torch that is not its public face: looked for in one place, by name and signature.

Where a release of torch has it no longer, or otherwise, the quick steps are not taken; the plain one needs none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.optim import optimizer as torch_optimizer
from torch.utils import _device

_KERNELS = {  # an operation of aten: how many tensors it gives, and its arguments as they are called
    "threshold_backward.default": (1, "grad_output self threshold"),
    "threshold_backward.grad_input": (1, "grad_output self threshold grad_input"),
    "leaky_relu_backward.default": (1, "grad_output self negative_slope self_is_result"),
    "gelu_backward.default": (1, "grad_output self approximate"),
    "native_batch_norm_backward.default": (
        3,
        "grad_out input weight running_mean running_var save_mean save_invstd train eps output_mask",
    ),
    "native_layer_norm_backward.default": (3, "grad_out input normalized_shape mean rstd weight bias output_mask"),
    "embedding_dense_backward.default": (1, "grad_output indices num_weights padding_idx scale_grad_by_freq"),
    "tanh_backward.default": (1, "grad_output output"),
    "sigmoid_backward.default": (1, "grad_output output"),
    "silu_backward.default": (1, "grad_output self"),
    "mse_loss_backward.default": (1, "grad_output self target reduction"),
    "huber_loss_backward.default": (1, "grad_output self target reduction delta"),
    "nll_loss_forward.default": (2, "self target weight reduction ignore_index"),
    "nll_loss_backward.default": (1, "grad_output self target weight reduction ignore_index total_weight"),
    "_log_softmax_backward_data.default": (1, "grad_output output dim input_dtype"),
    "_foreach_copy_.default": (0, "self src non_blocking"),
    "_foreach_zero_.default": (0, "self"),
    "_fused_sgd_.default": (
        0,
        "self grads momentum_buffer_list weight_decay momentum lr "
        "dampening nesterov maximize is_first_step grad_scale found_inf",
    ),
    "_fused_adam_.default": (
        0,
        "self grads exp_avgs exp_avg_sqs max_exp_avg_sqs state_steps lr "
        "beta1 beta2 weight_decay eps amsgrad maximize grad_scale found_inf",
    ),
    "_fused_adamw_.default": (
        0,
        "self grads exp_avgs exp_avg_sqs max_exp_avg_sqs state_steps lr "
        "beta1 beta2 weight_decay eps amsgrad maximize grad_scale found_inf",
    ),
}
_OF_MODULES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_compiled_call_impl")
_OF_OPTIMIZERS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_OF_WEIGHTS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_IN_PLACES = (
    (F, ("_verify_batch_size",)),
    (torch_module, ("_has_any_global_hook",)),
    (torch_optimizer, ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks", "_get_scalar_dtype")),
    (torch, ("_foreach_copy_", "_foreach_zero_", "_fused_sgd_", "_fused_adam_", "_fused_adamw_")),
    (torch, ("_log_softmax_backward_data",)),
    (torch.overrides, ("_get_current_function_mode_stack",)),
    (_device, ("DeviceContext",)),
    (torch._C, ("_len_torch_dispatch_stack", "_len_torch_function_stack")),
    (torch._C._autograd, ("_top_saved_tensors_default_hooks",)),
)


class _Aten:
    """`torch.ops.aten`, of which a name that is missing is nothing until it is called."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.ops.aten, name, None) or SimpleNamespace(default=None, grad_input=None)


aten = _Aten()


@cache
def missing() -> str | None:
    """What this torch has not as the quick steps call it, in a few words; None where nothing is missing."""
    for place, names in _IN_PLACES:
        for name in names:
            if not hasattr(place, name):
                return _words(f"{place.__name__}.{name}")
    weight = nn.Parameter(torch.zeros(1))
    for thing, names in ((nn.Module(), _OF_MODULES), (weight, _OF_WEIGHTS)):
        for name in names:
            if not hasattr(thing, name):
                return _words(f"{type(thing).__name__}.{name}")
    for name in _OF_OPTIMIZERS:  # not of one that is made, which would import torch's compiler
        if name not in torch_optimizer.Optimizer.__annotations__:
            return _words(f"Optimizer.{name}")
    return next((_words(f"aten::{name}") for name in _KERNELS if not _as_called(name)), None)


def _words(name: str) -> str:
    return f"torch {torch.__version__} has no {name} as it is called"


def _as_called(name: str) -> bool:
    """Whether it takes these arguments in this order, and no others that must be given."""
    results, wanted = _KERNELS[name]
    packet, _, overload = name.partition(".")
    try:
        found = getattr(getattr(torch.ops.aten, packet), overload)._schema
    except AttributeError:
        return False
    names, given = [a.name for a in found.arguments], wanted.split()
    rest = found.arguments[len(given) :]
    return names[: len(given)] == given and len(found.returns) == results and all(a.has_default_value() for a in rest)


def only_sets_devices() -> bool:
    """Whether of torch's function modes that are on, none does more than `torch.set_default_device`.

    And not to the device of tensors without values: what a step keeps would be none.
    """
    modes = torch.overrides._get_current_function_mode_stack()
    return all(isinstance(mode, _device.DeviceContext) and mode.device.type != "meta" for mode in modes)


def has_linear() -> bool:
    """Whether `linear` can be called."""
    try:
        schema = torch.ops.mkldnn._linear_pointwise.default._schema
    except (AttributeError, RuntimeError):
        return False
    return [a.name for a in schema.arguments] == ["X", "W", "B", "attr", "scalars", "algorithm"]


def linear(*given: Any) -> Tensor:
    """oneDNN's x W^T + b, which torch has for its compiler."""
    return torch.ops.mkldnn._linear_pointwise.default(*given)


def lerp(averages: Sequence[Tensor], values: Sequence[Tensor], weight: float) -> None:
    """Moves each average a part of the way to its value."""
    if hasattr(torch, "_foreach_lerp_"):
        torch._foreach_lerp_(tuple(averages), tuple(values), weight)
        return
    for average, value in zip(averages, values, strict=True):
        average.lerp_(value, weight)


try:
    from torch._higher_order_ops import scan
except ImportError:  # each step then has a call of its own, as it has where a scan fails

    def scan(*_: object, **__: object) -> Any:
        raise RuntimeError("this torch has no scan")
