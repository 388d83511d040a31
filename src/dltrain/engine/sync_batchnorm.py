"""BatchNorm over the rows of all processes that share a batch, on any device: torch's SyncBatchNorm is for GPUs.

Within a step each process tells the others the mean and the sum of squares of its rows, one message a layer; on the way
back the two sums that the gradient of a batch's mean and variance is made of, one more. A row with which a process only
keeps step counts nothing. Elsewhere, as where somebody looks inside a net, each has its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from dltrain.engine.ranks import Ranks
from dltrain.parts.modules import BATCH_NORMS, every


class _Kept(FunctionCtx):
    """What the way back needs beside the tensors that are saved."""

    dims: list[int]
    shape: list[int]
    ranks: Ranks
    counts: bool
    whole: Tensor
    scale: Tensor
    saved_tensors: tuple[Tensor, Tensor | None]
    needs_input_grad: tuple[bool, ...]


class _Normalised(torch.autograd.Function):
    """x [B, C, ...] by the mean and variance of all processes' rows: (x - mean) / sqrt(var + eps) * weight + bias.

    Beside it the mean and the biased variance, [C], and of how many numbers they are, a scalar. Source: Ioffe & Szegedy
    2015; means of parts are put together as in Chan, Golub & LeVeque 1979.
    """

    @staticmethod
    def forward(  # pyrefly: ignore[bad-override] - torch's takes anything
        ctx: _Kept, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks, counts: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        dims = [0, *range(2, x.ndim)]
        ctx.dims, ctx.shape, ctx.ranks, ctx.counts = dims, [1, -1, *[1] * (x.ndim - 2)], ranks, counts
        var, mean = torch.var_mean(wide, dims, correction=0)
        count = x.numel() // x.shape[1] if counts else 0
        parts = ranks.all_gather(torch.cat([mean, var * count, mean.new_tensor([count])]))
        means, squares, sizes = parts.split([len(mean), len(mean), 1], 1)
        ctx.whole = whole = sizes.sum()
        mean = (means * sizes).sum(0) / whole
        var = (squares + sizes * (means - mean).square()).sum(0) / whole
        ctx.scale = scale = (var + eps).rsqrt()
        normal = (wide - mean.view(ctx.shape)) * scale.view(ctx.shape)
        ctx.save_for_backward(normal, weight)  # pyrefly: ignore[bad-argument-type] - it takes None, too
        ctx.mark_non_differentiable(mean, var, whole)
        y = normal if weight is None else normal * weight.view(ctx.shape)
        y = y if bias is None else y + bias.view(ctx.shape)
        return y.to(x.dtype), mean, var, whole

    @staticmethod
    @once_differentiable
    def backward(ctx: _Kept, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        normal, weight = ctx.saved_tensors
        delta = grad_outputs[0].to(normal.dtype)
        sums = torch.stack([delta.sum(ctx.dims), (delta * normal).sum(ctx.dims)])
        own = sums.clone()  # gradients of the parameters are averaged with all others
        dx = None
        if ctx.needs_input_grad[0]:
            ctx.ranks.all_reduce(sums)
            if ctx.counts:
                first, second = (s.view(ctx.shape) / ctx.whole for s in sums)
                delta = delta - first - normal * second
            scale = ctx.scale if weight is None else ctx.scale * weight
            dx = (delta * scale.view(ctx.shape)).to(grad_outputs[0].dtype)
        wanted = ctx.needs_input_grad
        return dx, own[1] if wanted[1] else None, own[0] if wanted[2] else None, None, None, None


if TYPE_CHECKING:
    _Norm = nn.BatchNorm1d  # or one of the others, which come behind it
else:
    _Norm = nn.Module


class _Synced(_Norm):
    ranks: Ranks

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or (passing := self.ranks.passing) is None:
            return super().forward(input)
        self._check_input_dim(input)
        counts, rows = passing
        if rows == 1 and input.numel() == input.shape[1]:  # as torch says it
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.size()}")
        y, mean, var, whole = _Normalised.apply(input, self.weight, self.bias, self.eps, self.ranks, counts)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                share = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                self.running_var.lerp_((var * (whole / (whole - 1))).to(self.running_var.dtype), share)
        return y


_KINDS: dict[type[nn.Module], type[_Synced]] = {
    kind: type(f"Sync{kind.__name__}", (_Synced, kind), {}) for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}


def why_not(model: nn.Module) -> str | None:
    """Why a model's BatchNorms can't be shared, in a few words; None where they can, or there are none."""
    strange = {type(m).__name__ for m in every(model) if isinstance(m, BATCH_NORMS) and type(m) not in _KINDS}
    return f"{', '.join(sorted(strange))} normalises in a way of its own" if strange else None


def is_for(model: nn.Module) -> bool:
    """Whether a model has a BatchNorm to share."""
    return any(type(m) in _KINDS for m in every(model))


def convert(model: nn.Module, ranks: Ranks) -> None:
    """Has all BatchNorms of a model share their rows; they stay the modules that they are, with names and tensors."""
    for module in every(model):
        if (kind := _KINDS.get(type(module))) is not None:
            module.__class__ = kind
            vars(module)["ranks"] = ranks
