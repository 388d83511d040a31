"""Random changes of images that leave their meaning alone, drawn anew for each sample of a batch.

Beware of torchvision's v2 transforms on a batch: one call draws ONE set of parameters, so every image of the batch
gets the same rotation. Here `Augmentation` draws per sample and works on the whole batch on its device; the
AutoAugment family (`policy`) runs image by image in the loader's workers.

Thousands of 28x28 images per second on one thread of a cloud CPU (`scripts/benchmark_augmentation.py`):
    batched here     affine 95, elastic 90, both 65 to 85, crop_flip 140, erasing 165
    image by image   auto_augment 6, rand_augment 4, trivial_augment 7 (times the number of workers)
    torchvision v2   RandomAffine 5.5, ElasticTransform 0.9, RandomCrop + flip 11, RandomErasing 18 (image by image)

Randomness is counter-based (`dltrain.data.randomness`): what happens to a sample depends neither on its batch nor on
workers, device (but for rounding), or what else drew random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from math import ceil, exp, isfinite
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dltrain.data.randomness import uniform
from dltrain.errors import ConfigError, DataError
from dltrain.parts.policies import POLICIES, check

_Change = TypeVar("_Change")
_CHUNK = 1024  # images at once: a full batch would need gigabytes, and is 3 times slower out of cache


class Affine:
    """Random rotation, shift, zoom and slant of each image, all in one resampling.

    degrees: rotation, uniform in +-degrees. translate: shift, uniform in +-translate times the image's size (a
    fraction). scale: zoom, uniform in [low, high]. shear: slant of the vertical, uniform in +-shear degrees. The
    geometry is that of torchvision's RandomAffine, except that shifts need not be whole pixels.
    """

    draws = 5

    def __init__(
        self,
        *,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: list[float] = [1.0, 1.0],  # noqa: B006 - only read
        shear: float = 0.0,
    ) -> None:
        check("affine.degrees", degrees, 0 <= degrees <= 180, "an angle from 0 to 180")
        check("affine.translate", translate, 0 <= translate <= 1, "a fraction of the size from 0 to 1")
        check("affine.scale", scale, _is_range(scale) and scale[0] > 0, "[low, high] with 0 < low <= high")
        check("affine.shear", shear, 0 <= shear < 90, "an angle from 0 to below 90")
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, tuple(scale), shear

    def inverse(self, u: Tensor, height: int, width: int) -> Tensor:
        """Matrices [B, 2, 3] from output to input pixels, relative to the centre, for uniform u [B, 5]."""
        low, high = self.scale
        angle, right, down, _, shear = (2 * u - 1).unbind(1)
        return inverse_affine(
            angle=angle * self.degrees,
            translate=torch.stack([right * (self.translate * width), down * (self.translate * height)], dim=1),
            scale=low + (high - low) * u[:, 3],
            shear=shear * self.shear,
        )


def inverse_affine(*, angle: Tensor, translate: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """Matrices [B, 2, 3] that take an output pixel (x, y, 1), relative to the centre, to the input pixel shown there.

    angle [B] in degrees, clockwise; translate [B, 2] in pixels (right, down); scale [B]; shear [B] in degrees along
    x. The image is sheared, turned, zoomed and then shifted, as in torchvision.transforms.functional.affine.
    """
    cos, sin = torch.deg2rad(angle).cos(), torch.deg2rad(angle).sin()
    slant = torch.deg2rad(shear).tan()
    rows = [cos - slant * sin, sin + slant * cos, -sin, cos]  # of (rotation @ shear)^-1; its determinant is 1
    linear = (torch.stack(rows, dim=1) / scale[:, None]).view(-1, 2, 2)
    offset = -(linear * translate[:, None]).sum(2, keepdim=True)  # a matmul may round to TF32 on a GPU
    return torch.cat([linear, offset], dim=2)


class Elastic:
    """Random smooth distortion of each image, as if drawn on rubber.

    Every pixel is displaced, across and down, by alpha times uniform(-1, 1) noise smoothed with a Gaussian. alpha:
    strength in pixels; sigma: width of the Gaussian in pixels. Because smoothing averages most of the noise away, a
    typical displacement (root mean square, per axis) is alpha / (6.14 sigma) pixels: 1.4 for alpha=34, sigma=4.
    Source: Simard et al., Best Practices for CNNs, ICDAR 2003. torchvision's ElasticTransform displaces alpha / 2.

    The noise has one point per sigma instead of one per pixel and reaches 3 sigma beyond the image: a field of the
    same covariance (to 1e-4), from a quarter of the random numbers at 28x28, and equally strong up to the border.
    """

    def __init__(self, *, alpha: float, sigma: float) -> None:
        check("elastic.alpha", alpha, 0 <= alpha < float("inf"), "a strength >= 0 in pixels")
        check("elastic.sigma", sigma, 0 < sigma <= 1000, "a width > 0 in pixels, up to 1000")
        self.alpha, self.sigma = alpha, sigma

    def smoothing(self, size: int) -> Tensor:
        """Weights [size, m] that turn m noise points into a smooth row of `size` pixels."""
        stride, reach = max(1, int(self.sigma)), 3 * self.sigma
        points = ceil((size - 1 + 2 * reach) / stride) + 1
        distance = torch.arange(size)[:, None] - (size - 1) / 2 - (torch.arange(points) - (points - 1) / 2) * stride
        weights = torch.exp(-0.5 * (distance.double() / self.sigma).square())
        taps = [exp(-0.5 * (k / self.sigma) ** 2) for k in range(-ceil(6 * self.sigma), ceil(6 * self.sigma) + 1)]
        energy = sum(t * t for t in taps) / sum(taps) ** 2  # sum of squares that a point per pixel would have
        return (weights * (energy / weights.square().sum(dim=1, keepdim=True)).sqrt()).float()

    def displacement(self, u: Tensor, smooth_y: Tensor, smooth_x: Tensor) -> Tensor:
        """Displacements [B, 2, H, W] in pixels (across, down) from uniform u [B, 2, h, w]."""
        noise = (u * 2 - 1).mul_(self.alpha).flatten(0, 1)
        return torch.bmm(smooth_y.expand(len(noise), -1, -1), noise @ smooth_x.T).unflatten(0, (-1, 2))


def resample(x: Tensor, where: Tensor, fill: Tensor) -> Tensor:
    """Images [B, C, H, W] read at `where` [B, 2, H, W] (x and y in pixels from the centre), bilinearly.

    Outside an image there is `fill` [C, 1, 1].
    """
    height, width = x.shape[2:]
    where = where.to(x.dtype)
    grid = torch.stack([where[:, 0] * (2 / width), where[:, 1] * (2 / height)], dim=1).permute(0, 2, 3, 1)
    moved = F.grid_sample(x - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.add_(fill)


class CropFlip:
    """Random shift by whole pixels (pad, then crop back to size), and a random mirror image.

    padding: greatest shift in pixels, each way. flip: whether to mirror left-right with probability 1/2 (never for
    digits or text). Pixels are moved, not resampled.
    """

    draws = 3

    def __init__(self, *, padding: int, flip: bool) -> None:
        check("crop_flip.padding", padding, isinstance(padding, int) and padding >= 0, "a number of pixels >= 0")
        check("crop_flip.flip", flip, isinstance(flip, bool), "true or false")
        self.padding, self.flip = padding, flip

    def apply(self, x: Tensor, u: Tensor, fill: Tensor) -> Tensor:
        """Images [B, C, H, W] moved as uniform u [B, 3] says, with `fill` [C, 1, 1] where nothing was."""
        height, width = x.shape[2:]
        shift = (u[:, :2] * (2 * self.padding + 1)).long() - self.padding
        rows = torch.arange(height, device=x.device) + shift[:, :1]
        cols = torch.arange(width, device=x.device) + shift[:, 1:]
        if self.flip:
            cols = torch.where(u[:, 2:] < 0.5, width - 1 - cols, cols)
        source = rows.clamp(0, height - 1)[:, :, None] * width + cols.clamp(0, width - 1)[:, None, :]
        moved = x.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, x.shape[1], -1)).view_as(x)
        inside = _inside(rows, 0, height)[:, None, :, None] & _inside(cols, 0, width)[:, None, None, :]
        return torch.where(inside, moved, fill)


class Erasing:
    """Overwrites a random rectangle of some images with empty pixels (Zhong et al., Random Erasing, AAAI 2020).

    p: share of the images that lose one. area: [low, high], the rectangle's share of the image; its height : width
    is log-uniform between 0.3 and 3.3.
    """

    draws = 5

    def __init__(self, *, p: float, area: list[float]) -> None:
        check("erasing.p", p, 0 <= p <= 1, "a probability from 0 to 1")
        check("erasing.area", area, _is_range(area) and area[0] >= 0 and area[1] <= 1, "[low, high] within 0 and 1")
        self.p, self.area = p, tuple(area)

    def apply(self, x: Tensor, u: Tensor, fill: Tensor) -> Tensor:
        """Images [B, C, H, W] with rectangles as uniform u [B, 5] says, of `fill` [C, 1, 1]."""
        height, width = x.shape[2:]
        low, high = self.area
        chance, share, ratio, top, left = u[:, :, None].unbind(1)  # each [B, 1]
        pixels = (low + (high - low) * share) * (height * width)
        aspect = 0.3 * (3.3 / 0.3) ** ratio
        tall = (pixels * aspect).sqrt().round().clamp(1, height)
        wide = (pixels / tall).round().clamp(0, width)
        top, left = (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor()
        rows = _inside(torch.arange(height, device=x.device), top, top + tall) & (chance < self.p)
        cols = _inside(torch.arange(width, device=x.device), left, left + wide)
        return torch.where(rows[:, None, :, None] & cols[:, None, None, :], fill, x)


def _inside(positions: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    return (positions >= low) & (positions < high)


def _is_range(value: list[float]) -> bool:
    return len(value) == 2 and all(isfinite(v) for v in value) and value[0] <= value[1]


class Augmentation:
    """A batch transform `(x, y, index, epoch) -> (x, y)` that changes each image by itself.

    x: float [B, C, H, W], normalised, on `device`; index: the samples' positions in their split int64 [B]. What
    happens to a sample is a pure function of (seed, epoch, index). Affine and elastic share one resampling; then come
    crop_flip and erasing, each given as an object or as its knobs (None: leave it out). in_shape: (C, H, W); fill:
    what an empty pixel is after normalisation, one value per channel. Raises ConfigError for knobs that cannot work
    and for samples that are not images.
    """

    def __init__(
        self,
        seed: int,
        *,
        in_shape: tuple[int, ...],
        fill: tuple[float, ...],
        affine: Affine | Mapping[str, object] | None = None,
        elastic: Elastic | Mapping[str, object] | None = None,
        crop_flip: CropFlip | Mapping[str, object] | None = None,
        erasing: Erasing | Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(in_shape) != 3 or in_shape[0] != len(fill):
            raise ConfigError(
                f"augmentation needs images [C, H, W] with one value of fill per channel, and got samples of shape "
                f"{list(in_shape)} and {len(fill)} values"
            )
        self.seed, (_, self.height, self.width) = seed, in_shape
        self.affine = _build(Affine, "affine", affine)
        self.elastic = _build(Elastic, "elastic", elastic)
        self.crop_flip = _build(CropFlip, "crop_flip", crop_flip)
        self.erasing = _build(Erasing, "erasing", erasing)
        self._fill = torch.tensor(fill, device=device).view(-1, 1, 1)
        self._y, self._x = (torch.arange(n, device=device) - (n - 1) / 2 for n in in_shape[1:])
        self._smooth = [self.elastic.smoothing(n).to(device) for n in in_shape[1:]] if self.elastic else []

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        if len(x) > _CHUNK:
            parts = zip(x.split(_CHUNK), y.split(_CHUNK), index.split(_CHUNK), strict=True)
            return torch.cat([self(*part, epoch)[0] for part in parts]), y
        index = index.to(x.device, non_blocking=True)
        if self.affine or self.elastic:
            x = resample(x, self._where(index, epoch), self._fill)
        for stream, change in ((2, self.crop_flip), (3, self.erasing)):
            if change:
                x = change.apply(x, uniform(self.seed, epoch, index, (change.draws,), stream), self._fill)
        return x, y

    def _where(self, index: Tensor, epoch: int) -> Tensor:
        """Where each output pixel comes from: [B, 2, H, W], x and y in pixels from the centre."""
        if self.affine:
            u = uniform(self.seed, epoch, index, (self.affine.draws,), 0)
            right, down, offset = self.affine.inverse(u, self.height, self.width)[..., None, None].unbind(2)
            where = right * self._x + (down * self._y[:, None] + offset)
        else:
            where = torch.stack(torch.meshgrid(self._x, self._y, indexing="xy"))
        if self.elastic:
            smooth_y, smooth_x = self._smooth
            u = uniform(self.seed, epoch, index, (2, smooth_y.shape[1], smooth_x.shape[1]), 1)
            where = where + self.elastic.displacement(u, smooth_y, smooth_x)
        return where


def _build(kind: Callable[..., _Change], key: str, knobs: _Change | Mapping[str, object] | None) -> _Change | None:
    if not isinstance(knobs, Mapping):  # None, or built already
        return knobs
    return _made(kind, key, knobs)


def _made(kind: Callable[..., _Change], key: str, knobs: Mapping[str, object]) -> _Change:
    try:
        return kind(**knobs)
    except TypeError as error:
        takes = ", ".join(f"{p.name} ({p.annotation})" for p in signature(kind).parameters.values())
        raise ConfigError(f"regularisation.augmentation.{key}={dict(knobs)}: it takes {takes}") from error


def policy(name: str, **knobs: object) -> Callable[[Tensor], Tensor]:
    """A random change of one image (uint8 [1 or 3, H, W], before normalisation), by the policy's name.

    It draws from torch's generator, which the loader seeds by (seed, epoch, sample): give it one image at a time,
    in workers. Raises ConfigError for an unknown name or knob.
    """
    if name not in POLICIES:
        raise ConfigError(f"regularisation.augmentation.policy.name={name}: write one of {', '.join(POLICIES)}")
    return _Policy(name, knobs)


class OnPixels:
    """A change of one image that is to see bytes, or floats from 0 to 1, whatever the split holds.

    Images uint8 [C, H, W] are passed on. Of floats `as_bytes` says that they hold bytes; others are turned into 0 to
    1 by mean and std, one value per channel, and back. Raises DataError where they are not in that range.
    """

    def __init__(
        self,
        change: Callable[[Tensor], Tensor],
        *,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        as_bytes: bool = False,
    ) -> None:
        self.change, self.as_bytes = change, as_bytes
        self.mean, self.std = (torch.tensor(each).view(-1, 1, 1) for each in (mean or [0.0], std or [1.0]))

    def __call__(self, image: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            return self.change(image)
        if self.as_bytes:
            return self.change(image.to(torch.uint8)).to(image.dtype)
        unit = image * self.std + self.mean
        low, high = (float(end) for end in unit.aminmax())
        if not (low > -1e-3 and high < 1 + 1e-3):
            raise DataError(
                f"policy: it takes images of bytes, or of floats from 0 to 1, and one reaches from {low:.3g} to "
                f"{high:.3g}: let the dataset give them so, and scale them in the model"
            )
        return (self.change(unit.clamp_(0, 1)) - self.mean) / self.std


class _Policy:
    """A policy that can be sent to a worker process: torchvision's tables of functions cannot be pickled."""

    def __init__(self, name: str, knobs: dict[str, object]) -> None:
        self.recipe, self.transform = (name, knobs), _made(POLICIES[name], f"policy: {name}", knobs)

    def __call__(self, image: Tensor) -> Tensor:
        return self.transform(image)

    def __reduce__(self):
        return _Policy, self.recipe
