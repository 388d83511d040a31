"""Whether rows can be what a preprocessing was fitted for: raw ones, in its units; and not scaled a second time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Column, Preprocessing
from dltrain.data.tables.encoding import numbers
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_FAR = 6  # deviations: of any train rows at most 1 in 36 lay so far away (Chebyshev)
_ENOUGH = 10  # rows whose mean and deviation say something


_Moments = tuple[float, float]  # mean and deviation
_Compared = tuple[str, _Moments, _Moments]  # a column, what its rows have, and what the train rows had


def unlike(frame: pl.DataFrame, preprocessing: Preprocessing) -> str | None:
    """A sentence where the rows of a table lie far from the train rows, or have been scaled already; else None."""
    far: list[_Compared] = []  # columns far from the train rows'
    scaled: list[_Compared] = []  # those that a scale changes
    for column, values in zip(preprocessing["columns"], numbers(frame, preprocessing).numpy().T, strict=True):
        values = values[np.isfinite(values)]
        if not len(values) or (fitted := _middle(column)) is None:
            continue
        with np.errstate(over="ignore"):  # of numbers whose squares are none
            own = float(values.mean()), float(values.std())
        if abs(float(np.median(values)) - fitted[0]) > _FAR * fitted[1]:
            far.append((column["name"], own, fitted))
        if not _standard(*fitted):
            scaled.append((column["name"], own, fitted))
    other = next((each for each in scaled if not _alike(*each[1:])), None)
    if other and len(frame) >= _ENOUGH and all(_standard(*own) for _, own, _ in scaled):
        return (
            f"the rows look scaled already ({_compared(*other)}), and were scaled once more: give them as they "
            "stood in the table; prepared ones, such as a part of dltrain.data's, go to evaluate(part)"
        )
    if far:
        more = f", and {len(far) - 1} more" if len(far) > 1 else ""
        return (
            f"the rows lie far from those that the run was fitted on ({_compared(*far[0])}{more}): are the units the "
            "same, and have the rows not been scaled before?"
        )
    return None


def _middle(column: Column) -> _Moments | None:
    """Mean and deviation of the train rows' values, or the middle and half the range; None where neither is known."""
    if "std" in column:
        return column["mean"], column["std"]
    if "quantiles" in column:
        low, high = column["quantiles"][0], column["quantiles"][-1]
        return (low + high) / 2, (high - low) / 2
    return None


def _standard(mean: float, deviation: float) -> bool:
    return abs(mean) < 1 and 0.3 < deviation < 3


def _alike(own: _Moments, fitted: _Moments) -> bool:
    """Whether rows have about the train rows' figures, which may lie near standard ones themselves."""
    return abs(own[0] - fitted[0]) < fitted[1] and fitted[1] / 2 < own[1] < 2 * fitted[1]


def _compared(name: str, own: _Moments, fitted: _Moments) -> str:
    return f"column '{name}': {own[0]:.3g} ± {own[1]:.2g}, where the train rows had {fitted[0]:.3g} ± {fitted[1]:.2g}"


def unlike_pixels(pixels: Tensor, preprocessing: Preprocessing) -> str | None:
    """A sentence where raw pixels [N, C, H, W] spread by a sixth, or by six times, of what the train images did."""
    full = 255 if pixels.dtype == torch.uint8 else preprocessing.get("levels", 255)
    shares = pixels.double() / full
    if not shares.numel():
        return None
    means, stds = (torch.tensor(preprocessing[key], dtype=torch.float64) for key in ("mean", "std"))
    mean, std = means.mean().item(), (stds.square().mean() + means.var(correction=0)).sqrt().item()
    known = mean > 0  # the 8x8 digits may be scaled by constants
    low, high = (share.item() for share in shares.aminmax())
    if _FAR * high >= (min(1, mean + 2 * std) if known else 1) and not (
        known and shares.std(correction=0) > _FAR * std
    ):
        return None
    fitted = f"lay around {full * mean:.3g} ± {full * std:.2g}" if known else f"reached {full}"
    return (
        f"the pixels reach from {full * low:.3g} to {full * high:.3g} of {full}, where the train images' {fitted}: are "
        "they on the same scale?"
    )


def check_pixels(pixels: Tensor, preprocessing: Preprocessing) -> None:
    """Raises DataError for pixels that can't be raw ones: below 0, above the full level, or all between 0 and 1.

    Bytes can be nothing else.
    """
    if pixels.dtype == torch.uint8 or not pixels.numel():
        return
    full = preprocessing.get("levels", 255)
    low, high = (float(t) for t in pixels.aminmax())
    if not (low >= -1e-3 and high <= full + 1e-3):  # what was scaled back misses them by a rounding
        raise DataError(
            f"pixels from {low:.4g} to {high:.4g}: the run takes raw ones, from 0 to {full}, and scales them itself; "
            "prepared ones, such as a part of dltrain.data's, go to evaluate(part)"
        )
    if 0 < high <= 1:
        raise DataError(f"pixels from {low:.4g} to {high:.4g}: the run takes them from 0 to {full}; multiply by {full}")
