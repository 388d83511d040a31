"""Policies for one image, by torchvision: which operations an image gets, in which order, and how strong they are.

A strength is a step of a table of torchvision's, after that of the papers. They work image by image, in the loader's
workers, and draw from torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from dltrain.errors import ConfigError, did_you_mean


def check(knob: str, value: object, good: bool, wanted: str) -> None:
    if not good:
        raise ConfigError(f"regularisation.augmentation.{knob}={value}: write {wanted}")


def auto_augment(
    *,
    learned_on: Literal["imagenet", "cifar10", "svhn"] = "cifar10",
    interpolation: Literal["nearest", "bilinear"] = "bilinear",
) -> Callable[[Tensor], Tensor]:
    """AutoAugment: one of 25 pairs of operations that a search found good for that set (Cubuk et al., CVPR 2019)."""
    from torchvision.transforms.v2 import AutoAugmentPolicy  # 1.5 s to import

    sets = ("imagenet", "cifar10", "svhn")
    check("policy.learned_on", learned_on, learned_on in sets, f"one of {', '.join(sets)}")
    return _torchvision("AutoAugment", interpolation, policy=AutoAugmentPolicy(learned_on))


def sub_policies(
    *,
    policies: list[list[list[str | float | None]]],
    interpolation: Literal["nearest", "bilinear"] = "bilinear",
) -> Callable[[Tensor], Tensor]:
    """For each image one of these sub-policies: its operations in order, each [name, probability, strength].

    Names and strengths (0 to 9; null where an operation has none) are those of AutoAugment's table in torchvision,
    after Cubuk et al., CVPR 2019, table 6. A strength that has a sign gets either with the same chance.
    """
    good = bool(policies) and all(policies)
    check("policy.policies", policies, good, "one sub-policy or more, each of one [operation, probability, strength]")
    return _torchvision("AutoAugment", interpolation, own=policies)


def _operation(given: list[str | float | None], space: Mapping[str, object]) -> list[str | float | None]:
    """An operation that was checked; `space`: those that there are."""
    key, wanted = "policy.policies", "[operation, probability, strength], as [ShearX, 0.9, 7]"
    check(key, given, len(given) in (2, 3), wanted)
    name, probability, strength = [*given, None][:3]
    if name not in space:
        hint = did_you_mean(str(name), space) or f"; there are {', '.join(space)}"
        raise ConfigError(f"regularisation.augmentation.{key}={given}: there is no operation `{name}`{hint}")
    likely = isinstance(probability, (int, float)) and 0 <= probability <= 1
    check(key, given, likely, f"{wanted}: a probability from 0 to 1")
    whole = type(strength) is int and 0 <= strength <= 9
    none = strength is None and name in ("AutoContrast", "Equalize", "Invert")
    check(key, given, whole or none, f"{wanted}: a strength from 0 to 9")
    return [name, probability, strength]


def rand_augment(
    *,
    num_ops: int = 2,
    magnitude: int = 9,
    num_magnitude_bins: int = 31,
    operations: Literal["all", "geometric"] = "all",
    interpolation: Literal["nearest", "bilinear"] = "bilinear",
) -> Callable[[Tensor], Tensor]:
    """RandAugment: `num_ops` random operations, all of strength magnitude / (bins - 1) (Cubuk et al., NeurIPS 2020).

    operations=geometric leaves out colours, posterize, solarize and the like: for digits and other drawings.
    """
    check("policy.num_ops", num_ops, num_ops >= 1, "a number of operations >= 1")
    good = isinstance(magnitude, int) and 0 <= magnitude < num_magnitude_bins
    check("policy.magnitude", magnitude, good, f"a step from 0 to {num_magnitude_bins - 1}")
    sizes = {"num_ops": num_ops, "magnitude": magnitude, "num_magnitude_bins": num_magnitude_bins}
    return _torchvision("RandAugment", interpolation, operations, **sizes)


def trivial_augment(
    *,
    num_magnitude_bins: int = 31,
    operations: Literal["all", "geometric"] = "all",
    interpolation: Literal["nearest", "bilinear"] = "bilinear",
) -> Callable[[Tensor], Tensor]:
    """TrivialAugment (wide): one random operation of random strength (Mueller & Hutter, ICCV 2021).

    Nothing to tune, but strong: rotations reach 135 degrees, too much where 6 and 9 must stay apart.
    """
    return _torchvision("TrivialAugmentWide", interpolation, operations, num_magnitude_bins=num_magnitude_bins)


def _torchvision(
    name: str,
    interpolation: str,
    operations: str = "all",
    *,
    own: Sequence[Sequence[list[str | float | None]]] = (),
    **knobs: object,
) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    check("policy.interpolation", interpolation, interpolation in ("nearest", "bilinear"), "nearest or bilinear")
    check("policy.operations", operations, operations in ("all", "geometric"), "all or geometric")
    bins = knobs.get("num_magnitude_bins", 2)
    check("policy.num_magnitude_bins", bins, isinstance(bins, int) and bins >= 2, "a number of steps >= 2")
    transform = getattr(v2, name)(interpolation=v2.InterpolationMode(interpolation), **knobs)
    if operations == "geometric":
        names = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
        space = transform._AUGMENTATION_SPACE  # torchvision offers no public way to choose them
        transform._AUGMENTATION_SPACE = {name: space[name] for name in names}
    if own:
        transform._policies = [[_operation(each, transform._AUGMENTATION_SPACE) for each in policy] for policy in own]
    return transform


POLICIES = {
    "auto_augment": auto_augment,
    "sub_policies": sub_policies,
    "rand_augment": rand_augment,
    "trivial_augment": trivial_augment,
}
