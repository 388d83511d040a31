"""Which kernels make the products of a Linear: MKL's, which torch calls, or oneDNN's, which its wheels carry as well.

MKL keeps to AVX2 on a processor that is not Intel's. oneDNN takes AVX-512 there, too, and halves the time of a large
product where the processor computes 512 bits at once (AMD's Zen 5); where it makes two halves of them (Zen 4), little
is won. The choice is made once for a run, from the processor alone and never by the clock, so that a command gives the
same bits on the same kind of machine.

`use` sets it for the process, as torch's own switches are set. The direct step asks for it layer by layer; where a
model runs by itself, in the plain step and where it is judged, `applied` makes its Linears take the same products.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dltrain.errors import system
from dltrain.parts import private

Kernels = Literal["mkl", "onednn"]
LARGE = 20_000  # weights of a Linear: products of fewer are made while oneDNN is being called
_WIDE = 26  # the family of AMD's first processors with 512 bits at once

_used: Kernels = "mkl"


def use(kernels: Kernels | Literal["auto"]) -> None:
    """Those that layers take from here on, in this process; torch's own where oneDNN can't be had."""
    global _used
    wanted = chosen()[0] if kernels == "auto" else kernels
    _used = wanted if why_not() is None else "mkl"


def chosen() -> tuple[Kernels, str]:
    """What `auto` means on this processor, and why, in a few words."""
    if (why := why_not()) is not None:
        return "mkl", why
    maker, family = system.processor()
    if maker == "AuthenticAMD" and family >= _WIDE:
        return "onednn", "MKL has no AVX-512 path on this processor"
    return "mkl", "oneDNN was not measured to win on this processor"


def why_not() -> str | None:
    """Why oneDNN can't make the products, in a few words; None where it can."""
    if not private.has_linear():
        return "this torch does not offer oneDNN's"
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or "ONEDNN_MAX_CPU_ISA" in os.environ:
        return "the processor has no AVX-512, or may not use it"
    return None


def suits(weight: Tensor) -> bool:
    """Whether the products of a Linear of this weight are oneDNN's."""
    known = weight.dtype == torch.float32 and weight.device.type == "cpu"
    return _used == "onednn" and known and weight.numel() >= LARGE


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b^T + bias by oneDNN; a: [M, K], b: [N, K], bias: [N]."""
    return private.linear(a, b, bias, "none", [], "")


def applied(model: nn.Module) -> AbstractContextManager[object]:
    """In which a model's large Linears are computed as `suits` says; it may be entered again and again."""
    if _used == "mkl" or not any(isinstance(m, nn.Linear) and suits(m.weight) for m in model.modules()):
        return nullcontext()
    return nullcontext() if any(m._compiled_call_impl for m in model.modules()) else _Linears()


class _Linears(TorchFunctionMode):
    """Calls of `linear` go to `_Linear` where they can. It costs a microsecond for each call of torch that a model
    makes in Python, and a large product wins some hundreds.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and not kwargs and len(args) == 3 and _is_plain(*args):
            return _Linear.apply(*args)
        return func(*args, **(kwargs or {}))


def _is_plain(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    fits = x.ndim == 2 and x.shape[1] == weight.shape[1] and (bias is None or bias.dtype == weight.dtype)
    alike = x.dtype == weight.dtype and x.device == weight.device and not torch.is_autocast_enabled("cpu")
    return fits and alike and suits(weight)


class _Linear(torch.autograd.Function):
    """z = x W^T + b, and what torch's autograd makes of it, by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyrefly: ignore[bad-override]
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (delta,), (x, weight) = given, ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        # Where the gradient's own gradient is asked for it takes torch's products, which have one.
        times = torch.inner if torch.is_grad_enabled() else product
        return (
            times(delta, weight.t()) if of_x else None,
            times(delta.t(), x.t()) if of_weight else None,
            delta.sum(0) if of_bias else None,
        )
