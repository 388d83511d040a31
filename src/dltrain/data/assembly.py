"""From rows held in memory to `Data`: the three parts, the task, and regression targets in standard units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Data, Preprocessing, Task, Tensors, fallback, single
from dltrain.data.tables.scales import fence, moments
from dltrain.data.tables.table import listed
from dltrain.errors import DataError


def assemble(
    x: Tensor | tuple[Tensor, Tensor, Tensor],
    y: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    classes: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    preprocessing: Preprocessing,
    fill: tuple[float, ...] | None = None,
    notes: tuple[str, ...] | list[str] = (),
    origin: Callable[[int], str] | None = None,
    weights: np.ndarray | None = None,
) -> Data:
    """Share out x float32 [N, ...] and y by `rows` (train, val, test); of x the three parts may be there already.

    y holds class numbers [N] (two classes: binary), zeros and ones [N, K] beside K `classes` (multilabel), or
    values [N, K] beside K `targets` (regression, standardised by the train rows' mean and standard deviation).
    origin: where a user finds a row, by its number. weights: how much each row counts, float32 [N].
    """
    mean = std = None
    far: list[str] = []
    if targets:
        far = _far(y, rows[0], targets, origin or "row {}".format)
        y, mean, std = _standardise(y, rows[0], targets)
    answers = torch.from_numpy(y.astype(np.int64 if y.ndim == 1 else np.float32))
    weight = None if weights is None else torch.from_numpy(weights)

    def part(inputs: Tensor, numbers: Tensor) -> Tensors:
        own = None if weight is None else weight[numbers]
        return Tensors(inputs, answers[numbers], None, None, mean, std, numbers, origin, own)

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
        target_mean=mean,
        target_std=std,
        fill=fill,
        preprocessing=preprocessing,
        notes=(*notes, *far, *_rare(y, rows, classes), *fallback_notes),
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
    kinds = [("without a train row, so not to be learned", train == 0)]
    for name, counts in zip(("validation", "test"), judged, strict=True):
        if counts.any():
            kinds.append((f"without a {name} row, so not judged there", (counts == 0) & (train > 0) & ~alone))
    noun = "label" if y.ndim == 2 else "class"
    notes = [f"{what}: {noun} {listed([classes[i] for i in np.flatnonzero(of)], 10)}" for what, of in kinds if of.any()]
    shared = y.ndim == 1 and len(rows[0]) < len(y)
    return [*notes, *single(y[rows[0]][alone[y[rows[0]]]], classes)] if shared else notes


def _counts(y: np.ndarray, classes: int) -> np.ndarray:
    """Rows of each class, or with each label, int64 [classes]."""
    return (y > 0.5).sum(0) if y.ndim == 2 else np.bincount(y, minlength=classes)


def _far(y: np.ndarray, train: np.ndarray, targets: tuple[str, ...], place: Callable[[int], str]) -> list[str]:
    """Notes on targets float64 [N, K] a few of whose values lie absurdly far from the others of the train rows."""
    notes = []
    for name, values in zip(targets, y.T, strict=True):
        if around := fence(values[train]):
            rows = np.flatnonzero((values < around[0]) | (values > around[1]))
            many, example = len(rows) > 1, f"{values[rows[0]]:g} at {place(int(rows[0]))}"
            notes.append(
                f"target '{name}': {len(rows)} value{'s' * many} far from all others ({example}), learned as "
                f"{'they stand: beside them' if many else 'it stands: beside it'} the others hardly differ; correct or "
                f"remove {'them' if many else 'it'}"
            )
    return notes


def _standardise(y: np.ndarray, train: np.ndarray, targets: tuple[str, ...]) -> tuple[np.ndarray, Tensor, Tensor]:
    """y float64 [N, K] in standard units, and what undoes it: mean and std [K], float32 where that is exact enough.

    Raises DataError for a target that float64 can't tell from a constant, or whose square it can't hold.
    """
    seen = y[train]
    mean, std = moments(seen)
    for k, name in enumerate(targets):
        if seen[:, k].min() == seen[:, k].max():
            raise DataError(f"target '{name}' is {seen[0, k]:g} in every one of the {len(train)} train rows")
        if not 1e-150 < std[k] < 1e150:
            raise DataError(
                f"target '{name}' varies by {std[k]:g}, whose square float64 can't hold: choose another unit"
            )
        if np.spacing(np.abs(seen[:, k]).max()) > 0.01 * std[k]:
            around = f"target '{name}' lies around {mean[k]:g} and varies by {std[k]:g}"
            raise DataError(f"{around}, which float64 rounds away; subtract a constant from it")
    # As stored, so that undoing it is exact. Where float32 is wide enough the bits are those of earlier runs.
    with np.errstate(over="ignore"):
        short = mean.astype(np.float32), std.astype(np.float32)
    if (np.abs(short[0] - mean) < 1e-3 * std).all() and np.allclose(short[1], std, rtol=1e-6, atol=0):
        mean, std = short
    return (y - mean) / std, torch.from_numpy(mean), torch.from_numpy(std)
