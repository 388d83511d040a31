"""The real data sets that scikit-learn ships: nothing is downloaded."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from dltrain.data import Data, split
from dltrain.data.assembly import assemble
from dltrain.data.encoding import Scaling, encode, fit
from dltrain.errors import ConfigError


def digits(
    *,
    scaling: Literal["unit", "standard", "none"] = "unit",
    classes: list[str | int] | None = None,
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """1,797 handwritten digits as images [1, 8, 8] (Alpaydin and Kaynak 1998), pixels 0 (empty) to 16 (ink).

    `scaling`: "unit" divides by 16, "standard" takes the mean and standard deviation of all train pixels, "none"
    leaves them. `classes` keeps only those digits; `positive` makes the task that digit against the rest.
    """
    from sklearn.datasets import load_digits

    if scaling not in ("unit", "standard", "none"):
        raise ConfigError(f"data.scaling={scaling}: choose unit, standard or none")
    loaded = load_digits()
    kept, y, names = _choose(loaded.target, loaded.target_names, classes, positive)
    pixels = loaded.images[kept][:, None] / 16
    rows = split(len(y), val=val, test=test, seed=split_seed, classes=y)
    train = pixels[rows[0]]
    mean, std = {
        "unit": (0.0, 1.0),
        "standard": (float(train.mean()), float(train.std())),
        "none": (0.0, 1 / 16),
    }[scaling]
    return assemble(
        torch.from_numpy((pixels - mean) / std).to(torch.float32),
        y,
        rows,
        classes=names,
        fill=((0.0 - mean) / std,),
        preprocessing={"kind": "images", "channels": "gray", "image_size": [8, 8], "mean": [mean], "std": [std]},
    )


def iris(
    *,
    scaling: Scaling = "standard",
    classes: list[str | int] | None = None,
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """150 iris flowers, 4 lengths in cm, 3 species (Fisher 1936); setosa is linearly separable from the rest.

    `classes` keeps only those species; `positive` makes the task that species against the rest.
    """
    from sklearn.datasets import load_iris

    return _classification(load_iris(), scaling, classes, positive, val, test, split_seed)


def wine(
    *,
    scaling: Scaling = "standard",
    classes: list[str | int] | None = None,
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """178 wines of 3 growers, 13 chemical measurements (Forina 1988).

    `classes` keeps only those growers (class_0, class_1, class_2); `positive` makes the task that one against
    the rest.
    """
    from sklearn.datasets import load_wine

    return _classification(load_wine(), scaling, classes, positive, val, test, split_seed)


def breast_cancer(
    *,
    scaling: Scaling = "standard",
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """569 tumours, 30 measurements of their cell nuclei, malignant (class 0) or benign (Wolberg 1995).

    `positive=malignant` makes malignant class 1.
    """
    from sklearn.datasets import load_breast_cancer

    return _classification(load_breast_cancer(), scaling, None, positive, val, test, split_seed)


def diabetes(
    *,
    scaling: Scaling = "standard",
    val: float | int = 0.15,
    test: float | int = 0.2,
    split_seed: int = 0,
) -> Data:
    """442 patients, 10 measurements, how far diabetes went on within a year: 25 to 346 (Efron et al. 2004)."""
    from sklearn.datasets import load_diabetes

    loaded = load_diabetes(scaled=False)  # its own scaling uses the test rows too
    rows = split(len(loaded.target), val=val, test=test, seed=split_seed)
    x, preprocessing, notes = _encode(loaded, loaded.data, rows[0], scaling)
    return assemble(x, loaded.target[:, None], rows, targets=("progression",), preprocessing=preprocessing, notes=notes)


def _classification(loaded, scaling, classes, positive, val, test, split_seed) -> Data:
    kept, y, names = _choose(loaded.target, loaded.target_names, classes, positive)
    rows = split(len(y), val=val, test=test, seed=split_seed, classes=y)
    x, preprocessing, notes = _encode(loaded, loaded.data[kept], rows[0], scaling)
    return assemble(x, y, rows, classes=names, preprocessing=preprocessing, notes=notes)


def _encode(loaded, values, train, scaling):
    import polars as pl

    frame = pl.DataFrame({name: values[:, i] for i, name in enumerate(loaded.feature_names)})
    preprocessing, notes = fit(frame[train], dict.fromkeys(frame.columns, "number"), scaling=scaling)
    return encode(frame, preprocessing), preprocessing, notes


def _choose(
    target: np.ndarray, target_names: np.ndarray, classes: list[str | int] | None, positive: str | int | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The rows to keep, their class numbers anew from 0, and the names of these classes."""
    names = [str(name) for name in target_names]
    keep = list(range(len(names))) if classes is None else [_number(c, names, "classes") for c in classes]
    if len(set(keep)) != len(keep) or len(keep) < 2:
        raise ConfigError(f"data.classes={classes}: name at least two different classes of {', '.join(names)}")
    rows = np.flatnonzero(np.isin(target, keep))
    if positive is None:
        return rows, np.array([keep.index(t) for t in target[rows]]), tuple(names[k] for k in keep)
    chosen = _number(positive, names, "positive")
    if chosen not in keep:
        raise ConfigError(f"data.positive={positive} is not among data.classes={classes}")
    return rows, (target[rows] == chosen).astype(np.int64), ("rest", names[chosen])


def _number(value: str | int, names: list[str], knob: str) -> int:
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    if value in names:
        return names.index(value)
    raise ConfigError(f"data.{knob}: no class '{value}'; choose from {', '.join(names)}")
