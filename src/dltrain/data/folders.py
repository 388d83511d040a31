"""Folders of image files, one folder for each class: held in memory as bytes, or decoded while training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dltrain.data import Data, Tensors, single, split
from dltrain.data.images import image_data, pixel_statistics
from dltrain.errors import ConfigError, DataError

Channels = Literal["rgb", "gray"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow's names; nothing that starts a program
_IN_MEMORY = 512 << 20  # bytes of pixels that are held without asking
_SAMPLED = 2_000  # train images that the mean and std of a streamed set are estimated on


def image_folder(
    root: str,
    *,
    image_size: int | list[int] = 32,
    channels: Channels = "rgb",
    val: float | int = 0.1,
    test: float | int = 0.1,
    split_seed: int = 0,
    in_memory: bool | None = None,
) -> Data:
    """Images in root/<class>/, or in root/train/<class>/ with optional root/val and root/test of the same classes.

    A part without its own folder is cut from the train images by class. Every image becomes uint8 [C, H, W] (see
    `read_image`); `image_size` is H = W or [H, W]. `in_memory=None` holds up to 512 MiB of pixels and otherwise
    decodes files while training, with mean and standard deviation estimated on 2,000 evenly spaced train images.
    """
    size = _height_and_width(image_size)
    folders = _folders(Path(root).expanduser())
    classes = _class_folders(folders["train"])
    parts = {name: ImageFiles(*_scan(folder, classes), size, channels) for name, folder in folders.items()}
    _require_all(parts["train"], classes, folders["train"])
    parts, notes = _share_out(parts, val=val, test=test, seed=split_seed, folders=folders, classes=classes)
    n = sum(len(part) for part in parts.values())
    pixels = n * (3 if channels == "rgb" else 1) * size[0] * size[1]
    if in_memory or (in_memory is None and pixels <= _IN_MEMORY):
        held = {name: _decode(part) for name, part in parts.items()}
        mean, std = pixel_statistics(held["train"].x)
        parts = {name: replace(part, mean=mean, std=std) for name, part in held.items()}
    else:
        train = parts["train"]
        some = np.linspace(0, len(train) - 1, min(len(train), _SAMPLED)).astype(np.int64)
        mean, std = pixel_statistics(_decode(train.take(some)).x)
        parts = {name: replace(part, mean=mean, std=std) for name, part in parts.items()}
        notes.append(
            f"{n:,} images ({pixels / 2**30:.1f} GiB of pixels) are decoded while training: "
            f"data.workers says by how many processes; mean and std come from {len(some):,} train images"
        )
    return image_data(*parts.values(), classes=classes, notes=notes)


@dataclass(frozen=True, eq=False)
class ImageFiles(Dataset):
    """A split whose images are decoded when they are asked for: (uint8 [C, H, W], int64 label)."""

    paths: Sequence[str]
    y: Tensor
    size: tuple[int, int]
    channels: Channels
    mean: Tensor | None = None
    std: Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_image(self.paths[index], size=self.size, channels=self.channels), self.y[index]

    normalise = Tensors.normalise

    def fingerprint(self) -> bytes:
        """Names and sizes of all files, and their labels; contents are not read."""
        lines = [f"{Path(p).parent.name}/{Path(p).name} {os.path.getsize(p)}\n" for p in self.paths]
        return "".join(lines).encode() + self.y.numpy().tobytes() + f"{self.size}{self.channels}".encode()

    def take(self, rows: np.ndarray) -> ImageFiles:
        """The split of these rows alone."""
        return replace(self, paths=[self.paths[row] for row in rows], y=self.y[torch.from_numpy(rows)])


def read_image(path: str | Path, *, size: tuple[int, int], channels: Channels = "rgb") -> Tensor:
    """The image as uint8 [C, H, W]: cut to the aspect of `size` = (H, W) around its centre, then resized to it.

    Photographs are turned upright as their EXIF tag says; 16-bit grey becomes 8-bit; transparency is dropped.
    """
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.draft(None, (2 * max(size), 2 * max(size)))  # large JPEGs: decoded at 1/2 to 1/8, much faster
            picture = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB" if channels == "rgb" else "L")
            picture = ImageOps.fit(picture, (width, height), method=Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow's decoders raise whatever they stumble over: SyntaxError, struct.error ...
        raise DataError(f"{path}: cannot be read as an image: {error or type(error).__name__}") from error
    pixels = torch.from_numpy(np.array(picture))
    return pixels.unsqueeze(0) if channels == "gray" else pixels.permute(2, 0, 1).contiguous()


def _eight_bits(image):
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    if image.mode == "P":  # a palette may hold transparency, which Pillow converts only by way of RGBA
        return image.convert("RGBA")
    return image


def _decode(files: ImageFiles) -> Tensors:
    """Every image decoded, on threads: Pillow works outside the interpreter lock."""
    n_channels = 3 if files.channels == "rgb" else 1
    x = torch.empty(len(files), n_channels, *files.size, dtype=torch.uint8)

    def fill(row):
        x[row] = files[row][0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(files))):  # raises the first error in the order of the files
            pass
    return Tensors(x, files.y)


def _height_and_width(image_size) -> tuple[int, int]:
    sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"data.image_size={image_size}: one number of pixels from 1, or [height, width]")
    return sides[0], sides[1]


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"data.root={root}: no such folder")
    if not (root / "train").is_dir():
        return {"train": root}
    names = {"train": ["train"], "val": ["val", "valid", "validation"], "test": ["test"]}
    found = {part: [root / name for name in aliases if (root / name).is_dir()] for part, aliases in names.items()}
    return {part: paths[0] for part, paths in found.items() if paths}


def _class_folders(folder: Path) -> list[str]:
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        found = f"only '{classes[0]}'" if classes else "none"
        raise DataError(
            f"{folder} needs at least two folders, one for each class, and holds {found}\n"
            "Expected are root/<class>/*.png, or root/train/<class>/*.png with optional root/val and root/test"
        )
    return classes


def _scan(folder: Path, classes: list[str]) -> tuple[list[str], Tensor]:
    """The image files below folder/<class>, in the order of their names, and their labels."""
    strangers = sorted({e.name for e in folder.iterdir() if e.is_dir() and e.name[0] != "."} - set(classes))
    if strangers:
        raise DataError(f"{folder / strangers[0]}: there is no such class among the train images")
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(image_files(folder / name))
        paths += found
        labels += [label] * len(found)
    return paths, torch.tensor(labels, dtype=torch.int64)


def _require_all(train: ImageFiles, classes: list[str], folder: Path) -> None:
    for name, count in zip(classes, train.y.bincount(minlength=len(classes)).tolist(), strict=True):
        if count == 0:
            raise DataError(f"{folder / name} holds no image files ({' '.join(SUFFIXES)})")


def image_files(folder: Path) -> Iterator[str]:
    """The image files in a folder and below it, in no order."""
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, f) for f in names if f.lower().endswith(SUFFIXES) and f[0] != ".")


def _share_out(parts, *, val, test, seed, folders, classes):
    """Train, val and test in this order, each from its own folder or cut from the train images; and notes."""
    sizes, notes = {"val": val, "test": test}, []
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
