"""What an estimator was given, checked and made into what a training takes. A mistake raises ConfigError."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight  # pyrefly: ignore[missing-module-attribute]
from torch import nn
from torch.optim import Optimizer

from dltrain.config import construct, named
from dltrain.config.policy import Part
from dltrain.config.settings import pick_device
from dltrain.engine import devices
from dltrain.engine.steps.step import Schedule
from dltrain.errors import ConfigError, DataError
from dltrain.parts import models


def plain(value: object) -> object:
    """A number or list in the place of NumPy's, which searches draw."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def net(features: int, outputs: int, given: dict[str, object]) -> nn.Module:
    """A new `models.MLP`, float32."""
    options = {name: plain(value) for name, value in given.items()}
    if isinstance(options["widths"], int):
        raise ConfigError(f"widths={options['widths']}: give the units of each hidden layer, as ({options['widths']},)")
    named.check(models.MLP, options, passed=("in_features", "out_features"))
    return models.MLP(features, outputs, **options).float()  # pyrefly: ignore[bad-argument-type] - they are checked


def optimizer(given: named.Named, *, lr: float | None, weight_decay: float | None) -> Part:
    part = named.part("optimizer", given)
    own = {"lr": plain(lr), "weight_decay": plain(weight_decay)}
    own = {name: value for name, value in own.items() if value is not None}
    if strange := own.keys() - part.names:
        raise ConfigError(f"optimizer={given!r} has no {min(strange)}: leave it at None")
    named.check(part.function, own, passed=part.names)
    return replace(part, arguments=part.arguments | own)


def schedule(given: named.Named, optimizer: Optimizer, steps: int, epochs: float, *, judged: bool) -> Schedule:
    """steps: of an epoch. judged: there is a val/loss to watch."""
    part = named.part("scheduler", given)
    own: dict[str, object] = {}
    if "monitor" in part.arguments and not judged:
        own["monitor"] = "train/loss"
    if "max_lr" in part.arguments:
        own["max_lr"] = optimizer.param_groups[0]["lr"]
    part = replace(part, arguments=part.arguments | own)
    total = max(1, round(steps * epochs))
    return construct.make_schedule(part, optimizer, total_steps=total, steps_per_epoch=steps, monitor="val/loss")


def above_zero(name: str, value: object, what: str, kind: type = float) -> None:
    """kind: int for whole numbers."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, (int, kind)) or not 0 < number < float("inf"):
        raise ConfigError(f"{name}={value!r}: give {what}, a {'whole ' if kind is int else ''}number above zero")


def held_out(val: object, patience: object) -> float:
    """The share or the number of rows that say when to stop."""
    above_zero("patience", patience, "after how many passes without improvement to stop, or None", int)
    above_zero("val", val, "the share of the rows to hold out, or their number")
    number = plain(val)
    assert isinstance(number, (int, float))
    return number


def batch_size(given: object, rows: int, *, norm: str) -> int:
    """Rows of a step. Batch norm can't train on one alone: where one would be left over, batches are a row larger."""
    size = rows if given == "full" else plain(given)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigError(f"batch_size={given!r}: give a whole number of rows, or 'full'")
    size = min(size, rows)
    if norm == "batch" and size < 2:
        raise ConfigError(f"norm='batch' needs batches of two rows at least, not of {size}; use norm='layer'")
    while norm == "batch" and rows % size == 1:
        size += 1
    return size


def sample_weight(given: object, x: np.ndarray) -> np.ndarray | None:
    """How much each row of x counts, [N] from 0 up, or None. Raises ValueError for anything else, or zeros alone."""
    if given is None:
        return None
    weight = _check_sample_weight(given, x, ensure_non_negative=True)
    if not weight.any():  # which later releases of scikit-learn see
        raise DataError("sample_weight must contain at least one non-zero number")
    return weight


def seed(given: int | np.random.RandomState | None) -> int:
    random = check_random_state(given)  # which refuses what is no seed
    return int(given) if isinstance(given, (int, np.integer)) else int(random.randint(2**31))


def device(name: str) -> torch.device:
    if name != "auto" and (wrong := devices.mistake(name)) is not None:
        raise ConfigError(wrong.replace("trainer.device", "device"))
    return pick_device(name)
