"""Mean, deviation and what lies absurdly far away, for numbers of any size that float64 holds; the quantile scale."""

from __future__ import annotations

import sys
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 1 - 1e-7  # the quantile beyond which the normal scale is cut (scikit-learn)
FAREST = 5.199337582290661  # deviations, where it is
_GAP = 100  # so many times as far from the median as all nearer values
_FEW = 0.1  # share of the values that may lie beyond the gap
_LEAST = 10  # values that must differ from the median before it
_TIED = 0.05  # share at one end that outweighs the others: of a target, it took the gain of ranks over plain values


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [...] of float64 [N, ...] over the first axis.

    Squares overflow from 1e154 on, so they are taken in a power of 2 near the largest value, which changes no bit.
    """
    largest = np.abs(values).max(axis=0)
    unit = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1))))
    return (values / unit).mean(axis=0) * unit, (values / unit).std(axis=0) * unit


def skewness(values: np.ndarray) -> float:
    """Of float64 [N] that differ: the mean cube of deviations from the mean, in standard deviations."""
    mean, std = moments(values)
    return float((((values - mean) / std) ** 3).mean())


def fence(values: np.ndarray) -> tuple[float, float] | None:
    """Limits of the ordinary ones among float64 [N], twice as far from the median as those reach; None if all are.

    The others, at most 10 %, lie beyond a gap: 100 times as far from the median as any value before it. On a common
    scale they would leave no difference between the ordinary ones.
    """
    quarter = values / 4  # so that differences can be held
    middle = np.median(quarter)
    away = np.sort(np.abs(quarter - middle))
    away = away[away > 0]
    first = max(_LEAST, len(away) // 2, len(away) - int(_FEW * len(values)))
    if first >= len(away):
        return None
    with np.errstate(over="ignore"):
        gaps = np.flatnonzero(away[first:] > _GAP * away[first - 1 : -1])
    if len(gaps) == 0:
        return None
    reach = 2 * away[first - 1 + gaps[0]]
    return float(4 * (middle - reach)), float(4 * (middle + reach))


def beyond(values: np.ndarray) -> tuple[float, float]:
    """Limits half as far again beyond the ends of float64 [N] as these lie apart.

    A net has learned nothing of what lies there, and its answer grows with it: of the diamonds one in 10,788 test rows
    with a depth five times the train rows' largest made 887 of a root mean squared error of 554.
    """
    low, high = float(values.min()), float(values.max())
    most = sys.float_info.max
    reach = high / 2 - low / 2  # halves, so that it can be held
    return max(low - reach, -most), min(high + reach, most)


def blurred(values: np.ndarray) -> bool:
    """Whether finite float64 [N] differ by less than a hundred of float32's steps, or are too large for it."""
    largest = np.abs(values).max()
    if not largest < float(np.finfo(np.float32).max):
        return bool(np.isfinite(largest))
    return bool(0 < values.std() < 100 * np.spacing(np.float32(largest)))


def squashed(values: np.ndarray, std: float) -> bool:
    """Whether half of those among float64 [N] that differ from the median do so by under a thousandth of `std`."""
    quarter = values / 4
    distance = np.abs(quarter - np.median(quarter))
    return bool(np.median(distance[distance > 0]) < std / 4000)


# -- the quantile scale --------------------------------------------------------------------------------------------


def quantiles(values: np.ndarray) -> list[float]:
    """The knots of a scale that puts finite float64 [N] on a normal shape."""
    knots = max(min(len(values) // 30, 1000), 10)  # as in Gorishniy et al. 2021 (rtdl)
    return np.quantile(values, np.linspace(0, 1, knots)).tolist()


def tied(values: np.ndarray) -> list[tuple[float, int]]:
    """The ends of float64 [N] that many rows share, and how many; ranks put these far from the next value."""
    ends = [(float(end), int((values == end).sum())) for end in (values.min(), values.max())]
    return [(end, count) for end, count in ends if count >= max(_LEAST, _TIED * len(values))]


def to_normal(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """float64 [N] on a normal shape, cut beyond the outer of the knots [K] (scikit-learn's QuantileTransformer).

    Ranks are interpolated from below and from above, so that ties get their middle rank.
    """
    import torch

    ranks = np.linspace(0, 1, len(knots))
    below, above = np.interp(values, knots, ranks), -np.interp(-values, -knots[::-1], -ranks[::-1])
    quantile = np.where(values <= knots[0], 0, np.where(values >= knots[-1], 1, (below + above) / 2))
    quantile = np.clip(quantile, 1 - LARGEST, LARGEST)
    return torch.special.ndtri(torch.from_numpy(quantile)).numpy()


def from_normal(scaled: Tensor, knots: Tensor) -> Tensor:
    """What values on a normal shape stood for, float64 [N, K], by the knots [Q, K] of each column.

    In operations that an exported net can hold, of ONNX too.
    """
    at = (1 + (scaled / sqrt(2)).erf()) / 2 * (len(knots) - 1)
    low = at.floor().clamp(0, len(knots) - 2).nan_to_num()  # a place, whatever an output is
    below, above = knots.gather(0, low.long()), knots.gather(0, low.long() + 1)
    return below + (above - below) * (at - low)
