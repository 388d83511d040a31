"""From rows held in memory to `Data`: the three parts, the task, and as what a regression's targets are learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Data, Preprocessing, Task, Tensors, fallback, single
from dltrain.data.tables.scales import fence, skewness, tied
from dltrain.data.tables.table import listed
from dltrain.data.units import TargetTransform, check, check_squares, fit
from dltrain.errors import ConfigError

LACKING = "without a "  # begins a note on classes that a part lacks


def assemble(
    x: Tensor | tuple[Tensor, Tensor, Tensor],
    y: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    classes: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    target_transform: TargetTransform = "standard",
    preprocessing: Preprocessing,
    fill: tuple[float, ...] | None = None,
    notes: tuple[str, ...] | list[str] = (),
    origin: Callable[[int], str] | None = None,
    weights: np.ndarray | None = None,
) -> Data:
    """Share out x float32 [N, ...] and y by `rows` (train, val, test); of x the three parts may be there already.

    y holds class numbers [N] (two classes: binary), zeros and ones [N, K] beside K `classes` (multilabel), or
    values [N, K] beside K `targets` (regression, learned as `target_transform` says, by what the train rows are).
    origin: where a user finds a row, by its number. weights: how much each row counts, float32 [N].
    """
    units, far = None, list[str]()
    _check_transform(target_transform, classes)
    if targets:
        train, place = y[rows[0]], origin or "row {}".format
        check_squares(train, targets)
        check(target_transform, y, targets, place)
        far = _far(y, rows[0], targets, target_transform, place)
        units = fit(target_transform, train, targets) if target_transform != "none" else None
        far += _skewed(train, targets) if target_transform == "standard" else []
        far += _tied(train, targets) if target_transform == "quantile" else []
        y = y if units is None else units.standard(y)
    answers = torch.from_numpy(y.astype(np.int64 if y.ndim == 1 else np.float32))
    weight = None if weights is None else torch.from_numpy(weights)

    def part(inputs: Tensor, numbers: Tensor) -> Tensors:
        own = None if weight is None else weight[numbers]
        return Tensors(inputs, answers[numbers], units=units, rows=numbers, origin=origin, weight=own)

    parts = [torch.from_numpy(numbers) for numbers in rows]
    inputs = x if isinstance(x, tuple) else [x[numbers] for numbers in parts]
    train, val, test = map(part, inputs, parts)
    val, test, fallback_notes = fallback(train, val, test)
    return Data(
        train=train,
        val=val,
        test=test,
        task="regression" if targets else _class_task(y, classes),
        in_shape=tuple(train.x.shape[1:]),
        classes=classes,
        targets=targets,
        units=units,
        fill=fill,
        preprocessing=preprocessing,
        notes=(*notes, *far, *_rare(y, rows, classes), *fallback_notes),
    )


def _check_transform(transform: str, classes: tuple[str, ...]) -> None:
    if transform not in (known := get_args(TargetTransform)):
        raise ConfigError(f"data.target_transform={transform}: choose {', '.join(known)}")
    if classes and transform not in ("standard", "none"):
        raise ConfigError(
            f"data.target_transform={transform} is for numbers, and the target is the classes {listed([*classes], 4)}; "
            "leave it out"
        )


def _class_task(y: np.ndarray, classes: tuple[str, ...]) -> Task:
    if y.ndim == 2:
        return "multilabel"
    return "binary" if len(classes) == 2 else "multiclass"


def _rare(y: np.ndarray, rows: tuple[np.ndarray, np.ndarray, np.ndarray], classes: tuple[str, ...]) -> list[str]:
    """Notes on the classes, or labels, that a part does not show, and on classes of one row, which one part has."""
    if not classes:
        return []
    train, *judged = (_counts(y[part], len(classes)) for part in rows)
    alone = (train + sum(judged) == 1) & (y.ndim == 1)
    kinds = [(f"{LACKING}train row, so not to be learned", train == 0)]
    for name, counts in zip(("validation", "test"), judged, strict=True):
        if counts.any():
            kinds.append((f"{LACKING}{name} row, so not judged there", (counts == 0) & (train > 0) & ~alone))
    noun = "label" if y.ndim == 2 else "class"
    notes = [f"{what}: {noun} {listed([classes[i] for i in np.flatnonzero(of)], 10)}" for what, of in kinds if of.any()]
    shared = y.ndim == 1 and len(rows[0]) < len(y)
    return [*notes, *single(y[rows[0]][alone[y[rows[0]]]], classes)] if shared else notes


_SKEWED, _EVENED, _ENOUGH = 1.5, 0.5, 100  # skewness, the share of it that a logarithm may leave, rows to tell it by


def _skewed(train: np.ndarray, targets: tuple[str, ...]) -> list[str]:
    """Notes on targets float64 [N, K] above zero whose few large values outweigh the others, unlike their logarithms'.

    Over five splits of diamonds' prices (1.6) and taxis' fares (3.2) a logarithm made the absolute error a tenth less.
    """
    notes = []
    for name, values in zip(targets, train.T, strict=True):
        if len(values) < _ENOUGH or values.min() <= 0 or values.min() == values.max():
            continue
        skewed, evened = skewness(values), skewness(np.log(values))
        if skewed > _SKEWED and abs(evened) < _EVENED * skewed:
            notes.append(
                f"target '{name}': above zero and skewed ({skewed:.1f}, its logarithm {evened:.1f}): "
                "data.target_transform=log, which learns ratios, may have a smaller error"
            )
    return notes


def _tied(train: np.ndarray, targets: tuple[str, ...]) -> list[str]:
    """Notes on targets float64 [N, K] of which many are one value at an end, so that ranks leave a gap beside it."""
    return [
        f"target '{name}': {count:,} of {len(values):,} train rows have one value at an end, {end:g}, which "
        "data.target_transform=quantile puts far from all others: data.target_transform=standard may have a smaller "
        "error"
        for name, values in zip(targets, train.T, strict=True)
        for end, count in tied(values)
    ]


def _counts(y: np.ndarray, classes: int) -> np.ndarray:
    """Rows of each class, or with each label, int64 [classes]."""
    return (y > 0.5).sum(0) if y.ndim == 2 else np.bincount(y, minlength=classes)


def _far(
    y: np.ndarray, train: np.ndarray, targets: tuple[str, ...], transform: TargetTransform, place: Callable[[int], str]
) -> list[str]:
    """Notes on targets float64 [N, K] a few of whose values, as they are learned, lie absurdly far from the others of
    the train rows; ranks never do.
    """
    notes = []
    for name, told in zip(targets, y.T, strict=True) if transform != "quantile" else ():
        values = np.log(told) if transform == "log" else told
        if around := fence(values[train]):
            rows = np.flatnonzero((values < around[0]) | (values > around[1]))
            many, example = len(rows) > 1, f"{told[rows[0]]:g} at {place(int(rows[0]))}"
            notes.append(
                f"target '{name}': {len(rows)} value{'s' * many} far from all others ({example}), learned as "
                f"{'they stand: beside them' if many else 'it stands: beside it'} the others hardly differ; correct or "
                f"remove {'them' if many else 'it'}"
            )
    return notes
