"""The samples of a user's own Dataset as the tensors that training takes, each one checked as it is read."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from dltrain.data import Preprocessing, Sample
from dltrain.data.decoding import start_no_programs
from dltrain.data.loaders import Seeded
from dltrain.errors import ConfigError, DataError

Shape = Literal["class", "multilabel", "regression"]  # what y is

_BATCH = 256  # samples read at a time
_NUMBERS = (Tensor, np.ndarray, np.generic, int, float, list, tuple)  # an image object is none of them


@runtime_checkable
class Source(Protocol):
    """A map-style dataset whose samples nobody has looked at."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


@dataclass(frozen=True, eq=False)
class Samples(Dataset[Sample]):
    """Rows of a user's dataset as (float32 x, y).

    y is an int64 class index below `width` (0: any), or float32 [width] labels (0 or 1) or regression targets.
    """

    source: Source
    rows: np.ndarray
    name: str
    in_shape: tuple[int, ...]
    kind: Shape
    width: int
    exact: bool = False  # regression targets as float64
    as_bytes: bool = False  # x of the source is uint8

    def __setstate__(self, state: dict[str, object]) -> None:
        start_no_programs()  # in a worker process, where it was sent
        self.__dict__.update(state)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = int(self.rows[index])
        place = f"{self.name}[{row}]"
        try:
            sample = self.source[row]
        except Exception as error:
            error.add_note(f"while reading {place} of {type(self.source).__name__}")
            raise
        x, y = _pair(sample, place)
        if x.shape != self.in_shape:
            raise DataError(f"{place}: x has the shape {list(x.shape)}, dataset[0] has {list(self.in_shape)}")
        return x.to(torch.float32), self._index(y, place) if self.kind == "class" else self._vector(y, place)

    def _index(self, y: Tensor, place: str) -> Tensor:
        if y.numel() != 1 or not float(y).is_integer():
            raise DataError(f"{place}: y = {y.tolist()} is not a class index")
        if not 0 <= int(y) < (self.width or float("inf")):
            allowed = f"0 to {self.width - 1}" if self.width else "counted from 0"
            raise DataError(f"{place}: label {int(y)} is out of range: class indices are {allowed}")
        return y.reshape(()).to(torch.int64)

    def _vector(self, y: Tensor, place: str) -> Tensor:
        y = y.reshape(-1).to(torch.float64 if self.exact else torch.float32)
        if len(y) != self.width:
            raise DataError(f"{place}: y has {len(y)} values, dataset[0] has {self.width}")
        if self.kind == "multilabel" and not ((y == 0) | (y == 1)).all():
            raise DataError(f"{place}: y = {y.tolist()}, but multilabel targets are 0 or 1 for each label")
        return y

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets of a regression."""
        if self.kind != "regression":
            return ()
        return ("target",) if self.width == 1 else tuple(f"target_{i}" for i in range(self.width))

    @property
    def preprocessing(self) -> Preprocessing:
        """What a run keeps of it: nothing was fitted."""
        return {"kind": "dataset", "bytes": True} if self.as_bytes else {"kind": "dataset"}

    def read(self, seed: int) -> tuple[Tensor, Tensor]:
        """Every sample, read once in order, with random numbers that depend on the seed alone; targets as float64."""
        reader = Seeded(replace(self, exact=self.kind == "regression"), seed, None)
        x = torch.empty(len(self), *self.in_shape)
        y: list[Tensor] = []
        for low in range(0, len(self), _BATCH):
            read = reader.__getitems__([(0, i) for i in range(low, min(low + _BATCH, len(self)))])
            if isinstance(read, DataError):
                raise read
            for each, target, i in read:
                if not (each.isfinite().all() and target.isfinite().all()):
                    raise DataError(f"{self.name}[{self.rows[i]}]: x or y holds NaN or infinity")
                x[i] = each
                y.append(target)
        return x, torch.stack(y)


def opened(source: Source, task: str) -> tuple[Samples, list[str]]:
    """All samples of a dataset, in the form that its first one shows, and what the user should know about it."""
    x, y = _pair(source[0], "dataset[0]")
    if y.ndim > 1 or y.numel() == 0:
        raise DataError(f"dataset[0]: y has the shape {list(y.shape)}; expected one number or a vector")
    kind = _kind(y, task)
    notes: list[str] = []
    if not (x.is_floating_point() or x.dtype == torch.bool):
        notes.append(f"x is {str(x.dtype)[6:]}, taken as float32 as it stands: scale it in the dataset if need be")
    width = 0 if kind == "class" else y.numel()
    as_bytes = x.dtype == torch.uint8
    whole = Samples(source, np.arange(len(source)), "dataset", tuple(x.shape), kind, width, as_bytes=as_bytes)
    whole[0]
    return whole, notes


def map_style(each: object, name: str) -> Source:
    """A dataset that can be read by number; raises ConfigError or DataError for one that can't, or is empty."""
    if isinstance(each, IterableDataset):
        raise ConfigError(
            f"{name} is an IterableDataset ({type(each).__name__}): it has no length and no order that could be "
            "resumed\nGive a map-style dataset, with __len__ and __getitem__"
        )
    if not isinstance(each, Source) or isinstance(each, (dict, str)):
        raise ConfigError(f"{name} is a {type(each).__name__}, not a dataset with __len__ and __getitem__")
    if len(each) == 0:
        raise DataError(f"{name} ({type(each).__name__}) is empty")
    return each


def _kind(y: Tensor, task: str) -> Shape:
    if task == "multilabel" or task == "regression":
        return task
    if task != "auto":
        return "class"
    if y.is_floating_point():
        return "regression"
    if y.numel() == 1:
        return "class"
    raise ConfigError(
        f"dataset[0]: y is a vector of {y.numel()} integers: say what it is with data.task=multilabel (0 or 1 for "
        "each label) or data.task=regression"
    )


def _pair(sample: object, place: str) -> Sample:
    if not (isinstance(sample, (tuple, list)) and len(sample) == 2):
        size = f" of {len(sample)}" if isinstance(sample, Sized) else ""
        raise DataError(f"{place} is a {type(sample).__name__}{size}; expected a pair (x, y)")
    x, y = _tensor(sample[0], f"{place}: x"), _tensor(sample[1], f"{place}: y")
    return x.reshape(1) if x.ndim == 0 else x, y


def _tensor(value: object, place: str) -> Tensor:
    """Numbers as a plain real tensor without a gradient."""
    try:
        if not isinstance(value, _NUMBERS):
            raise TypeError(f"a {type(value).__module__}.{type(value).__name__}")
        tensor = value if isinstance(value, Tensor) else torch.tensor(np.asarray(value))
        if tensor.is_complex():
            raise TypeError("complex")
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{place} is not made of numbers ({error})\nMake tensors of real numbers in the dataset: images by "
            "torchvision.transforms.v2.ToImage and ToDtype(torch.float32, scale=True), texts and names as numbers"
        ) from error
    return tensor.detach().as_subclass(Tensor)
