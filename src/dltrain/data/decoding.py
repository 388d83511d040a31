"""One image file as bytes: pictures of more than eight bits on a scale that the train images decide."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dltrain.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

Channels = Literal["rgb", "gray"]
Deep = Mapping[str, Sequence[float]]  # integer, float -> the values that become 0 and 255

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow's names; nothing that starts a program
_GREY = "LA;16B"  # Pillow's name for grey and transparency, 16 bits each: four bytes, as of red, green, blue and alpha
_OTHER_ORDER = {_GREY: "RGBA"} | {  # its names for 16-bit colours -> for the same in the other order of bytes
    f"{colours};16{order}": f"{colours};16{other}"
    for colours in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", {"little": "B", "big": "L"}[sys.byteorder]))
}
_MOST_PIXELS, _MOST_DEEP = 150_000_000, 50_000_000  # the latter of numbers, which are held several times
_LONGEST_SIDE = 200_000
UNTOLD = {"integer": (0, 65535), "float": (0, 255)}  # how deep pictures were scaled before a run said so


def start_no_programs() -> None:
    """From here on Pillow runs no Ghostscript in this process: it knows PostScript by the content of a file, whatever
    its name is, and torchvision's data sets open what it knows.
    """
    from PIL import EpsImagePlugin

    EpsImagePlugin.gs_binary = False


class UnscaledError(DataError):
    """A deep picture of a kind whose scale is not known; its kind and the least and largest of its values."""

    def __init__(self, path: str | Path, kind: str, low: float, high: float) -> None:
        what = {"integer": "whole numbers of more than 8 bits", "float": "floating-point numbers"}[kind]
        super().__init__(
            f"{path}: its pixels are {what} ({low:g} to {high:g}), and those of the train images are not, so their "
            "scale is not known; convert it to 8 bits"
        )
        self.path, self.kind, self.low, self.high = path, kind, low, high

    def __reduce__(self) -> tuple[type[UnscaledError], tuple[object, ...]]:  # a loader's worker hands it on
        return UnscaledError, (self.path, self.kind, self.low, self.high)


def read_image(
    path: str | Path, *, size: tuple[int, int], channels: Channels = "rgb", deep: Deep | None = None
) -> Tensor:
    """The image as uint8 [C, H, W]: cut to the aspect of `size` = (H, W) around its centre, then resized to it.

    Photographs are turned upright as their EXIF tag says; transparency is dropped. Pictures of more than 8 bits a
    channel are put on the scale of `deep`, and raise `UnscaledError` where it has none for them; without any, as in
    runs of before, 65535 is white and floats reach from 0 to 255.
    """
    from PIL import Image, ImageOps

    height, width = size
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe waits for ever, a device never ends
            raise ValueError("it is not a plain file")
        with Image.open(path, formats=_FORMATS) as image:
            _check_size(image)
            image.draft(None, (2 * max(size), 2 * max(size)))  # large JPEGs: decoded at 1/2 to 1/8, much faster
            lower = _lower_bytes(image, path)
            upright = ImageOps.exif_transpose(image)
            picture = _eight_bits(upright, lower, path, deep).convert("RGB" if channels == "rgb" else "L")
            picture = ImageOps.fit(picture, (width, height), method=Image.Resampling.BILINEAR)
    except UnscaledError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over: SyntaxError, struct.error ...
        raise DataError(f"{path}: cannot be read as an image: {error or type(error).__name__}") from error
    pixels = torch.from_numpy(np.array(picture))
    return pixels.unsqueeze(0) if channels == "gray" else pixels.permute(2, 0, 1).contiguous()


def _check_size(image: ImageFile) -> None:
    """Raises ValueError for an image that would take gigabytes to decode: a few kilobytes can claim to be one."""
    width, height = image.size
    args = image.tile[0].args if image.tile else None
    kind = args if isinstance(args, str) else (args or [""])[0]
    is_deep = image.mode[0] in "IF" or kind in _OTHER_ORDER
    pixels, most = width * height * (len(image.getbands()) if is_deep else 1), _MOST_DEEP if is_deep else _MOST_PIXELS
    if pixels > most or max(width, height) > _LONGEST_SIDE:
        raise ValueError(f"it is {width:,} x {height:,} pixels, more than can be read here; make it smaller")


def _lower_bytes(image: ImageFile, path: str | Path) -> np.ndarray | None:
    """Of an opened picture of 16-bit colours the lower bytes [H, W, 3], upright; [H, W, 1] of grey beside transparency.

    Pillow keeps the upper bytes of such colours; told that they are stored in the other order, it keeps the lower.
    """
    from PIL import Image, ImageOps

    args = image.tile[0].args if image.tile else None
    as_it_is = args if isinstance(args, str) else (args or [""])[0]
    if as_it_is not in _OTHER_ORDER:
        return None
    with Image.open(path, formats=_FORMATS) as other:
        told = _OTHER_ORDER[as_it_is]
        other.tile = [
            t._replace(args=told if isinstance(t.args, str) else (told, *(t.args or ())[1:])) for t in other.tile
        ]
        pixels = np.asarray(ImageOps.exif_transpose(other))
    return pixels[..., 1:2] if as_it_is == _GREY else pixels[..., :3]


def _eight_bits(image: Image, lower: np.ndarray | None, path: str | Path, deep: Deep | None) -> Image:
    from PIL import Image

    kind = "integer" if lower is not None else {"I": "integer", "F": "float"}.get(image.mode[0])
    if kind is None:
        # a palette may hold transparency, which Pillow converts only by way of RGBA
        return image.convert("RGBA") if image.mode == "P" else image
    values = np.asarray(image).astype(np.int64 if kind == "integer" else np.float64)
    if lower is not None:
        values = 256 * values[..., :3] + lower
    if kind == "float" and not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinity")
    deep = UNTOLD if deep is None else deep
    if kind not in deep:
        raise UnscaledError(path, kind, values.min(), values.max())
    low, high = deep[kind]
    share = (values - low) * 255
    scaled = share // (high - low) if kind == "integer" else np.rint(share / (high - low))
    return Image.fromarray(scaled.clip(0, 255).astype(np.uint8))


def scales(found: Iterable[UnscaledError]) -> tuple[dict[str, list[float]], list[str]]:
    """A scale for each kind of deep pictures among the train images, and a sentence on it.

    Whole numbers reach from 0 to the largest that so many bits can hold, from 8 on; where some are negative, and
    floats, from the least to the largest that there is. Raises DataError where all are the same.
    """
    deep: dict[str, list[float]] = {}
    notes: list[str] = []
    reach: dict[str, tuple[float, float, int]] = {}  # of each kind: least, largest, and how many images
    for one in found:
        low, high, count = reach.get(one.kind, (one.low, one.high, 0))
        reach[one.kind] = min(low, one.low), max(high, one.high), count + 1
    for kind, (low, high, count) in sorted(reach.items()):
        if low == high:
            raise DataError(
                f"every pixel of the {count} train images of {kind} pixels is {low:g}: nothing to learn from"
            )
        ends = [float(low), float(high)]
        if kind == "integer":
            ends = [0, (1 << max(8, int(high).bit_length())) - 1] if low >= 0 else [int(low), int(high)]
        deep[kind] = list(ends)
        what = "pixels of more than 8 bits" if kind == "integer" else "floating-point pixels"
        notes.append(
            f"{count:,} train images have {what} ({low:g} to {high:g}): {ends[0]:g} is black, {ends[1]:g} white"
        )
    return deep, notes
