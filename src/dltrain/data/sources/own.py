"""A user's own `torch.utils.data.Dataset`: the link between any data and any model."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dltrain.data import Data, Transform, fallback, single, split
from dltrain.data.assembly import assemble
from dltrain.data.decoding import start_no_programs
from dltrain.data.loaders import generators_kept
from dltrain.data.sources.samples import Samples, map_style, opened
from dltrain.data.split import Share, refuse_fold
from dltrain.data.tables.scales import blurred
from dltrain.data.units import TargetTransform
from dltrain.errors import ConfigError, DataError

_FEW = 20  # so many classes are believed without a look at how many samples show them
_MOST = 1_000_000  # classes that a user may ask for
_READINGS = 10  # of one sample, to see whether it stays the same: a flip goes unseen once in 500 sets
_PATIENCE = 2.0  # seconds that these may take
_SAMPLED = 64  # samples whose targets are looked at where they stream


@generators_kept()
def dataset(
    dataset: Dataset[object],
    *,
    val_dataset: Dataset[object] | None = None,
    test_dataset: Dataset[object] | None = None,
    val: float | int = 0.1,
    test: Share = 0.1,
    split_seed: int = 0,
    task: Literal["auto", "binary", "multiclass", "multilabel", "regression"] = "auto",
    classes: int | list[str] | None = None,
    in_memory: bool = False,
    target_transform: TargetTransform = "standard",
    train_transform: Callable[[Tensor], Tensor] | None = None,
) -> Data:
    """Data from any map-style dataset of pairs (x, y): x is a tensor, array or list, y a class index or numbers.

    A part without its own dataset is cut from `dataset`, by class where the labels are known. `task=auto` takes an
    integer for a class index and floats for a regression. The classes come from `classes` (names or their number),
    else from `dataset.classes`, else from the labels: `dataset.targets`, or one reading of all samples.

    Samples are read while training, by `data.workers` processes. `in_memory=True` reads them once instead, so a
    random transform inside the dataset is frozen (`train_transform` is not), and learns regression targets as
    `target_transform` says. That needs all of them, so streamed targets stay in their own units and `units` is None.

    `train_transform` changes x [...] of the train samples alone, anew each time that training reads one, with random
    numbers of torch, NumPy or Python that depend on seed, epoch and sample. It gets uint8 where the dataset gives it,
    else float32, and returns the same shape and type.
    """
    start_no_programs()
    if target_transform in ("log", "quantile") and not in_memory:
        raise ConfigError(f"data.target_transform={target_transform} needs all targets at once: data.in_memory=true")
    source = map_style(dataset, "data.dataset")
    given = {"val": val_dataset, "test": test_dataset}
    own = {part: map_style(each, f"data.{part}_dataset") for part, each in given.items() if each is not None}
    whole, notes = opened(source, task)
    if "test" in own:
        refuse_fold(test, "data.test_dataset is given")
    extra = {
        part: replace(whole, source=each, rows=np.arange(len(each)), name=f"{part}_dataset")
        for part, each in own.items()
    }
    notes += _wavering(whole, extra, in_memory)
    read = whole.read(split_seed) if in_memory else None
    names, labels = _classes(whole, task, classes, read, split_seed)
    if task == "auto" and classes is None and len(names) > _FEW and names == tuple(map(str, range(len(names)))):
        notes.append(f"whole numbers count as {len(names)} classes; if they are amounts: data.task=regression")
    whole = replace(whole, width=len(names) or whole.width)
    extra = {part: replace(samples, width=whole.width) for part, samples in extra.items()}
    for samples in extra.values():
        samples[0]  # another shape or type of target shows at once

    sizes = {"val": val, "test": test}
    notes += [f"data.{part}={sizes[part]} is not used: data.{part}_dataset is given" for part in extra if sizes[part]]
    cut = split(
        len(whole),
        val=0 if "val" in extra else val,
        test=0 if "test" in extra else test,
        seed=split_seed,
        classes=labels,
    )
    rows = dict(zip(("train", "val", "test"), cut, strict=True))
    if read is not None:
        data = _held(whole, read, extra, rows, names, notes, split_seed, target_transform)
    else:
        if labels is not None and len(rows["train"]) < len(whole):
            notes += single(labels, names)
        if whole.kind == "regression":
            _check_spread(whole, split_seed)
        data = _streamed(whole, extra, rows, names, notes)
    if train_transform is not None:
        data = replace(data, transform=TrainTransform(train_transform, whole.in_shape, whole.as_bytes))
    return replace(data, task=data.task if task == "auto" else task)


class TrainTransform:
    """A user's change of one x, which is float32 [*in_shape] and reaches it as bytes where the dataset gives those."""

    def __init__(self, change: Transform, in_shape: tuple[int, ...], as_bytes: bool) -> None:
        self.change, self.in_shape, self.dtype = change, in_shape, torch.uint8 if as_bytes else torch.float32

    def __call__(self, x: Tensor) -> Tensor:
        made = self.change(x.to(self.dtype))
        if not (isinstance(made, Tensor) and made.shape == self.in_shape and made.dtype == self.dtype):
            shape = list(made.shape) if isinstance(made, Tensor) else type(made).__name__
            kinds = [str(each).removeprefix("torch.") for each in (getattr(made, "dtype", "nothing"), self.dtype)]
            raise DataError(
                f"data.train_transform makes {shape} of {list(self.in_shape)} and {kinds[0]} of {kinds[1]}; validation "
                "samples stay as they are, so it must keep both"
            )
        return made.as_subclass(Tensor).to(torch.float32)


def _wavering(whole: Samples, extra: dict[str, Samples], in_memory: bool) -> list[str]:
    """Notes on datasets that validation or test use and that give the same sample differently each time."""
    used = {samples.name: samples for samples in extra.values()} | ({"dataset": whole} if len(extra) < 2 else {})
    how = "as it was first read" if in_memory else "in validation and test too"
    return [
        f"a sample of data.{name} differs from one reading to the next, {how}: leave random changes to "
        "data.train_transform, or give validation and test datasets of their own"
        for name, samples in used.items()
        if _differs(samples)
    ]


def _differs(samples: Samples) -> bool:
    first, begin = None, time.perf_counter()
    for seed in range(_READINGS):
        torch.default_generator.manual_seed(seed)  # `dataset` leaves the generators as it found them
        random.seed(seed)
        np.random.seed(seed)
        x = samples[0][0]
        if first is not None and not torch.equal(x, first):
            return True
        first = x
        if time.perf_counter() - begin > _PATIENCE:
            break
    return False


def _classes(
    whole: Samples, task: str, classes: int | list[str] | None, read: tuple[Tensor, Tensor] | None, seed: int
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The names of the classes (or labels) and the class index of every sample, None if it is not known."""
    if whole.kind == "regression":
        if classes is not None:
            raise ConfigError(f"data.classes={classes}: the targets are real numbers (task regression)")
        return (), None
    names = _given_names(classes, whole)
    if whole.kind == "multilabel":
        names = names or tuple(f"label_{i}" for i in range(whole.width))
        if len(names) != whole.width:
            raise ConfigError(f"data.classes names {len(names)} labels, but y has {whole.width} values")
        return names, None
    labels = read[1].numpy() if read else _known_labels(whole)
    if not names:
        labels = whole.read(seed)[1].numpy() if labels is None else labels
        names = _numbered(labels)
    if len(names) < 2:
        raise DataError(f"at least two classes are needed, there is only '{names[0]}'")
    if task == "binary" and len(names) != 2:
        raise ConfigError(f"data.task=binary, but there are {len(names)} classes")
    if labels is not None and (labels.min() < 0 or labels.max() >= len(names)):
        row = int(np.argmax((labels < 0) | (labels >= len(names))))
        raise DataError(f"dataset[{row}]: label {labels[row]} is out of range: there are {len(names)} classes from 0")
    return names, labels


def _numbered(labels: np.ndarray) -> tuple[str, ...]:
    """The names of classes that are counted from 0; raises DataError where the labels look like amounts."""
    count, seen = int(labels.max()) + 1, len(np.unique(labels))
    if count > _FEW and (2 * seen < count or 2 * seen > len(labels)):
        what = f"the labels are whole numbers up to {count - 1}, {seen} different ones in {len(labels)} samples"
        more = f"; for classes say how many: data.classes={count}" if count <= _MOST else ""
        raise DataError(f"{what}: these are not classes counted from 0\nFor amounts use data.task=regression{more}")
    return tuple(str(i) for i in range(count))


def _given_names(classes: int | list[str] | None, whole: Samples) -> tuple[str, ...]:
    if isinstance(classes, int):
        if classes > _MOST:
            raise ConfigError(f"data.classes={classes}: at most {_MOST:,}")
        classes = [f"label_{i}" if whole.kind == "multilabel" else str(i) for i in range(classes)]
        least = 1 if whole.kind == "multilabel" else 2
        if len(classes) < least:
            raise ConfigError(f"data.classes={len(classes)}: at least {least}")
        return tuple(classes)
    own = getattr(whole.source, "classes", None)
    if classes is None and isinstance(own, (list, tuple)) and (whole.kind == "class" or len(own) == whole.width):
        return tuple(map(str, own))
    return tuple(map(str, classes or ()))


def _known_labels(whole: Samples) -> np.ndarray | None:
    """The dataset's own list of labels (torchvision calls it `targets`), if it agrees with the first sample."""
    targets = getattr(whole.source, "targets", None)
    if targets is None or len(targets) != len(whole) or getattr(whole.source, "target_transform", None) is not None:
        return None
    labels = np.asarray(targets)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels[0] != int(whole[0][1]):
        return None
    return labels.astype(np.int64)


def _check_spread(whole: Samples, seed: int) -> None:
    """Raises DataError where float32, in which a stream's targets travel, can't hold how they differ."""
    some = np.linspace(0, len(whole) - 1, min(len(whole), _SAMPLED)).astype(np.int64)
    y = replace(whole, rows=whole.rows[some]).read(seed)[1].numpy()
    for k, name in enumerate(whole.targets):
        if blurred(y[:, k]):
            raise DataError(
                f"the targets of dataset ({name}) lie around {y[:, k].mean():g} and vary by {y[:, k].std():g}, which "
                "float32 can't hold\nUse data.in_memory=true, which standardises them, or do so in the dataset"
            )


def _held(
    whole: Samples,
    read: tuple[Tensor, Tensor],
    extra: dict[str, Samples],
    rows: dict[str, np.ndarray],
    names: tuple[str, ...],
    notes: list[str],
    seed: int,
    target_transform: TargetTransform,
) -> Data:
    tensors = [read]
    for part, samples in extra.items():
        begin = sum(len(y) for _, y in tensors)
        tensors.append(samples.read(seed))
        rows[part] = np.arange(begin, begin + len(samples))
    x, y = (torch.cat(each) for each in zip(*tensors, strict=True))
    order = rows["train"], rows["val"], rows["test"]
    return assemble(
        x,
        y.numpy(),
        order,
        classes=names,
        targets=whole.targets,
        target_transform=target_transform,
        preprocessing=whole.preprocessing,
        notes=notes,
    )


def _streamed(
    whole: Samples,
    extra: dict[str, Samples],
    rows: dict[str, np.ndarray],
    names: tuple[str, ...],
    notes: list[str],
) -> Data:
    parts = {part: replace(whole, rows=each) for part, each in rows.items()} | extra
    val, test, more = fallback(parts["train"], parts["val"], parts["test"])
    if whole.kind == "regression":
        notes.append("streamed targets keep their own units; data.in_memory=true standardises them")
    return Data(
        train=parts["train"],
        val=val,
        test=test,
        task=whole.kind if whole.kind != "class" else "binary" if len(names) == 2 else "multiclass",
        in_shape=whole.in_shape,
        classes=names,
        targets=whole.targets,
        preprocessing=whole.preprocessing,
        notes=(*notes, *more),
    )
