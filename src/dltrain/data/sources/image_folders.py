"""Folders of image files, one folder for each class: held in memory as bytes, or decoded while training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dltrain.data import Data, Sample, Split, Tensors, single, split
from dltrain.data.decoding import UNTOLD, Channels, Deep, UnscaledError, read_image, scales
from dltrain.data.sources.folder_layout import Passed, class_folders, find_parts, require_all, scan
from dltrain.data.sources.image_sets import image_data, pixel_statistics
from dltrain.data.split import Share, refuse_fold
from dltrain.data.tables.table import listed
from dltrain.errors import ConfigError, DataError
from dltrain.errors.output import encodable
from dltrain.errors.paths import local

_IN_MEMORY = 512 << 20  # bytes of pixels that are held without asking
_SAMPLED = 2_000  # train images that the mean and std of a streamed set are estimated on


def image_folder(
    root: str,
    *,
    image_size: int | list[int] = 32,
    channels: Channels = "rgb",
    val: float | int = 0.1,
    test: Share = 0.1,
    split_seed: int = 0,
    in_memory: bool | None = None,
    skip_unreadable: bool = False,
) -> Data:
    """Images in root/<class>/, or in root/train/<class>/ with optional root/val and root/test of the same classes.

    A part without its own folder is cut from the train images by class. Every image becomes uint8 [C, H, W] (see
    `read_image`); `image_size` is H = W or [H, W]. `in_memory=None` holds up to 512 MiB of pixels and otherwise
    decodes files while training, with mean and standard deviation estimated on 2,000 evenly spaced train images.
    Files that can't be read are an error that names them; `skip_unreadable=True` leaves them out, and says so.
    """
    size, top, passed = _height_and_width(image_size), local(root), Passed()
    folders = find_parts(top, passed)
    classes = class_folders(folders["train"])
    parts: dict[str, ImageFiles] = {}
    for name, folder in folders.items():
        paths, labels = scan(folder, classes, passed)
        parts[name] = ImageFiles(paths, torch.tensor(labels, dtype=torch.int64), size, channels, deep={})
    require_all(parts["train"].y.tolist(), classes, folders["train"])
    parts, notes = _share_out(parts, val=val, test=test, seed=split_seed, folders=folders, classes=classes)
    notes += passed.notes(top)
    n = sum(len(part) for part in parts.values())
    pixels = n * (3 if channels == "rgb" else 1) * size[0] * size[1]
    hold = in_memory or (in_memory is None and pixels <= _IN_MEMORY)
    if skip_unreadable and not hold:
        parts, more = _readable(parts)
        notes += more
    n_train = len(parts["train"])
    some = np.linspace(0, n_train - 1, n_train if hold else min(n_train, _SAMPLED)).astype(np.int64)
    held, deep, more = _decode(parts if hold else {"train": parts["train"].take(some)}, skip=skip_unreadable)
    require_all((held if hold else parts)["train"].y.tolist(), classes, folders["train"])
    mean, std = pixel_statistics(held["train"].x)
    notes += more
    made: list[Split] = [replace(part, mean=mean, std=std) for part in held.values()]
    if not hold:
        made = [replace(part, mean=mean, std=std, deep=deep) for part in parts.values()]
        notes.append(
            f"{n:,} images ({pixels / 2**30:.1f} GiB of pixels) are decoded while training: "
            f"data.workers says by how many processes; mean and std come from {len(some):,} train images"
        )
    return image_data(*made, mean=mean, std=std, classes=[*map(encodable, classes)], deep=deep, notes=notes)


@dataclass(frozen=True, eq=False)
class ImageFiles(Dataset[Sample]):
    """A split whose images are decoded when they are asked for: (uint8 [C, H, W], int64 label); see `read_image`."""

    paths: Sequence[str]
    y: Tensor
    size: tuple[int, int]
    channels: Channels
    mean: Tensor | None = None
    std: Tensor | None = None
    deep: Deep | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.read(index), self.y[index]

    def read(self, index: int) -> Tensor:
        """The image alone."""
        return read_image(self.paths[index], size=self.size, channels=self.channels, deep=self.deep)

    normalise = Tensors.normalise

    def fingerprint(self) -> bytes:
        """Names and sizes of all files, and their labels; contents are not read."""
        lines = [f"{Path(p).parent.name}/{Path(p).name} {_size(p)}\n" for p in self.paths]
        other = {kind: ends for kind, ends in (self.deep or {}).items() if tuple(ends) != UNTOLD[kind]}
        knobs = f"{self.size}{self.channels}{other or ''}"
        return "".join(lines).encode("utf-8", "surrogateescape") + self.y.numpy().tobytes() + knobs.encode()

    def take(self, rows: np.ndarray) -> ImageFiles:
        """The split of these rows alone."""
        return replace(self, paths=[self.paths[row] for row in rows], y=self.y[torch.from_numpy(rows)])


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError as error:
        raise _unread([DataError(f"{path}: cannot be read as an image: {error.strerror}")]) from error


def _attempt(
    files: ImageFiles, rows: Sequence[int], use: Callable[[int, Tensor], None]
) -> tuple[dict[int, UnscaledError], dict[int, DataError]]:
    """Reads these images on threads: Pillow works outside the interpreter lock. Returns what is wrong by row: where
    the scale is not known, and where the image can't be read.
    """

    def fault(row: int) -> DataError | None:
        try:
            use(row, files.read(row))
        except DataError as error:
            return error
        return None

    unscaled: dict[int, UnscaledError] = {}
    unread: dict[int, DataError] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, error in zip(rows, pool.map(fault, rows), strict=True):
            if isinstance(error, UnscaledError):
                unscaled[row] = error
            elif error is not None:
                unread[row] = error
    return unscaled, unread


def _decode(
    parts: dict[str, ImageFiles], *, skip: bool
) -> tuple[dict[str, Tensors], dict[str, list[float]], list[str]]:
    """Every image decoded, train first; the scale of the deep pictures among the train images, and notes."""
    held: dict[str, Tensors] = {}
    deep: dict[str, list[float]] = {}
    notes: list[str] = []
    failed: list[DataError] = []
    for name, files in parts.items():
        x = torch.empty(len(files), 3 if files.channels == "rgb" else 1, *files.size, dtype=torch.uint8)
        unscaled, unread = _attempt(replace(files, deep=deep), range(len(files)), x.__setitem__)
        if unscaled and name != "train":
            raise next(iter(unscaled.values()))
        if unscaled:
            deep, notes = scales(unscaled.values())
            _attempt(replace(files, deep=deep), list(unscaled), x.__setitem__)
        failed += unread.values()
        good = np.setdiff1d(np.arange(len(files)), list(unread))
        files = files.take(good)
        x = x[torch.from_numpy(good)] if unread else x
        held[name] = Tensors(x, files.y, rows=torch.arange(len(x)), origin=files.paths.__getitem__)
        if name == "train":
            notes += _flat(files.paths, held[name].x)
    return held, deep, [*notes, *_left_out(failed, skip=skip)]


def _readable(parts: dict[str, ImageFiles]) -> tuple[dict[str, ImageFiles], list[str]]:
    """The parts without the images that can't be read, each of which was decoded once to know it; and a note."""
    kept: dict[str, ImageFiles] = {}
    failed: list[DataError] = []
    for name, files in parts.items():
        _, unread = _attempt(files, range(len(files)), lambda row, pixels: None)
        failed += unread.values()
        kept[name] = files.take(np.setdiff1d(np.arange(len(files)), list(unread)))
    return kept, _left_out(failed, skip=True)


def _left_out(failed: list[DataError], *, skip: bool) -> list[str]:
    """A note on the files that were left out; without `skip` a DataError that names them."""
    if not failed:
        return []
    if not skip:
        raise _unread(failed)
    names = _names(failed)
    return [f"left out, since they can't be read as images: {len(names):,} files ({listed(names, 5)})"]


def _unread(failed: list[DataError]) -> DataError:
    names = _names(failed)
    others = f"\nand {len(names) - 1:,} more can't be read: {listed(names[1:], 5)}" if names[1:] else ""
    return DataError(f"{failed[0]}{others}; data.skip_unreadable=true leaves such files out")


def _names(failed: list[DataError]) -> list[str]:
    return [str(error).split(": cannot be read")[0] for error in failed]


def _flat(paths: Sequence[str], x: Tensor) -> list[str]:
    """A note on the train images uint8 [N, C, H, W] each of whose channels has one value throughout."""
    rows = (x.flatten(2).amin(2) == x.flatten(2).amax(2)).all(1).nonzero()[:, 0].tolist()
    names = listed([paths[row] for row in rows], 3)
    return [f"of one colour throughout: {len(rows):,} train images ({names})"] if rows else []


def _height_and_width(image_size: int | list[int]) -> tuple[int, int]:
    sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"data.image_size={image_size}: one number of pixels from 1, or [height, width]")
    return sides[0], sides[1]


def _share_out(
    parts: dict[str, ImageFiles],
    *,
    val: float | int,
    test: Share,
    seed: int,
    folders: dict[str, Path],
    classes: list[str],
) -> tuple[dict[str, ImageFiles], list[str]]:
    """Train, val and test in this order, each from its own folder or cut from the train images; and notes."""
    if "test" in parts:
        refuse_fold(test, f"{folders['test']} holds the test images")
    sizes = {"val": val, "test": test}
    notes: list[str] = []
    for name in sizes.keys() & parts.keys():
        if sizes[name]:
            notes.append(f"data.{name}={sizes[name]} is not used: {folders[name]} holds these images")
        sizes[name] = 0
    train = parts["train"]
    rows = split(len(train), **sizes, seed=seed, classes=train.y.numpy())
    if len(rows[0]) < len(train):
        notes += single(train.y.numpy(), classes)
    cut = dict(zip(("train", "val", "test"), map(train.take, rows), strict=True))
    return cut | {name: part for name, part in parts.items() if name != "train"}, notes
