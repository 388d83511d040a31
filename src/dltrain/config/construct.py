"""Objects from parts of a configuration, one function for each: what needs no plan, so that the plan can try it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dltrain.data import Data, Transform, take
from dltrain.data.sources import download, roots
from dltrain.data.tables.cells import code_columns
from dltrain.engine import products
from dltrain.errors import DataError
from dltrain.errors.paths import is_there, local, permitted
from dltrain.parts import augmentation, codes, metrics, optimizers, regularisers, schedules

if TYPE_CHECKING:
    from dltrain.config.policy import Arguments, Part
    from dltrain.config.settings import Regularisation, Settings
    from dltrain.data.preprocessing import Facts

_PLACES = {  # of data that nobody downloads: keys that say where they are
    "dltrain.data.sources.table.table": ("path", "test_path"),
    "dltrain.data.sources.image_folders.image_folder": ("root",),
}


def make_data(part: Part, *, stored: bool, started: Path | None = None) -> Data:
    """The data that a configuration names.

    For a stored one nothing is downloaded or unpacked; `started` is the folder in which its relative paths were typed.
    """
    source = f"{part.function.__module__}.{part.function.__name__}"
    for key in _PLACES.get(source, ()) if stored else ():
        named = part.arguments.get(key)
        for path in named if isinstance(named, list) else [named]:
            if path is not None and not is_there(local(path)):
                raise DataError(f"{_gone(key, path, started)}; say where it is: data.{key}=...")
    told = f"{part} {torch.get_num_threads()}" if _kept is not None and source.startswith("dltrain.data.") else ""
    if _kept is not None and told in _kept:
        return _kept[told]
    _guard(part.arguments)
    with permitted(), download.unplugged() if stored else download.filtered():
        data = part()
    if not isinstance(data, Data):
        raise TypeError(f"it returned a {type(data).__name__}, not a dltrain.data.Data")
    if _kept is not None and told:
        _kept.clear()  # others may fill the memory
        _kept[told] = data
    return data


_kept: dict[str, Data] | None = None


@contextmanager
def data_kept() -> Iterator[None]:
    """While it lasts, data of dltrain's own sources that are named alike are read once; within another, as long as
    that lasts.
    """
    global _kept
    before = _kept
    _kept = before if before is not None else {}
    try:
        yield
    finally:
        _kept = before


def _guard(arguments: Arguments) -> None:
    """Sees to the folders that datasets of torchvision among the arguments of data will read."""
    for inner in arguments.values():
        if not (hasattr(inner, "function") and inner.function.__module__.startswith("torchvision.datasets.")):
            continue
        for root in inner.arguments.values():
            if isinstance(root, str) and os.path.isdir(root := os.path.expanduser(root)):
                roots.guard(root)
                if inner.function.__name__ == "USPS":
                    roots.check_usps(root, inner.function.split_list)


def _gone(key: str, path: str, started: Path | None) -> str:
    here = Path.cwd()
    if started in (None, here) or local(path).is_absolute():
        return f"{path}: no such {'folder' if key == 'root' else 'file'}"
    return f"there is no {path} in {here}, nor in {started}, where the run was started"


def reduced(data: Data, settings: Settings, batch_size: int | None) -> tuple[Data, Settings]:
    """The data and settings of `fast_dev_run` or `overfit_batches`; without them the same."""
    if settings.fast_dev_run:
        return data, replace(settings, epochs=1, max_steps=None, limit_train_batches=2)
    if settings.overfit_batches == 0:
        return data, settings
    n = len(data.train)
    part = take(data.train, torch.arange(min(n, settings.overfit_batches * (batch_size or n))))
    return replace(data, train=part, val=part, test=part), settings


class Sizes(TypedDict):
    """What the data decide of a model, under the names that constructors use."""

    in_features: int
    in_shape: tuple[int, ...]
    in_channels: int
    out_features: int
    num_classes: int
    codes: list[list[int]]  # which inputs are codes of categories, see `dltrain.codes`


def sizes(data: Data | Facts, out_features: int) -> Sizes:
    """Those of data, or of the facts that a run keeps of them."""
    return {
        "codes": code_columns(data.preprocessing),
        "in_features": data.in_features,
        "in_shape": data.in_shape,
        "in_channels": data.in_shape[0],
        "out_features": out_features,
        "num_classes": out_features,
    }


def make_model(part: Part, known: Sizes) -> nn.Module:
    """The model that a configuration names. Where inputs are codes, and its constructor does not ask for `codes`, it is
    built for zeros and ones, which are made of them in front of it.
    """
    if takes_codes(part, known):
        return part(**known)
    net = part(**without_codes(known))
    return codes.OneHot(net, known["in_features"], known["codes"]) if isinstance(net, nn.Module) else net


def takes_codes(part: Part, known: Sizes) -> bool:
    """Whether a model takes the inputs as they are."""
    return not known["codes"] or "codes" in part.names


def without_codes(known: Sizes) -> Sizes:
    """The sizes for a model that sees zeros and ones in the place of codes."""
    wide = codes.expanded(known["in_features"], known["codes"])
    return {**known, "in_features": wide, "in_shape": (wide,), "in_channels": wide, "codes": []}


def make_optimizer(part: Part, model: nn.Module, device: torch.device) -> Optimizer:
    """The optimizer; weight decay acts on weights, not on biases and norms."""
    fused = {"fused": True} if part.function in optimizers.FUSED and device.type in ("cpu", "cuda") else {}
    if decay := part.arguments.get("weight_decay"):
        return part(optimizers.parameter_groups(model, weight_decay=decay), **fused)
    return part([p for p in model.parameters() if p.requires_grad], **fused)


def make_schedule(
    part: Part, optimizer: Optimizer, *, total_steps: int, steps_per_epoch: int, monitor: str
) -> schedules.PureSchedule | schedules.TorchSchedule:
    """The schedule, told how many steps there are, and `monitor`, the metric that a plateau watches by itself."""
    if isinstance(part.function, type) and issubclass(part.function, LRScheduler):
        arguments = dict(part.arguments)
        interval, own_monitor = arguments.pop("interval", "epoch"), arguments.pop("monitor", "auto")
        monitor = monitor if own_monitor == "auto" else own_monitor
        if issubclass(part.function, ReduceLROnPlateau) and arguments.get("mode", "auto") == "auto":
            arguments["mode"] = metrics.mode(monitor.split("/")[-1])
        return schedules.TorchSchedule(part.function(optimizer, **arguments), interval=interval, monitor=monitor)
    schedule = part(base_lr=optimizer.param_groups[0]["lr"], total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    return schedules.PureSchedule(optimizer, schedule, total_steps=total_steps)


def make_transform(
    regular: Regularisation, data: Data, *, seed: int, outputs: int, device: torch.device | str = "cpu"
) -> regularisers.Compose | None:
    """What is done to each training batch: augmentation, input noise, mixup and cutmix, in this order."""
    wanted = {k: v for k, v in regular.augmentation.items() if v is not None and k != "policy"}
    transforms: list[regularisers.BatchTransform] = []
    if wanted:
        fill = data.fill or (0.0,) * data.in_shape[0]
        transforms.append(augmentation.Augmentation(seed, in_shape=data.in_shape, fill=fill, device=device, **wanted))
    if regular.input_noise:
        transforms.append(regularisers.InputNoise(regular.input_noise))
    task = "multiclass" if data.task == "binary" and outputs > 1 else data.task
    if regular.mixup is not None:
        transforms.append(regularisers.Mixup(regular.mixup, task=task, outputs=outputs))
    if regular.cutmix is not None:
        transforms.append(regularisers.CutMix(regular.cutmix, task=task, outputs=outputs))
    return regularisers.Compose(transforms) if transforms else None


def make_policy(regular: Regularisation, data: Data) -> augmentation.OnPixels | None:
    """The per-sample augmentation that runs in the loader's workers, or None."""
    if not (policy := regular.augmentation.get("policy")):
        return None
    known = data.preprocessing
    scale = {key: known[key] for key in ("mean", "std")} if known.get("kind") == "images" else {}
    return augmentation.OnPixels(augmentation.policy(**policy), as_bytes=known.get("bytes", False), **scale)


def make_sample_transform(regular: Regularisation, data: Data) -> _Chain | None:
    """What is done to each train sample as it is read: the data's own transform, then the policy."""
    changes = [change for change in (data.transform, make_policy(regular, data)) if change]
    return _Chain(changes) if changes else None


class _Chain:
    """Changes of one sample, one after another; it travels to worker processes."""

    def __init__(self, changes: list[Transform]) -> None:
        self.changes = changes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for change in self.changes:
            x = change(x)
        return x


def set_deterministic(wanted: bool) -> None:
    """Whether torch keeps to deterministic kernels; not set where it is so: setting it imports its compiler, 1.3 s."""
    if torch.are_deterministic_algorithms_enabled() != wanted:
        torch.use_deterministic_algorithms(wanted)


def set_arithmetic(settings: Settings) -> None:
    """The process-wide switches of how the CPU computes: which kernels make the products of large layers, and whether
    numbers too small for float32's exponent, under 1.2e-38, count as 0.

    Adam's averages of a gradient that has become 0, that of a pixel which is seldom lit, fade into such numbers after
    800 steps, and the processor takes many times as long for each. Threads inherit the switch of the one that starts
    them and keep it: it is set before the data are read, ahead of the first work for several threads.
    """
    torch.set_flush_denormal(settings.flush_denormal)
    products.use(settings.matmul)
