"""From rows held in memory to `Data`: the three parts, the task, and regression targets in standard units."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Data, Tensors, fallback
from dltrain.errors import DataError


def assemble(
    x: Tensor,
    y: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    classes: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    preprocessing: dict[str, Any],
    fill: tuple[float, ...] | None = None,
    notes: tuple[str, ...] | list[str] = (),
) -> Data:
    """Share out x float32 [N, ...] and y by `rows` (train, val, test).

    y holds class numbers [N] (two classes: binary), zeros and ones [N, K] beside K `classes` (multilabel), or
    values [N, K] beside K `targets` (regression, standardised by the train rows' mean and standard deviation).
    """
    train, val, test = rows
    val, test, fallback_notes = fallback(train, val, test)
    mean = std = None
    if targets:
        y, mean, std = _standardise(y, train, targets)
    answers = torch.from_numpy(y.astype(np.int64 if y.ndim == 1 else np.float32))
    train_part = _part(x, answers, train)
    val_part = train_part if val is train else _part(x, answers, val)
    return Data(
        train=train_part,
        val=val_part,
        test=val_part if test is val else _part(x, answers, test),
        task="regression" if targets else _class_task(y, classes),
        in_shape=tuple(x.shape[1:]),
        classes=classes,
        targets=targets,
        target_mean=mean,
        target_std=std,
        fill=fill,
        preprocessing=preprocessing,
        notes=(*notes, *_absent(y, train, classes), *fallback_notes),
    )


def _part(x: Tensor, y: Tensor, rows: np.ndarray) -> Tensors:
    index = torch.from_numpy(rows)
    return Tensors(x[index], y[index])


def _class_task(y, classes):
    if y.ndim == 2:
        return "multilabel"
    return "binary" if len(classes) == 2 else "multiclass"


def _absent(y: np.ndarray, train: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """A note on the classes that no train row shows."""
    if not classes or y.ndim == 2:
        return []
    seen = set(np.unique(y[train]).tolist())
    names = [name for i, name in enumerate(classes) if i not in seen]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return [f"without a train row, so not to be learned: class {', '.join(names[:10])}{more}"] if names else []


def _standardise(y: np.ndarray, train: np.ndarray, targets: tuple[str, ...]) -> tuple[np.ndarray, Tensor, Tensor]:
    mean, std = y[train].mean(axis=0), y[train].std(axis=0)
    for name, spread, first in zip(targets, std, y[train[0]], strict=True):
        if not spread > 0:
            raise DataError(f"target '{name}' is {first:g} in every one of the {len(train)} train rows")
    mean, std = mean.astype(np.float32), std.astype(np.float32)  # as stored, so that undoing it is exact
    return (y - mean) / std, torch.from_numpy(mean), torch.from_numpy(std)
