"""Rows that do not count the same: any loss as the weighted mean sum(w_i l_i) / sum(w_i) of its rows.

Weights are float32 [B], zero or more, and lie on the CPU, as a batch's `index` does: their sum is then no question to
the device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dltrain.errors import ConfigError
from dltrain.parts import losses

_LEAST = float(torch.finfo(torch.float32).tiny)  # what divides where all weights of a batch are 0
_BY_CLASS = (losses.CrossEntropy, nn.CrossEntropyLoss, nn.NLLLoss)  # whose mean divides by the weights of the classes


def why_not(loss: nn.Module) -> str | None:
    """Why the rows of a loss can't have weights, in a sentence; None where they can."""
    reduction = getattr(loss, "reduction", None)
    if reduction == "mean":
        return None
    if isinstance(reduction, str):
        return (
            f"loss: {_name(loss)} has reduction={reduction!r}, and rows with weights need reduction='mean', which "
            "becomes their weighted mean"
        )
    return (
        f"loss: {_name(loss)} gives one number for a batch, and rows with weights need one for each: give it an "
        "argument `reduction`, with which 'none' is the loss of each row, as torch's losses have"
    )


def weighted_mean(loss: nn.Module, outputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The loss of a batch whose rows have weights, a scalar; 0 where all weights are.

    The loss is asked for that of each row, by `reduction="none"`, in the mode that it is in: class weights multiply
    those of rows, and label smoothing acts as it does without. outputs [B, K], target [B] or [B, K], weight [B]. Raises
    ConfigError for a loss that has none for each row.
    """
    if (why := why_not(loss)) is not None:
        raise ConfigError(why)
    loss.reduction = "none"  # pyrefly: ignore[bad-argument-type] - an attribute, no part
    try:
        each = loss(outputs, target)
    finally:
        loss.reduction = "mean"  # pyrefly: ignore[bad-argument-type]
    if each.shape[:1] != weight.shape:
        raise ConfigError(
            f"loss: with reduction='none' {_name(loss)} gives shape {list(each.shape)} for {len(weight)} rows, and not "
            "the loss of each"
        )
    return mean(each, weight, shares_of(loss, target))[0]


def mean(each: Tensor, weight: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The weighted mean of losses [B] or [B, ...], a scalar, and what that of each row is multiplied by for it, [B].

    weight: [B]. shares: what each loss counts for beside it, in its shape.
    """
    if each.ndim > 1:
        flat = each.reshape(len(weight), -1)
        each = flat.mean(1) if shares is None else flat.sum(1)
        shares = None if shares is None else shares.reshape(len(weight), -1).sum(1)
    each = each.to(torch.promote_types(each.dtype, weight.dtype))  # autocast leaves some in half precision
    weight = weight.to(each.device, each.dtype, non_blocking=True)
    whole = weight.sum() if shares is None else torch.dot(weight, shares.to(each.dtype))
    factors = weight / whole.clamp_min_(_LEAST)
    return torch.dot(each, factors), factors


def weighs_classes(loss: nn.Module) -> bool:
    """Whether the mean of a loss may divide by something else than rows: by the weights of their classes."""
    return isinstance(loss, _BY_CLASS) and (getattr(loss, "weight", None) is not None or hasattr(loss, "ignore_index"))


def shares_of(loss: nn.Module, target: Tensor) -> Tensor | None:
    """What each target counts for in the mean that torch makes of a loss by itself; None where all count the same."""
    if not isinstance(loss, _BY_CLASS) or target.is_floating_point():
        return None
    if isinstance(loss, losses.CrossEntropy):
        return loss.weight[target] if loss.training and loss.weight is not None else None
    one = torch.ones_like(target, dtype=torch.float32) if loss.weight is None else loss.weight[target.clamp_min(0)]
    return one.masked_fill(target == loss.ignore_index, 0)


def _name(loss: nn.Module) -> str:
    return loss.extra_repr() if type(loss).__name__ == "Function" else type(loss).__name__
