"""The nodes of a configuration that hold plain knobs: `trainer` and `regularisation`, with their ranges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from dltrain import augmentation, regularisation
from dltrain.targets import check_arguments, did_you_mean


@dataclass(frozen=True)
class Settings:
    """The `trainer` node: configs/trainer/default.yaml explains each knob."""

    epochs: float
    max_steps: int | None
    schedule_steps: int | None
    max_time: float | None
    device: str
    precision: Literal["fp32", "bf16", "fp16"]
    accumulate: int
    compile: bool
    deterministic: bool
    threads: int | None
    report_every: float
    eval_every: float
    monitor: str
    save_every: float
    limit_train_batches: int | None
    overfit_batches: int
    fast_dev_run: bool
    progress: bool
    tensorboard: bool

    def mistakes(self) -> dict[str, str]:
        """Values out of range, by key; a value of another type is passed over."""
        above_zero = ("epochs", "max_steps", "schedule_steps", "max_time", "accumulate", "threads", "report_every")
        found = {}
        for name in (*above_zero, "eval_every", "limit_train_batches"):
            if _is_number(value := getattr(self, name)) and value <= 0:
                found[name] = f"{value} must be above zero"
        for name in ("save_every", "overfit_batches"):
            if _is_number(value := getattr(self, name)) and value < 0:
                found[name] = f"{value} must not be below zero"
        if isinstance(self.device, str) and (bad := _device_mistake(self.device)):
            found["device"] = bad
        return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _device_mistake(name: str) -> str | None:
    if name == "auto":
        return None
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        return f"there is no device `{name}`; use auto, cpu, cuda or cuda:N"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device on this machine; use trainer.device=cpu or auto"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"there is no `{name}`: this machine has {torch.cuda.device_count()} CUDA devices, counted from 0"
    return None


def device_or_auto(name: Any) -> Any:
    """A stored device, or auto in the place of a CUDA device that this machine does not have."""
    return "auto" if isinstance(name, str) and name.startswith("cuda") and _device_mistake(name) else name


def pick_device(name: str) -> torch.device:
    """The device that a checked `trainer.device` names; auto is CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def loader_knobs(data: dict[str, Any]) -> tuple[int | None, int, dict[str, str]]:
    """Batch size (None is the whole train part) and workers of a data node, and what is wrong with them."""
    size, workers, wrong = data.get("batch_size"), data.get("workers", 0), {}
    if size != "full" and (not _is_number(size) or isinstance(size, float) or size < 1):
        wrong["batch_size"] = f"want a whole number above zero, or full; got {size!r}"
    if not _is_number(workers) or isinstance(workers, float) or workers < 0:
        wrong["workers"] = f"want a whole number, 0 or more; got {workers!r}"
    return (size if "batch_size" not in wrong and size != "full" else None), workers, wrong


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
    early_stopping: dict[str, Any] | None
    augmentation: dict[str, Any]

    def mistakes(self) -> dict[str, str]:
        """Unknown keys and values out of range, by key; each one's own class knows its range."""
        net = nn.Linear(2, 2)
        trials: dict[str, Callable[[Any], object]] = {
            "l1": lambda v: regularisation.Penalty(net, l1=v),
            "l2": lambda v: regularisation.Penalty(net, l2=v),
            "max_norm": lambda v: regularisation.MaxNorm(net, v),
            "input_noise": lambda v: v == 0 or regularisation.InputNoise(v),
            "ema": lambda v: regularisation.EMA(net, v),
            "mixup": lambda v: regularisation.Mixup(v, task="multiclass", outputs=2),
            "cutmix": lambda v: regularisation.CutMix(v, task="multiclass", outputs=2),
        }
        found = {}
        for name, trial in trials.items():
            if _is_number(value := getattr(self, name)):
                found |= _try(name, trial, value)
        for name in ("clip_norm", "clip_value"):
            if _is_number(value := getattr(self, name)) and value <= 0:
                found[name] = f"{value} must be above zero; null switches it off"
        if isinstance(self.early_stopping, dict):
            found |= _early_stopping(self.early_stopping)
        if isinstance(self.augmentation, dict):
            found |= _augmentation(self.augmentation)
        return found


def _try(name: str, trial: Callable[..., object], *args: Any, **knobs: Any) -> dict[str, str]:
    try:
        trial(*args, **knobs)
    except ValueError as error:
        start, _, rest = str(error).partition("=")  # `early_stopping.patience=0: write ...`
        knob = start.split(".")[-1]
        if knob in knobs:
            return {f"{name}.{knob}": rest}
        return {name: rest if knob == name else str(error)}
    return {}


def early_stopping(*, monitor: str = "auto", patience: int = 10, min_delta: float = 0.0) -> None:
    """The knobs of the node, as a signature to check against."""


def _early_stopping(given: dict[str, Any]) -> dict[str, str]:
    wrong = check_arguments(early_stopping, given, node="regularisation.early_stopping")
    if wrong:
        return {f"early_stopping.{key}": message for key, message in wrong.items()}
    knobs = {key: value for key, value in given.items() if key != "monitor"}
    return _try("early_stopping", lambda **kw: regularisation.EarlyStopping("loss", "min", **kw), **knobs)


_AUGMENTATIONS = {
    "affine": augmentation.Affine,
    "elastic": augmentation.Elastic,
    "crop_flip": augmentation.CropFlip,
    "erasing": augmentation.Erasing,
}


def _augmentation(given: dict[str, Any]) -> dict[str, str]:
    found = {}
    for name, knobs in given.items():
        key = f"augmentation.{name}"
        if name not in (*_AUGMENTATIONS, "policy"):
            kinds = [*_AUGMENTATIONS, "policy"]
            found[key] = (
                f"augmentation has no `{name}`{did_you_mean(str(name), kinds) or '; it has ' + ', '.join(kinds)}"
            )
        elif not isinstance(knobs, dict):
            if knobs is not None:
                found[key] = f"want keys and values, or null; got {knobs!r}"
        elif name == "policy":
            found |= _policy(knobs)
        else:
            found |= _knobs(key, _AUGMENTATIONS[name], knobs)
    return found


def _policy(given: dict[str, Any]) -> dict[str, str]:
    name = given.get("name")
    if name not in augmentation.POLICIES:
        hint = did_you_mean(str(name), augmentation.POLICIES) or f"; there are {', '.join(augmentation.POLICIES)}"
        return {"augmentation.policy.name": f"there is no policy `{name}`{hint}"}
    knobs = {key: value for key, value in given.items() if key != "name"}
    return _knobs("augmentation.policy", augmentation.POLICIES[name], knobs)


def _knobs(key: str, kind: Callable[..., Any], knobs: dict[str, Any]) -> dict[str, str]:
    wrong = check_arguments(kind, knobs, node=f"regularisation.{key}", called=key.split(".")[-1])
    return {f"{key}.{k}": m for k, m in wrong.items()} or _try(key, kind, **knobs)
