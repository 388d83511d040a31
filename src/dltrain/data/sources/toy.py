"""Small sets drawn from a formula, mostly in the plane, to see what a model can and cannot learn; and typed rows.

The others draw `n` points from `seed` alone; `noise` is a standard deviation in the units of the points. Inputs are
left as drawn. With val=0 and test=0 all rows are used for all three parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from dltrain.data import Column, Data, Preprocessing, Tensors, fallback, split
from dltrain.data.assembly import assemble
from dltrain.data.split import Share
from dltrain.data.tables.scales import blurred
from dltrain.data.units import TargetTransform
from dltrain.errors import ConfigError
from dltrain.errors.system import free_memory

_POINT = 100  # bytes of memory for a point, at least, while it is drawn
_CLASSES = 1000  # that rows typed by hand may have


def xor(
    n: int = 1000,
    *,
    noise: float = 0.1,
    seed: int = 0,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Corners of the unit square, class 1 where exactly one coordinate is 1: no line separates them.

    n=4 with noise=0 are the four points (0,0), (0,1), (1,0), (1,1).
    """
    rng = _generator(n, noise, seed)
    corner = np.arange(n) % 4
    x = np.stack([corner // 2, corner % 2], axis=1)
    y = x[:, 0] ^ x[:, 1]
    return _shared_out(x + _blur(rng, noise, x), y, val, test, split_seed, classes=("0", "1"))


def moons(
    n: int = 1000,
    *,
    noise: float = 0.1,
    seed: int = 0,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Two half circles of radius 1 that reach into each other (scikit-learn's make_moons)."""
    rng = _generator(n, noise, seed)
    upper, lower = (np.linspace(0, np.pi, k) for k in (n // 2, n - n // 2))
    x = np.concatenate(
        [
            np.stack([np.cos(upper), np.sin(upper)], axis=1),
            np.stack([1 - np.cos(lower), 0.5 - np.sin(lower)], axis=1),
        ]
    )
    y = np.repeat([0, 1], [len(upper), len(lower)])
    return _shared_out(x + _blur(rng, noise, x), y, val, test, split_seed, classes=("upper", "lower"))


def circles(
    n: int = 1000,
    *,
    noise: float = 0.1,
    factor: float = 0.5,
    seed: int = 0,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """A circle of radius 1 around one of radius `factor`."""
    rng = _generator(n, noise, seed)
    if not 0 < factor < 1:
        raise ConfigError(f"data.factor={factor}: the inner circle's radius lies between 0 and 1")
    y = np.arange(n) % 2
    angle = rng.uniform(0, 2 * np.pi, n)
    x = np.where(y == 1, factor, 1.0)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _shared_out(x + _blur(rng, noise, x), y, val, test, split_seed, classes=("outer", "inner"))


def spirals(
    n: int = 1000,
    *,
    noise: float = 0.02,
    arms: int = 2,
    turns: float = 1.5,
    seed: int = 0,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Arms of a spiral that wind `turns` times around the origin out to radius 1 (Lang and Witbrock 1988)."""
    rng = _generator(n, noise, seed)
    if arms < 2:
        raise ConfigError(f"data.arms={arms}: a class is an arm, and there are at least 2")
    if arms > n:
        raise ConfigError(f"data.arms={arms}: there are {n} samples, and each arm needs one")
    if not turns > 0:
        raise ConfigError(f"data.turns={turns}: must be greater than 0")
    y = np.arange(n) % arms
    radius = np.sqrt(rng.uniform(0, 1, n))  # evenly dense along the arm
    angle = 2 * np.pi * (turns * radius + y / arms)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _shared_out(x + _blur(rng, noise, x), y, val, test, split_seed, classes=tuple(map(str, range(arms))))


def blobs(
    n: int = 1000,
    *,
    classes: int = 3,
    noise: float = 0.5,
    radius: float = 2.0,
    seed: int = 0,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Round clouds of standard deviation `noise`, their centres evenly spaced on a circle of the given radius."""
    rng = _generator(n, noise, seed)
    if classes < 2:
        raise ConfigError(f"data.classes={classes}: there are at least 2 classes")
    if classes > n:
        raise ConfigError(f"data.classes={classes}: there are {n} samples, and each class needs one")
    y = np.arange(n) % classes
    angle = 2 * np.pi * y / classes
    x = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return _shared_out(x + _blur(rng, noise, x), y, val, test, split_seed, classes=tuple(map(str, range(classes))))


def sine(
    n: int = 1000,
    *,
    noise: float = 0.1,
    frequency: float = 1.0,
    seed: int = 0,
    target_transform: TargetTransform = "standard",
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Regression on a line: y = sin(2 pi frequency x) + noise, x uniform between -1 and 1."""
    rng = _generator(n, noise, seed)
    x = rng.uniform(-1, 1, (n, 1))
    y = np.sin(2 * np.pi * frequency * x)
    y = y + _blur(rng, noise, y)
    return _shared_out(x, y, val, test, split_seed, targets=("y",), target_transform=target_transform)


def linear(
    n: int = 1000,
    *,
    weights: list[float] = [2.0, -3.4],  # noqa: B006 - only read
    bias: float = 4.2,
    mean: float = 0.0,
    noise: float = 0.1,
    seed: int = 0,
    target_transform: TargetTransform = "standard",
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Regression whose answer is known: y = x . weights + bias + noise, every x normal around `mean` with deviation 1.

    The network learns the standardised target, so its own weights approach weights / std; with target_transform="none"
    they approach the weights.
    """
    rng = _generator(n, noise, seed)
    if not weights:
        raise ConfigError("data.weights=[]: give one weight per input, at least one")
    if not np.isfinite(mean):
        raise ConfigError(f"data.mean={mean}: give a finite number")
    x = mean + rng.standard_normal((n, len(weights)))
    y = x @ np.array(weights, dtype=np.float64)[:, None] + bias
    y = y + _blur(rng, noise, y)
    return _shared_out(x, y, val, test, split_seed, targets=("y",), target_transform=target_transform)


def multilabel(
    n: int = 1000,
    *,
    noise: float = 0.1,
    radius: float = 1.2,
    seed: int = 0,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Standard normal points with three labels at once: right (x1 > 0), above (x2 > 0), far (outside the radius).

    The labels belong to the point before the noise; the first two can be cut by a line, the third cannot.
    """
    rng = _generator(n, noise, seed)
    x = rng.standard_normal((n, 2))
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0, np.hypot(x[:, 0], x[:, 1]) > radius], axis=1)
    return _shared_out(x + _blur(rng, noise, x), y, val, test, split_seed, classes=("right", "above", "far"))


def rows(x: list[list[float]], y: list[Any]) -> Data:
    """Rows typed by hand, all of them used for all three parts: x holds one list of inputs for each.

    y holds whole numbers, which are classes counted from 0, or lists of numbers, which are regression targets; these
    keep their values, where every other source standardises them, unless float32 can't hold how they differ.
    """
    inputs, targets = _array(x, np.float64), _array(y)
    if inputs.ndim != 2 or 0 in inputs.shape:
        raise ConfigError(f"data.x={x}: want one list of numbers for each row, all as long")
    for i, column in enumerate(inputs.T, start=1):
        if blurred(column):
            raise ConfigError(
                f"data.x: x{i}, the numbers at place {i} of each row, lies around {column.mean():g} and varies by "
                f"{column.std():g}, which float32 can't hold; subtract a constant, or write them as a table"
            )
    if targets.ndim and len(targets) != len(inputs):
        raise ConfigError(f"data.y={y}: want {len(inputs)} of them, as data.x has rows")
    if targets.ndim == 1 and targets.dtype.kind == "i" and targets.min() >= 0:
        if targets.max() >= _CLASSES:
            raise ConfigError(f"data.y holds class {targets.max()}; number the classes from 0, below {_CLASSES}")
        names = tuple(map(str, range(max(2, targets.max() + 1))))
        return _shared_out(inputs, targets, 0, 0, 0, classes=names)
    if targets.ndim != 2 or targets.dtype.kind not in "if":
        raise ConfigError(
            f"data.y={y}: want classes counted from 0, such as [0, 1], or targets, such as [[0.5], [1.2]]"
        )
    names = tuple(f"y{i + 1}" for i in range(targets.shape[1])) if targets.shape[1] > 1 else ("y",)
    if any(map(blurred, targets.astype(np.float64).T)):
        note = "the targets are learned in standard units, as float32 can't hold how they differ"
        return _shared_out(inputs, targets.astype(np.float64), 0, 0, 0, targets=names, notes=(note,))
    part = Tensors(_tensor(inputs), torch.from_numpy(targets.astype(np.float32)))
    none = Tensors(part.x[:0], part.y[:0])
    val, test, notes = fallback(part, none, none)
    return Data(
        train=part,
        val=val,
        test=test,
        task="regression",
        in_shape=inputs.shape[1:],
        targets=names,
        preprocessing=_as_drawn(inputs.shape[1]),
        notes=notes,
    )


def _generator(n: int, noise: float, seed: int) -> np.random.Generator:
    if n < 2:
        raise ConfigError(f"data.n={n}: draw at least 2 points")
    if n * _POINT > (free := free_memory()):
        raise ConfigError(
            f"data.n={n}: so many points take more than the {free / 2**30:.1f} GB of memory that are free"
        )
    if not 0 <= noise < float("inf"):
        raise ConfigError(f"data.noise={noise}: a standard deviation is a finite number, 0 or more")
    return np.random.default_rng(seed)


def _blur(rng: np.random.Generator, noise: float, like: np.ndarray) -> np.ndarray:
    return noise * rng.standard_normal(like.shape)


def _array(values: object, dtype: type[np.float64] | None = None) -> np.ndarray:
    """The values as an array, whose shape is () where they are no numbers, or lists of several lengths."""
    try:
        return np.array(values, dtype)
    except (TypeError, ValueError):
        return np.array("")


def _shared_out(
    x: np.ndarray,
    y: np.ndarray,
    val: float | int,
    test: Share,
    split_seed: int,
    *,
    classes: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    target_transform: TargetTransform = "standard",
    notes: tuple[str, ...] = (),
) -> Data:
    """Three parts of inputs as they were drawn, by class where each has one; see `assemble`."""
    rows = split(len(x), val=val, test=test, seed=split_seed, classes=y if y.ndim == 1 else None)
    return assemble(
        _tensor(x),
        y,
        rows,
        classes=classes,
        targets=targets,
        target_transform=target_transform,
        preprocessing=_as_drawn(x.shape[1]),
        notes=notes,
    )


def _tensor(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x).to(torch.float32)


def _as_drawn(features: int) -> Preprocessing:
    """The preprocessing that leaves columns x1, x2, ... as they are (see `dltrain.data.tables.encoding`)."""
    columns: list[Column] = [{"name": f"x{i + 1}", "kind": "number"} for i in range(features)]
    return {"kind": "table", "scaling": "none", "missing": "refuse", "missing_marks": [], "columns": columns}
