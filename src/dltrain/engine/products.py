"""Which kernels make the products of a Linear: MKL's, which torch calls, or oneDNN's, which its wheels carry as well.

MKL keeps to AVX2 on a processor that is not Intel's. oneDNN takes AVX-512 there, too, and halves the time of a large
product where the processor computes 512 bits at once (AMD's Zen 5). Where it makes two halves of them (Zen 4), a tenth
to a fifth is won of the products that have many rows, outputs and gradients of inputs, and nothing of the gradients of
weights: `mixed` leaves those to MKL. The choice is made once for a run, from the processor alone and never by the
clock, so that a command gives the same bits on the same kind of machine.

`use` sets it for the process, as torch's own switches are set; a Trainer keeps what was set when it was made. Only nets
that the direct step knows have them, under every step and where they are judged: there it is known what runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dltrain.errors import system
from dltrain.parts import private

Kernels = Literal["mkl", "mixed", "onednn"]  # mixed: oneDNN's, but for the gradients of weights
# What a call of oneDNN's costs beyond the product, 15 microseconds, is as much as it saves on Zen 5 of a product of 1.5
# million multiplications on one thread, of 3 million on two; on Zen 4 of one of about 16 million.
MULTIPLICATIONS = {"onednn": 3_000_000, "mixed": 16_000_000}  # rows x weights
LARGE, NARROW = (
    20_000,
    64,
)  # weights of a Linear, and the least of its inputs and outputs: else MKL is as fast, or faster
_HALVES, _WIDE = 25, 26  # the families of AMD's first processors with 512 bits, in two halves and at once
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # of the environment

_used: Kernels = "mkl"


def use(kernels: Kernels | Literal["auto"]) -> None:
    """Those of Trainers that are made, and of what is judged, from here on in this process; torch's own where oneDNN
    can't be had.
    """
    global _used
    wanted = chosen()[0] if kernels == "auto" else kernels
    _used = wanted if why_not() is None else "mkl"


def used() -> Kernels:
    return _used


def chosen() -> tuple[Kernels, str]:
    """What `auto` means on this processor, and why, in a few words."""
    if (why := why_not()) is not None:
        return "mkl", why
    maker, family = system.processor()
    if maker == "AuthenticAMD" and family >= _HALVES:
        return "onednn" if family >= _WIDE else "mixed", "MKL has no AVX-512 path on this processor"
    return "mkl", "oneDNN was not measured to win on this processor"


def why_not() -> str | None:
    """Why oneDNN can't make the products, in a few words; None where it can."""
    if not private.has_linear() or not torch.backends.mkldnn.enabled:
        return "this torch does not offer oneDNN's"
    limits = [os.environ.get(name, "ALL").upper() for name in _LIMITS]
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or any("AVX512" not in x and x != "ALL" for x in limits):
        return "the processor has no AVX-512, or may not use it"
    return None


def suits(weight: Tensor) -> bool:
    """Whether a Linear of this weight is one whose products oneDNN makes faster, of enough rows."""
    wide = weight.numel() >= LARGE and min(weight.shape) >= NARROW
    return wide and weight.dtype == torch.float32 and weight.device.type == "cpu"


def least_rows(weight: Tensor, kernels: Kernels) -> int:
    """From how many rows on it does: of none there is nothing to make."""
    return max(1, -(-MULTIPLICATIONS[kernels] // weight.numel()))


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b^T + bias by oneDNN; a: [M, K], b: [N, K], bias: [N]."""
    try:
        return private.linear(a, b, bias, "none", [], "")
    except RuntimeError:  # torch's own says what does not fit
        return F.linear(a, b, bias)


class Products(TorchFunctionMode):
    """In which Linears of plain tensors are oneDNN's, for a net that the direct step knows; it may be entered again."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__()
        self.kernels: Kernels = kernels

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and not kwargs and len(args) == 3 and not types and _is_plain(*args, self.kernels):
            return _Linear.apply(*args, self.kernels == "onednn")
        return func(*args, **(kwargs or {}))


def _is_plain(x: Tensor, weight: Tensor, bias: Tensor | None, kernels: Kernels) -> bool:
    # Other modes want to see it, but one that sets the device of what is made.
    others = torch._C._len_torch_function_stack() and not private.only_sets_devices()
    alike = x.dtype == weight.dtype and x.device == weight.device and not torch.is_autocast_enabled("cpu")
    return not others and alike and suits(weight) and x.ndim == 2 and len(x) >= least_rows(weight, kernels)


def _outer(delta: Tensor, x: Tensor) -> Tensor:
    """a b^T by the call that torch's autograd makes, whose bits `torch.inner` does not always have."""
    return torch.mm(delta, x.t())


class _Linear(torch.autograd.Function):
    """z = x W^T + b, and what torch's autograd makes of it, by oneDNN; the gradient of W by it only where `outer`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, outer: bool) -> Tensor:  # pyrefly: ignore[bad-override]
        of_x, of_weight, *_ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        ctx.outer = product if outer else _outer
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        (delta,), (x, weight) = given, ctx.saved_tensors
        # Where the gradient's own gradient is asked for it takes torch's products, which have one.
        times, outer = (torch.inner, torch.inner) if torch.is_grad_enabled() else (product, ctx.outer)
        return (
            None if weight is None else times(delta, weight.t()),
            None if x is None else outer(delta.t(), x.t()),
            delta.sum(0) if ctx.needs_input_grad[2] else None,
            None,
        )
