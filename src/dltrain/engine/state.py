"""What a resumed step depends on beyond the model: taken out, checked, put back.

A checkpoint is data from anywhere: whatever it holds is compared with what this run would have written before any
of it is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dltrain.engine import devices
from dltrain.engine.steps import answers
from dltrain.engine.steps.step import Parts
from dltrain.errors import CheckpointError
from dltrain.parts import State


def check(found: object, like: object, where: str) -> None:
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


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__ + (f" of {len(value)}" if isinstance(value, (dict, list, tuple)) else "")


class Trained(Parts, Protocol):
    """The Trainer, as far as its state goes."""

    pending: bool
    losses: list[Tensor]
    rows: list[int]
    weights: list[float]

    def gradient_norm(self) -> float: ...


def state_of(trainer: Trained) -> State:
    """Everything but the model's own state that the next step depends on."""
    return {
        "steps": trainer.steps,
        "optimizer": trainer.optimizer.state_dict(),
        "loss": dict(trainer.loss.state_dict()),  # of a loss with parameters or statistics of its own
        "schedule": trainer.schedule.state_dict() if trainer.schedule is not None else {},
        "scaler": trainer.scaler.state_dict(),
        "losses": torch.stack(trainer.losses) if trainer.losses else torch.empty(0),
        "rows": torch.tensor(trainer.rows, dtype=torch.int64),
        "weights": torch.tensor(trainer.weights, dtype=torch.float64),
        "mistakes": trainer.mistakes.count(),
        "answers": trainer.answers.tensors(),
        "pending": trainer.pending,
        "gradient_norm": trainer.gradient_norm() if trainer.pending else 0.0,  # the report to come shows it
        "ema": trainer.ema.state_dict() if trainer.ema is not None else {},
        "random": random_state(trainer.device),
    }


def of_process(state: State) -> State:
    """What of `state_of` is one process's own, where several share the run."""
    return {name: state[name] for name in ("mistakes", "answers", "random")}


def restore(trainer: Trained, state: State, like: State) -> None:
    """Restores what `state_of` gave, the random state last. like: the trainer's own state, as it is.

    Raises CheckpointError before anything is changed if the state is not one of this trainer's.
    """
    none = torch.empty(0, dtype=torch.float64)
    older: State = {"rows": none.long(), "weights": none, "mistakes": 0, "answers": [], "loss": {}}  # once lacked
    state = older | state
    check_trainer(state, like, trainer.parameters)
    trainer.steps, trainer.pending = state["steps"], state["pending"]
    if state["loss"]:
        trainer.loss.load_state_dict(state["loss"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    if trainer.schedule is not None:
        trainer.schedule.load_state_dict(state["schedule"])
    trainer.losses = list(state["losses"].to(trainer.device))
    trainer.rows, trainer.weights = state["rows"].tolist(), state["weights"].tolist()
    trainer.mistakes.restart(state["mistakes"])
    trainer.answers.restart([t.to(trainer.device) for t in state["answers"]])
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    if trainer.ema is not None:
        trainer.ema.load_state_dict(state["ema"])
    set_random_state(state["random"], trainer.device)


def check_trainer(state: State, like: State, parameters: Sequence[Tensor]) -> None:
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
    weights = state["weights"]
    if not (isinstance(weights, Tensor) and weights.ndim == 1 and weights.dtype == torch.float64):
        raise CheckpointError("weights: want a row of numbers")
    if len(weights) > len(losses) or not ((weights >= 0) & weights.isfinite()).all():
        raise CheckpointError(f"weights: want numbers from zero up, at most one for each of {len(losses)} losses")
    if state["pending"] and not len(losses):
        raise CheckpointError("losses: a report is due, and there are none")
    answers.check(state["answers"])
    for name in ("steps", "mistakes"):
        if type(state[name]) is not int or state[name] < 0:
            raise CheckpointError(f"{name}: {state[name]}")


def check_optimizer(found: object, like: State, parameters: Sequence[Tensor]) -> None:
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


def _tensors(values: Iterable[object]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list):
            yield from _tensors(value)


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch, every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # which takes no larger one
    if any(map(devices.count, devices.KINDS)):
        torch.manual_seed(seed)
    else:  # the same of the CPU; for each kind that is not there torch would keep a stack trace, and its time
        torch.default_generator.manual_seed(seed)


def random_state(device: torch.device) -> State:
    """The state of every generator that a step may draw from, as tensors and plain values."""
    version, numbers, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    keys, position = torch.from_numpy(numpy["state"]["key"].astype(np.int64)), numpy["state"]["pos"]
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [numpy["bit_generator"], keys, position, numpy["has_gauss"], numpy["gauss"]],
        "torch": torch.get_rng_state(),
        "device": devices.random_state(device),
    }


def check_random_state(found: State, like: State) -> None:
    """Raises CheckpointError unless `found` can be given to `set_random_state` where `random_state` gives `like`."""
    like = {**like, "python": [*like["python"][:2], None]}
    if isinstance(found, dict) and (found.get("device") is None or like["device"] is None):
        neither: State = {"device": None}  # from a CPU to a GPU, or back
        found, like = found | neither, like | neither
    check(found, like, "random")
    if not (0 <= found["numpy"][2] <= 624 and found["numpy"][3] in (0, 1)):
        raise CheckpointError("random.numpy: its position is out of range")  # NumPy would read beyond its table


def set_random_state(state: State, device: torch.device) -> None:
    """Restores what `random_state` gave."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["device"] is not None:
        devices.set_random_state(state["device"], device)
