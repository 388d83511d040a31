"""The nodes of a configuration that hold plain knobs: `trainer` and `regularisation`, with their ranges."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeGuard

from dltrain.config.arguments import check_arguments
from dltrain.config.policy import Arguments
from dltrain.errors import did_you_mean
from dltrain.parts.ranges import outside

if TYPE_CHECKING:
    import torch

    from dltrain.engine.ranks import Ranks


@dataclass(frozen=True)
class Settings:
    """The `trainer` node: configs/trainer/default.yaml explains each knob."""

    epochs: float
    max_steps: int | None
    schedule_steps: int | None
    max_time: float | None
    device: str
    precision: Literal["fp32", "bf16", "fp16"]
    step: Literal["auto", "direct", "plain", "compiled", "graph"]
    matmul: Literal["auto", "mkl", "mixed", "onednn"]
    accumulate: int
    compile: bool
    deterministic: bool
    flush_denormal: bool
    threads: int | None
    report_every: float
    eval_every: float
    monitor: str
    metrics: list[str]
    save_every: float
    limit_train_batches: int | None
    overfit_batches: int
    stop_without_mistakes: bool
    fast_dev_run: bool
    progress: bool
    tensorboard: bool
    profile: int | None
    sync_batchnorm: bool
    rank_timeout: float

    def mistakes(self) -> dict[str, str]:
        """Values out of range, by key; a value of another type is passed over."""
        above_zero = ("epochs", "max_steps", "schedule_steps", "max_time", "accumulate", "threads", "report_every")
        found: dict[str, str] = {}
        for name in (*above_zero, "eval_every", "limit_train_batches", "profile", "rank_timeout"):
            if _is_number(value := getattr(self, name)) and value <= 0:
                found[name] = f"{value} must be above zero"
        for name in ("save_every", "overfit_batches"):
            if _is_number(value := getattr(self, name)) and value < 0:
                found[name] = f"{value} must not be below zero"
        for name, most in _MOST.items():
            if _is_number(value := getattr(self, name)) and value > most:
                found[name] = f"{value:g}: {most:,} is the most"
        if _is_number(threads := self.threads) and threads > _MOST_THREADS:
            found["threads"] = f"{threads:,}: {_MOST_THREADS:,} are the most"
        if _is_number(profile := self.profile) and profile > _MOST_PROFILED:
            found["profile"] = f"{profile:,}: {_MOST_PROFILED} steps are the most; more fill the memory"
        if isinstance(self.device, str) and not re.fullmatch(r"auto|(cpu|cuda|mps|xpu)(:\d{1,3})?", self.device):
            found["device"] = f"there is no device `{self.device}`; use auto, cpu, cuda, mps or xpu, or cuda:N"
        return found

    def trial(self) -> dict[str, str]:
        """What torch has against them, where `mistakes` found nothing."""
        found = {"device": _device_mistake(self.device), "matmul": _matmul_mistake(self.matmul)}
        return {knob: bad for knob, bad in found.items() if bad}


_MOST = {
    **dict.fromkeys(("epochs", "report_every", "eval_every"), 1_000_000_000),
    **dict.fromkeys(("accumulate", "rank_timeout"), 1_000_000),
}
_MOST_PROFILED = 1000
_MOST_THREADS = 1024  # more than a machine gives ends the process, with no word to be caught
_MOST_WORKERS = 1024


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _device_mistake(name: str) -> str | None:
    if name == "auto":
        return None
    from dltrain.engine import devices

    return devices.mistake(name)


def device_or_auto(name: object) -> object:
    """A stored device, or auto in the place of one that this machine does not have."""
    named = isinstance(name, str) and name.startswith(("cuda", "mps", "xpu"))
    return "auto" if named and _device_mistake(name) else name


def _matmul_mistake(name: str) -> str | None:
    if name not in ("mixed", "onednn"):
        return None
    from dltrain.engine import products

    why = products.why_not()
    return f"{why}; use auto or mkl" if why else None


def matmul_or_auto(name: object) -> object:
    """Stored products, or auto in the place of those that this machine does not have."""
    return "auto" if isinstance(name, str) and _matmul_mistake(name) else name


def pick_device(name: str, ranks: Ranks | None = None) -> torch.device:
    """The device that a checked `trainer.device` names; auto is CUDA where there is one, the CPU elsewhere. ranks: each
    of several processes has a CUDA device of its own.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and ranks is not None:
        name = f"cuda:{torch.cuda.current_device()}"
    return torch.device(name)


BatchSize = int | Literal["auto"] | None  # of a step; None is the whole train part

_STEPS = 256  # of an epoch, where batches are as large as the rows allow
_SMALLEST, _LARGEST = 8, 512


def rows_of_a_step(size: BatchSize, rows: int) -> int | None:
    """How many of the train rows a step takes; None is all of them.

    auto: the power of 2 that makes 256 steps of an epoch, or some more, but not under 8 rows and not over 512. Smaller
    batches make more of few rows (docs/tables.md has the measurements); beyond some hundred steps of an epoch they only
    take longer.
    """
    if size != "auto":
        return size
    return min(max(1 << max(rows // _STEPS, 1).bit_length() - 1, _SMALLEST), _LARGEST)


def loader_knobs(data: Arguments) -> tuple[BatchSize, int | None, dict[str, str]]:
    """Batch size (None is the whole train part) and workers (None is auto) of a data node, and what is wrong there."""
    size, workers = data.get("batch_size"), data.get("workers", 0)
    wrong: dict[str, str] = {}
    if size not in ("full", "auto") and not (_is_whole(size) and size >= 1):
        whole = f"; write {int(size)}" if isinstance(size, float) and size >= 1 and size.is_integer() else ""
        wrong["batch_size"] = f"want a whole number above zero, full or auto; got {size!r}{whole}"
    if workers != "auto" and not (_is_whole(workers) and workers >= 0):
        wrong["workers"] = f"want a whole number, 0 or more, or auto; got {workers!r}"
    elif workers != "auto" and workers > _MOST_WORKERS:
        wrong["workers"] = f"{workers:,}: {_MOST_WORKERS:,} are the most"
    return None if "batch_size" in wrong or size == "full" else size, None if workers == "auto" else workers, wrong


@dataclass(frozen=True)
class Regularisation:
    """The `regularisation` node: configs/regularisation/off.yaml explains each knob."""

    l1: float
    l2: float
    max_norm: float | None
    input_noise: float
    clip_norm: float | None
    clip_value: float | None
    ema: float | None
    mixup: float | None
    cutmix: float | None
    early_stopping: Arguments | None
    augmentation: Arguments

    def mistakes(self) -> dict[str, str]:
        """Unknown keys and values out of range, by key; a value of another type is passed over."""
        found: dict[str, str] = {}
        for name in ("l1", "l2", "max_norm", "input_noise", "clip_norm", "clip_value", "ema", "mixup", "cutmix"):
            if _is_number(value := getattr(self, name)) and (bad := outside(f"regularisation.{name}", value)):
                found[name] = bad
        if isinstance(self.early_stopping, dict):
            found |= _early_stopping(self.early_stopping)
        if isinstance(self.augmentation, dict):
            found |= _augmentations(self.augmentation)
        return found

    def trial(self) -> dict[str, str]:
        """What the classes of an augmentation have against its knobs, where `mistakes` found nothing."""
        found: dict[str, str] = {}
        for name, knobs in self.augmentation.items():
            if knobs is not None:
                found |= _policy(knobs) if name == "policy" else _augmentation(name, knobs)
        return found


def early_stopping(*, monitor: str = "auto", patience: int = 10, min_delta: float = 0.0) -> None:
    """The knobs of the node, as a signature to check against."""


def _early_stopping(given: Arguments) -> dict[str, str]:
    wrong = check_arguments(early_stopping, given, node="regularisation.early_stopping")
    for knob, name in (("patience", "early_stopping.patience"), ("min_delta", "min_delta")):
        if not wrong and knob in given and (bad := outside(name, given[knob])):
            wrong[knob] = bad
    return {f"early_stopping.{key}": message for key, message in wrong.items()}


_AUGMENTATIONS = {"affine": "Affine", "elastic": "Elastic", "crop_flip": "CropFlip", "erasing": "Erasing"}


def _augmentations(given: Arguments) -> dict[str, str]:
    """Augmentations that do not exist, or are given something else than knobs."""
    found: dict[str, str] = {}
    kinds = [*_AUGMENTATIONS, "policy"]
    for name, knobs in given.items():
        if name not in kinds:
            hint = did_you_mean(f"{name}", kinds) or "; it has " + ", ".join(kinds)
            found[f"augmentation.{name}"] = f"augmentation has no `{name}`{hint}"
        elif knobs is not None and not isinstance(knobs, dict):
            found[f"augmentation.{name}"] = f"want keys and values, or null; got {knobs!r}"
    return found


def _augmentation(name: str, given: Arguments) -> dict[str, str]:
    from dltrain.parts import augmentation

    return _knobs(f"augmentation.{name}", getattr(augmentation, _AUGMENTATIONS[name]), given)


def _policy(given: Arguments) -> dict[str, str]:
    from dltrain.parts.augmentation import POLICIES

    name = given.get("name")
    if name not in POLICIES:
        hint = did_you_mean(str(name), POLICIES) or f"; there are {', '.join(POLICIES)}"
        return {"augmentation.policy.name": f"there is no policy `{name}`{hint}"}
    knobs = {key: value for key, value in given.items() if key != "name"}
    return _knobs("augmentation.policy", POLICIES[name], knobs)


def _knobs(key: str, kind: Callable[..., object], knobs: Arguments) -> dict[str, str]:
    """What is wrong with the knobs of an augmentation: first by its signature, then by what it says itself."""
    if wrong := check_arguments(kind, knobs, node=f"regularisation.{key}", called=key.split(".")[-1]):
        return {f"{key}.{k}": m for k, m in wrong.items()}
    try:
        kind(**knobs)
    except ValueError as error:
        start, _, rest = str(error).partition("=")  # `affine.degrees=-1: write ...`
        knob = start.split(".")[-1]
        return {f"{key}.{knob}": rest} if knob in knobs else {key: str(error)}
    return {}
