"""Data as tensors: what every source returns, and how it is split and scaled. sources/ has a file for each, tables/
makes numbers of rows; loaders, preprocessing, fingerprint and quality work on any of them.

A source is a function that returns a `Data`. Whatever is fitted (mean, standard deviation, categories, quantiles,
imputation) is fitted on the train part alone. This room may import `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field, replace
from importlib import import_module
from math import prod
from typing import Any, Literal, Protocol, TypedDict, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from dltrain.data.split import Share, check_seed, fold, folds, shuffled, size_of, stratified
from dltrain.data.tables.table import listed
from dltrain.data.tables.times import Layout, Part
from dltrain.data.units import Units
from dltrain.errors import DataError
from dltrain.errors.output import cut

Task = Literal["binary", "multiclass", "multilabel", "regression"]
Scaling = Literal["standard", "quantile", "none"]
Kind = Literal["number", "boolean", "text"]
Unknown = Literal["auto", "allow", "refuse"]
OneHot = int | Literal["auto"] | None
Sample = tuple[Tensor, Tensor]  # x [*in_shape], y [] or [K]
Transform = Callable[[Tensor], Tensor]  # of one x


class Column(TypedDict, total=False):
    """What was fitted on one column of a table; a text has `categories`, anything else a scale or none.

    `marks` are its words for a missing value, `writing` the marks in its numbers. A `part` of the date in the column
    `source` of the file has a column of its own: how the date is written. Rare or unknown texts are
    `other`, or none; unknown ones are refused where a column is not `open`. A `coded` one is a single input, the
    position of its category from 1, and 0 for none.
    """

    name: str
    kind: Kind
    marks: list[str]
    writing: list[str]
    source: str
    part: Part
    layout: Layout
    categories: list[str]
    other: bool
    open: bool
    coded: bool
    median: float
    low: float
    high: float
    mean: float
    std: float
    quantiles: list[float]


class Preprocessing(TypedDict, total=False):
    """What was fitted on the train part, as data.json holds it; which keys there are depends on the kind."""

    kind: Literal["table", "images", "dataset"]
    # a table
    scaling: Scaling
    missing: Literal["impute", "refuse"]
    missing_marks: list[str]
    columns: list[Column]
    target: list[str]
    numbered: int  # columns of the file, where it does not name them
    # images: mean and std of each channel in units of `levels`, which is 255 where it does not stand
    channels: Literal["rgb", "gray"]
    image_size: list[int]
    levels: int
    mean: list[float]
    std: list[float]
    deep: dict[str, list[float]]
    # a dataset: x is uint8
    bytes: bool


class Split(Protocol):
    """A part of the data: any map-style dataset of pairs (x, y)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


@runtime_checkable
class RawImages(Split, Protocol):
    """A split whose x are uint8 [C, H, W]: so they travel to the device, where `normalise` makes floats of them."""

    def normalise(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Tensors(Dataset[Sample]):
    """A split that is held in memory.

    x: float32 [N, *in_shape], already preprocessed; or uint8 images [N, C, H, W], which the loader turns into
    (x / 255 - mean) / std with one mean and std per channel.
    y: int64 [N] class indices (binary, multiclass) or float32 [N, K] (multilabel, regression).
    units: as what targets of a regression are learned, see `Data`.
    rows, origin: the numbers of the samples in what was read, int64 [N], and where a user finds a number there.
    weight: how much each row counts, in the loss and in metrics, float32 [N], zero or more; None: all the same.

    Arrays, frames and lists become tensors, floats of torch's default type; y of smaller integers becomes int64. Raises
    DataError where x, y and weight have not as many rows, and for weights that are none.
    """

    x: Tensor
    y: Tensor
    mean: Tensor | None = None
    std: Tensor | None = None
    units: Units | None = None
    rows: Tensor | None = None
    origin: Callable[[int], str] | None = None
    weight: Tensor | None = None
    digest: str | None = field(default=None, init=False, compare=False)  # as `fingerprint` has it, where it is known

    def __post_init__(self) -> None:
        y = as_tensor(self.y)
        whole = not (y.is_floating_point() or y.is_complex())
        object.__setattr__(self, "x", as_tensor(self.x))
        object.__setattr__(self, "y", y.long() if whole else y)
        if self.x.shape[:1] != y.shape[:1] or not y.ndim:
            raise DataError(f"x and y have not as many rows: their shapes are {list(self.x.shape)} and {list(y.shape)}")
        if self.weight is not None:
            object.__setattr__(self, "weight", _weights(self.weight, len(y)))

    def __repr__(self) -> str:
        x, y = (f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in (self.x, self.y))
        return f"<Tensors: x {x}, y {y}>"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]

    def remember(self, digest: str) -> None:
        """Notes what `fingerprint` would find in contents that were checked before; a changed copy does not know it."""
        object.__setattr__(self, "digest", digest)

    def normalise(self, x: Tensor) -> Tensor:
        """Raw uint8 images [..., C, H, W] as normalised float32; anything else as it is."""
        if self.mean is None or self.std is None:
            return x
        mean, std = (t.to(x.device).view(-1, 1, 1) for t in (self.mean, self.std))
        return x.to(torch.float32).div_(255).sub_(mean).div_(std)


def _weights(given: object, rows: int) -> Tensor:
    """float32 [rows] on the CPU."""
    weight = as_tensor(given).detach().float().cpu()
    if weight.shape != (rows,):
        raise DataError(f"weight: its shape is {list(weight.shape)}, and there are {rows} rows: give a number for each")
    if (wrong := ~(weight.isfinite() & (weight >= 0))).any():
        row = int(wrong.nonzero()[0])
        raise DataError(f"weight[{row}] is {weight[row]:g}: give finite numbers from zero up")
    return weight


def as_tensor(given: object) -> Tensor:
    """A tensor as it is; an array, a frame or lists as one, floats in torch's default type. Raises DataError."""
    if isinstance(given, Tensor):
        return given
    try:
        array = np.asarray(given)
        found = torch.from_numpy(array.copy())
    except (TypeError, ValueError) as error:
        raise DataError(f"data: of a {type(given).__name__} no tensor can be made: {error}") from error
    return found.to(torch.get_default_dtype()) if found.is_floating_point() else found


class Some(Subset[Sample]):
    """Some rows of a split that streams; raw images stay what the loader normalises."""

    def __init__(self, split: Split, rows: Sequence[int]) -> None:
        super().__init__(split, rows)  # pyrefly: ignore[bad-argument-type] - torch asks a Dataset for no more than this
        self.split = split
        self.normalise = split.normalise if isinstance(split, RawImages) else None  # None: it has no such method


def place(part: object, index: int) -> str | None:
    """Where a user finds a sample of a part: the file of an image, the file and line of a table; None if unknown."""
    if isinstance(part, Subset):
        return place(part.dataset, part.indices[index])
    if isinstance(part, Tensors):
        return part.origin(int(part.rows[index])) if part.origin and part.rows is not None else None
    return str(part.paths[index]) if hasattr(part, "paths") else None


def weights(part: object) -> Tensor | None:
    """How much each sample of a part counts, float32 [N]; None where all count the same."""
    if isinstance(part, Subset):
        whole = weights(part.dataset)
        return None if whole is None else whole[torch.as_tensor(part.indices)]
    return part.weight if isinstance(part, Tensors) else None


def take(split: Split, rows: Tensor) -> Split:
    """These rows of a split alone, int64 [m], in their order."""
    if isinstance(split, Tensors):
        numbers, weight = (None if t is None else t[rows] for t in (split.rows, split.weight))
        return replace(split, x=split.x[rows], y=split.y[rows], rows=numbers, weight=weight)
    return Some(split, rows.tolist())


@dataclass(frozen=True)
class Data:
    """Three splits and the facts that size the network.

    A split is `Tensors` or any map-style `Dataset` of (x, y) pairs. `classes` names the classes (binary,
    multiclass) or the labels (multilabel); `targets` names the columns of a regression. What is learned of
    them is `units.standard(targets)`, such as (targets - mean) / std, and `units.original(y.double())` undoes it; they
    are learned as they stand where units is None. `fill` is what an empty pixel is after normalisation, one value per
    channel.
    `transform` is a random change of one input that training draws anew each time it reads it, and nothing else does
    (give it to `make_loader`). `preprocessing` holds what was fitted, as plain JSON values; `notes` are sentences
    that the user should read (values imputed, columns dropped).
    """

    train: Split
    val: Split
    test: Split
    task: Task
    in_shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    units: Units | None = None
    fill: tuple[float, ...] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    transform: Transform | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in ("train", "val", "test"))
        names = f"{cut(', '.join(self.names[:12]), 80)}{', ...' * (len(self.names) > 12)}"
        return f"<Data: {self.task} of {len(self.names)} ({names}); inputs {list(self.in_shape)}; {rows}>"

    @property
    def in_features(self) -> int:
        return prod(self.in_shape)

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of the answer are called: classes, labels or regression targets."""
        return self.classes or self.targets


def split(
    n: int, *, val: float | int, test: Share, seed: int, classes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of the train, validation and test parts, seeded and stratified by `classes` [n].

    A class of one row stands in the train part, which `single` says.

    `test` is a fraction of all rows, `val` a fraction of the rows that remain; integers are counts. With
    test=0.2, val=0.2 and seed=0 this is the split under which most California-housing results are published.
    test="2/5" is the second of five folds (see `dltrain.data.split.folds`): each row is a test row of one of them.
    """
    check_seed(seed)
    if isinstance(test, str):
        number, count = fold(test)
        is_test = folds(n, count, seed=seed, classes=classes) == number - 1
        rest, test_rows = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    else:
        rest, test_rows = _cut(np.arange(n), test, seed, classes, "test")
    train_rows, val_rows = _cut(rest, val, seed + 1, classes, "val")
    return train_rows, val_rows, test_rows


_Part = TypeVar("_Part", bound=Sized)  # row numbers or a split


def fallback(train: _Part, val: _Part, test: _Part) -> tuple[_Part, _Part, tuple[str, ...]]:
    """What stands in for an empty part: the train part for validation, then the validation part for the test.

    Returns val, test and the notes that say so.
    """
    notes: tuple[str, ...] = ()
    if len(val) == 0:
        val = train
        notes += ("no validation rows were set aside: validation is the train set itself and shows no overfitting",)
    if len(test) == 0:
        test = val
        notes += ("no test rows were set aside: the test figures are those of the validation set",)
    return val, test, notes


def single(labels: np.ndarray, names: Sequence[str]) -> list[str]:
    """A note on the classes of one row among those that were shared out, labels int64 [n]."""
    counts = np.bincount(labels, minlength=len(names))
    found = [name for name, count in zip(names, counts, strict=True) if count == 1]
    return [f"with one row, which is left to train on, so not judged: class {listed(found, 10)}"] if found else []


def _cut(
    rows: np.ndarray, size: float | int, seed: int, classes: np.ndarray | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    count = size_of(name, size, len(rows))
    if count == 0:
        return rows, rows[:0]
    parts = None if classes is None else stratified(classes[rows], count, seed=seed)
    kept, cut = parts or shuffled(len(rows), count, seed=seed)
    return rows[kept], rows[cut]


_SOURCES = {  # source -> module, imported at first use
    "loaders": ("make_loader",),
    "sources.california": ("california_housing",),
    "sources.own": ("dataset",),
    "sources.image_folders": ("image_folder",),
    "sources.image_sets": ("mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100"),
    "sources.sklearn_sets": ("digits", "iris", "wine", "breast_cancer", "diabetes"),
    "sources.table": ("table",),
    "sources.toy": ("xor", "moons", "circles", "spirals", "blobs", "sine", "linear", "multilabel", "rows"),
}


def __getattr__(name: str) -> Any:  # a source, each with arguments of its own, or make_loader
    for module, names in _SOURCES.items():
        if name in names:
            return getattr(import_module(f"dltrain.data.{module}"), name)
    raise AttributeError(f"module 'dltrain.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    own = ("Data", "Split", "Tensors", "as_tensor", "split", "take")
    return sorted([*own, *(name for names in _SOURCES.values() for name in names)])
