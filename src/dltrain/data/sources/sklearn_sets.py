"""The real data sets that scikit-learn ships: nothing is downloaded."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from dltrain.data import Data, Preprocessing, Scaling, split
from dltrain.data.assembly import assemble
from dltrain.data.sources import embedded
from dltrain.data.split import Share
from dltrain.data.tables.encoding import encode, fit
from dltrain.data.tables.rules import Rules
from dltrain.data.units import TargetTransform
from dltrain.errors import ConfigError, did_you_mean


def digits(
    *,
    scaling: Literal["unit", "standard", "none"] = "unit",
    classes: list[str | int] | None = None,
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """1,797 handwritten digits as images [1, 8, 8] (Alpaydin and Kaynak 1998), pixels 0 (empty) to 16 (ink).

    `scaling`: "unit" divides by 16, "standard" takes the mean and standard deviation of all train pixels, "none"
    leaves them. `classes` keeps only those digits; `positive` makes the task that digit against the rest.
    """
    if scaling not in ("unit", "standard", "none"):
        raise ConfigError(f"data.scaling={scaling}: choose unit, standard or none")
    table = embedded.numbers("digits.csv.gz", delimiter=",")  # 64 pixels and the digit
    kept, y, names = _choose(table[:, -1].astype(np.int64), [str(digit) for digit in range(10)], classes, positive)
    pixels = table[kept, :-1].reshape(-1, 1, 8, 8) / 16
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
        preprocessing={
            "kind": "images",
            "channels": "gray",
            "image_size": [8, 8],
            "levels": 16,
            "mean": [mean],
            "std": [std],
        },
    )


def iris(
    *,
    scaling: Scaling = "standard",
    features: list[str] | None = None,
    classes: list[str | int] | None = None,
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """150 iris flowers, 4 lengths in cm, 3 species (Fisher 1936); setosa is linearly separable from the rest.

    `features` keeps only those lengths, in their order, `classes` only those species; `positive` makes the task that
    species against the rest.
    """
    names = [f"{part} {side}" for part in ("sepal", "petal") for side in ("length", "width")]
    kept = names if features is None else features
    for name in kept:
        if name not in names:
            hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
            raise ConfigError(f"data.features={kept}: no length '{name}'{hint}")
    if not kept or len({*kept}) < len(kept):
        raise ConfigError(f"data.features={kept}: name one or more different lengths of {', '.join(names)}")
    columns = {f"{name} (cm)": names.index(name) for name in kept}
    return _classification("iris.csv", columns, scaling, classes, positive, val, test, split_seed)


def wine(
    *,
    scaling: Scaling = "standard",
    classes: list[str | int] | None = None,
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """178 wines of 3 growers, 13 chemical measurements (Forina 1988).

    `classes` keeps only those growers (class_0, class_1, class_2); `positive` makes the task that one against
    the rest.
    """
    return _classification("wine_data.csv", _all(_WINE), scaling, classes, positive, val, test, split_seed)


def breast_cancer(
    *,
    scaling: Scaling = "standard",
    positive: str | int | None = None,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """569 tumours, 30 measurements of their cell nuclei, malignant (class 0) or benign (Wolberg 1995).

    `positive=malignant` makes malignant class 1.
    """
    features = [f"mean {m}" for m in _NUCLEI] + [f"{m} error" for m in _NUCLEI] + [f"worst {m}" for m in _NUCLEI]
    return _classification("breast_cancer.csv", _all(features), scaling, None, positive, val, test, split_seed)


def diabetes(
    *,
    scaling: Scaling = "standard",
    target_transform: TargetTransform = "standard",
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """442 patients, 10 measurements, how far diabetes went on within a year: 25 to 346 (Efron et al. 2004)."""
    # the raw file: scikit-learn's scaled values were scaled with the test rows too
    values, target = embedded.numbers("diabetes_data_raw.csv.gz"), embedded.numbers("diabetes_target.csv.gz")
    rows = split(len(target), val=val, test=test, seed=split_seed)
    x, preprocessing, notes = _encode(_DIABETES, values, rows[0], scaling)
    return assemble(
        x,
        target[:, None],
        rows,
        targets=("progression",),
        target_transform=target_transform,
        preprocessing=preprocessing,
        notes=notes,
    )


_WINE = [
    *("alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols", "flavanoids"),
    *("nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue", "od280/od315_of_diluted_wines", "proline"),
]
_NUCLEI = [
    *("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity"),
    *("concave points", "symmetry", "fractal dimension"),
]
_DIABETES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def _all(features: list[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(features)}


def _classification(
    file: str,
    features: dict[str, int],
    scaling: Scaling,
    classes: list[str | int] | None,
    positive: str | int | None,
    val: float | int,
    test: Share,
    split_seed: int,
) -> Data:
    """features: their names, and where each stands in the file."""
    values, target, target_names = embedded.labelled(file)
    kept, y, names = _choose(target, target_names, classes, positive)
    rows = split(len(y), val=val, test=test, seed=split_seed, classes=y)
    x, preprocessing, notes = _encode([*features], values[kept][:, [*features.values()]], rows[0], scaling)
    return assemble(x, y, rows, classes=names, preprocessing=preprocessing, notes=notes)


def _encode(
    features: list[str], values: np.ndarray, train: np.ndarray, scaling: Scaling
) -> tuple[torch.Tensor, Preprocessing, list[str]]:
    import polars as pl

    frame = pl.DataFrame({name: values[:, i] for i, name in enumerate(features)})
    preprocessing, notes = fit(
        frame[train], [{"name": name, "kind": "number"} for name in frame.columns], Rules(scaling)
    )
    return encode(frame, preprocessing), preprocessing, notes


def _choose(
    target: np.ndarray, names: list[str], classes: list[str | int] | None, positive: str | int | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The rows to keep, their class numbers anew from 0, and the names of these classes."""
    keep = list(range(len(names))) if classes is None else [_number(c, names, "classes") for c in classes]
    if len(set(keep)) != len(keep) or len(keep) < 2:
        raise ConfigError(f"data.classes={classes}: name at least two different classes of {', '.join(names)}")
    rows = np.flatnonzero(np.isin(target, keep))
    if positive is None:
        return rows, np.argsort(keep)[np.searchsorted(np.sort(keep), target[rows])], tuple(names[k] for k in keep)
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
