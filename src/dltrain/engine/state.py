"""What a resumed step depends on beyond the model: taken out, checked, put back.

A checkpoint is data from anywhere: whatever it holds is compared with what this run would have written before any
of it is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dltrain.errors import CheckpointError


def check(found: Any, like: Any, where: str) -> None:
    """Raises CheckpointError unless `found` is built as `like` is: keys, types, shapes and dtypes.

    An int stands for a float too, and a number for None. `where` names the part for the message.
    """
    if like is None and isinstance(found, (int, float)):
        return
    if isinstance(like, Tensor):
        if not (isinstance(found, Tensor) and (found.shape, found.dtype) == (like.shape, like.dtype)):
            raise CheckpointError(f"{where}: want {_describe(like)}, found {_describe(found)}")
    elif isinstance(like, dict):
        if not isinstance(found, dict) or found.keys() != like.keys():
            names = sorted(map(str, found.keys() ^ like.keys())) if isinstance(found, dict) else []
            raise CheckpointError(f"{where}: other keys: {', '.join(names[:5]) or _describe(found)}")
        for key, value in like.items():
            check(found[key], value, f"{where}.{key}")
    elif isinstance(like, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(like):
            raise CheckpointError(f"{where}: want {len(like)} values, found {_describe(found)}")
        for i, (one, other) in enumerate(zip(found, like, strict=True)):
            check(one, other, f"{where}[{i}]")
    elif type(found) is not type(like) and {type(found), type(like)} != {int, float}:
        raise CheckpointError(f"{where}: want {_describe(like)}, found {_describe(found)}")


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, (dict, list, tuple)) else "")


def check_trainer(state: dict[str, Any], like: dict[str, Any], parameters: Sequence[Tensor]) -> None:
    """Raises CheckpointError unless `state` is that of a trainer whose own is `like`, over these parameters."""
    check(list(state), list(like), "trainer")
    for name in ("steps", "pending", "gradient_norm", "schedule", "scaler", "ema"):
        check(state[name], like[name], name)
    if state["loss"]:
        check(state["loss"], like["loss"], "loss")
    check_optimizer(state["optimizer"], like["optimizer"], parameters)
    check_random_state(state["random"], like["random"])
    losses, rows = state["losses"], state["rows"]
    if not (isinstance(losses, Tensor) and losses.ndim == 1 and losses.is_floating_point()):
        raise CheckpointError("losses: want a row of numbers")
    if not (isinstance(rows, Tensor) and rows.ndim == 1 and rows.dtype == torch.int64):
        raise CheckpointError("rows: want a row of whole numbers")
    if len(rows) not in (0, len(losses)) or (rows < 1).any():
        raise CheckpointError(f"rows: want a number above zero for each of {len(losses)} losses")
    if state["pending"] and not len(losses):
        raise CheckpointError("losses: a report is due, and there are none")
    if state["steps"] < 0:
        raise CheckpointError(f"steps: {state['steps']}")


def check_optimizer(found: Any, like: dict[str, Any], parameters: Sequence[Tensor]) -> None:
    """Raises CheckpointError unless `found` is the state of such an optimizer over these parameters.

    Its groups must be the same but for values that a schedule changes. Its tensors, which a new optimizer does not
    have yet, must each be a number, or suit their parameter: of its shape, up to dimensions of 1, or (L-BFGS) all
    parameters in a row. What else an optimizer of the user's keeps is for its own `load_state_dict` to judge.
    """
    if not isinstance(found, dict) or found.keys() != like.keys():
        raise CheckpointError(f"optimizer: want {', '.join(map(str, like))}")
    if not {"state", "param_groups"} <= like.keys():
        return
    if not isinstance(found["state"], dict):
        raise CheckpointError("optimizer.state: want a mapping")
    check(found["param_groups"], like["param_groups"], "optimizer.param_groups")
    if [g["params"] for g in found["param_groups"]] != [g["params"] for g in like["param_groups"]]:
        raise CheckpointError("optimizer: its parameters are numbered otherwise")
    total = sum(p.numel() for p in parameters)
    for number, state in found["state"].items():
        if type(number) is not int or not 0 <= number < len(parameters) or not isinstance(state, dict):
            raise CheckpointError(f"optimizer.state: has an entry for {number!r}")
        shape = parameters[number].shape
        for tensor in _tensors(list(state.values())):
            suits = tensor.ndim == len(shape) and all(a in (1, b) for a, b in zip(tensor.shape, shape, strict=True))
            if not (suits or tensor.ndim == 0 or tensor.shape == (total,)):
                raise CheckpointError(f"optimizer.state.{number}: a tensor of {list(tensor.shape)} for {list(shape)}")


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list):
            yield from _tensors(value)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch, every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of every generator that a step may draw from, as tensors and plain values."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def check_random_state(found: Any, like: dict[str, Any]) -> None:
    """Raises CheckpointError unless `found` can be given to `set_random_state` where `random_state` gives `like`."""
    like = {**like, "python": [*like["python"][:2], None]}
    if isinstance(found, dict) and (found.get("device") is None or like["device"] is None):
        found, like = {**found, "device": None}, {**like, "device": None}  # from a CPU to a GPU, or back
    check(found, like, "random")
    if not (0 <= found["numpy"][2] <= 624 and found["numpy"][3] in (0, 1)):
        raise CheckpointError("random.numpy: its position is out of range")  # NumPy would read beyond its table


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restores what `random_state` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["device"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["device"], device)
