"""The quantile scale of a table's column as operations of torch, which an exported net can hold."""

from __future__ import annotations

import torch
from torch import Tensor

from dltrain.data.tables.scales import LARGEST


def normal(values: Tensor, knots: Tensor) -> Tensor:
    """Values [N] on the scale of `data.tables.scales`, whose quantiles are `knots` [K]: interpolated from below and
    from above, their mean put on a normal shape.
    """
    ranks = torch.linspace(0, 1, len(knots), dtype=values.dtype, device=values.device)
    below = _interpolate(values, knots, ranks)
    above = -_interpolate(-values, -knots.flip(0), -ranks.flip(0))
    quantile = torch.where(values >= knots[-1], 1.0, (below + above) / 2)
    quantile = torch.where(values <= knots[0], 0.0, quantile).clamp(1 - LARGEST, LARGEST)
    return torch.special.ndtri(quantile)


def _interpolate(x: Tensor, knots: Tensor, ranks: Tensor) -> Tensor:
    low = (torch.searchsorted(knots, x, right=True) - 1).clamp(0, len(knots) - 2)
    slope = (ranks[low + 1] - ranks[low]) / (knots[low + 1] - knots[low])
    return slope * (x - knots[low]) + ranks[low]
