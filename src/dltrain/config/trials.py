"""Small trials of what a configuration names, before training: each costs milliseconds and changes nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from math import ceil

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.overrides import TorchFunctionMode

from dltrain.config.construct import Sizes, make_model
from dltrain.config.mistakes import reason
from dltrain.config.policy import Part
from dltrain.data import Data, Tensors, take, weights
from dltrain.data.loaders import generators_kept, make_loader
from dltrain.errors import DataError
from dltrain.errors.system import free_memory
from dltrain.parts import modules, optimizers
from dltrain.parts.modules import BATCH_NORMS
from dltrain.parts.schedules import PureSchedule, TorchSchedule

_TRIED = 32  # train samples that a change of single ones is tried on
LARGE = 1 << 24  # parameters: 64 MiB that take 0.2 s to initialise
_MOST_CALLS = 50_000  # of torch, which take some seconds; the deepest net of torchvision needs 11,000
_MANY = 10_000  # steps of a scheduler, which take 0.06 s


def stand_in(optimizer: Part) -> torch.optim.Optimizer:
    """The optimizer on a weight and a bias that stand for the model's: its constructor checks its knobs."""
    optimizers.spare_compiler()
    return optimizer([nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))])


def schedule(made: PureSchedule | TorchSchedule, name: str, *, steps: int, per_epoch: int) -> list[str]:
    """What of a schedule does not suit a run of so many steps, in words: a length that is not the run's, no effect.

    Goes through the run with it, up to `_MANY` steps. Raises ValueError where it would fail on the way.
    """
    if isinstance(made, PureSchedule):
        rates = {made.schedule(int(min(step, made.last)))[0] for step in (0, steps // 2, steps - 1)}
        idle = len(rates) == 1 and steps > 1 and name != "constant"
        return [f"{name} changes nothing in the {steps:,} steps of this run"] if idle else []
    scheduler, by_step = made.scheduler, made.interval == "step"
    unit, calls, used = (
        ("step", steps - 1, steps) if by_step else ("epoch", steps // per_epoch, ceil(steps / per_epoch))
    )
    run = f"the run takes {used:,} {unit}{'s' * (used != 1)}"
    notes: list[str] = []
    for knob, least in (("total_steps", used), ("T_max", used - 1), ("total_iters", 0)):
        length = getattr(scheduler, knob, None)
        if not isinstance(length, (int, float)):
            continue
        if isinstance(scheduler, OneCycleLR) and knob == "total_steps" and length < calls:
            raise ValueError(f"{knob}={length}: {run}; write {used}")
        if not least <= length <= used:
            instead = "" if by_step or length < used else ", or scheduler.interval=step"
            notes.append(f"scheduler.{knob}={length}, and {run}; write {used}{instead}")
    rates = {_rate(scheduler)}
    with warnings.catch_warnings(action="ignore"):  # torch's, where no optimizer steps between a scheduler's
        for n in range(1, min(calls, _MANY) + 1):
            try:
                made.set(n) if by_step else made.end_epoch({made.monitor: 0.0})
            except Exception as error:
                raise ValueError(f"it fails at {unit} {n} of {used}: {reason(error)}") from error
            rates.add(_rate(scheduler))
    if not notes and len(rates) == 1 and 1 < used <= _MANY:
        notes.append(f"{name} changes nothing in the {used:,} {unit}s of this run")
    return notes


def _rate(scheduler: LRScheduler) -> float:
    return float(scheduler.optimizer.param_groups[0]["lr"])


def few(data: Data) -> tuple[Tensor, Tensor]:
    """The first two training samples (x, y) as the trainer gets them."""
    x, y, _ = next(make_loader(take(data.train, torch.arange(min(2, len(data.train)))), batch_size=2).epoch())
    return x, y


def change(data: Data, function: Callable[[Tensor], Tensor]) -> None:
    """What is done to single train samples, tried on some of them; raises what it raises."""
    n = len(data.train)
    with generators_kept():
        for i in sorted({i * (n - 1) // (_TRIED - 1) for i in range(_TRIED)}):
            function(data.train[i][0])


def loss(function: nn.Module, outputs: int, y: Tensor) -> None:
    """Whether the loss takes logits [B, outputs] and these targets, and returns one number."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's on shapes that it broadcasts, on its way to an error
            value = function.train()(torch.zeros(len(y), outputs), y)
    except (RuntimeError, IndexError) as error:
        targets = f"{str(y.dtype).removeprefix('torch.')} targets {batched(y.shape[1:])}"
        raise ValueError(f"it is given logits [B, {outputs}] and {targets}, and says: {reason(error)}") from error
    if not isinstance(value, Tensor) or value.ndim:
        shown = f"shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"it must return one number for the batch, and it returned {shown}")


def class_counts(data: Data) -> list[int] | None:
    """Training samples of each class, or positives of each label; None where the data only streams."""
    if not isinstance(data.train, Tensors) or not data.classes:
        return None
    y = data.train.y
    if data.task == "multilabel":
        return y.sum(0).long().tolist()
    return torch.bincount(y, minlength=len(data.classes)).tolist()


def weighted(data: Data) -> bool:
    """Whether the train rows do not count the same."""
    return weights(data.train) is not None


def contents(data: Data) -> None:
    """Raises DataError for an empty part, and in memory for what training would meet late or not at all:
    class indices out of range, NaN and infinity.
    """
    for name in ("train", "val", "test"):
        split = getattr(data, name)
        if len(split) == 0:
            raise DataError(f"the {name} part has no samples")
        if not isinstance(split, Tensors) or split.digest is not None:  # checked when it was put on the disk
            continue
        classes = len(data.classes) if data.task in ("binary", "multiclass") else math.inf
        if classes < math.inf and (wrong := (split.y < 0) | (split.y >= classes)).any():
            row = int(wrong.nonzero()[0])
            raise DataError(f"{name}[{row}]: label {split.y[row]} is out of range; {classes} classes count from 0")
        for values, what in ((split.x, "input"), (split.y, "target")):
            if values.is_floating_point() and (bad := int((~values.isfinite()).sum())):
                raise DataError(f"the {name} part has {bad:,} NaN or infinite {what} values; remove or replace them")


class TooMuchError(ValueError):
    """A net that can't be built in seconds, or in this machine's memory."""


class Bounded(TorchFunctionMode):
    """While a model is built: not more calls of torch than nets have layers for, not more memory than there is.

    Raises TooMuchError. A tensor on the meta device takes none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.left = 0, free_memory()
        self.counted: set[int] = set()  # addresses

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        self.calls += 1
        if self.calls > _MOST_CALLS:
            raise TooMuchError(f"to build it takes more than {_MOST_CALLS:,} calls of torch; make it smaller")
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.device.type == "cpu" and made.data_ptr() not in self.counted:
            self.counted.add(made.data_ptr())
            self.left -= made.nbytes
            if self.left < 0:
                raise TooMuchError(f"it takes more than the {free_memory() / 2**30:.1f} GB of memory that are free")
        return made


def too_large(net: nn.Module) -> str | None:
    """Why a net on the meta device can't be trained by the processor: weights and gradients alone fill the memory."""
    needed = 2 * sum(p.nbytes for p in net.parameters())
    if is_large(net) and needed > (free := free_memory()):
        return f"its weights and their gradients take {needed / 2**30:.1f} GB, and {free / 2**30:.1f} GB are free"
    return None


def is_large(net: nn.Module) -> bool:
    """Whether building it again just to look would take time."""
    return sum(p.numel() for p in net.parameters()) > LARGE


def model(part: Part, sizes: Sizes, device: str) -> tuple[nn.Module | None, list[modules.Row], Exception | None]:
    """The model on a device, its summary, and what went wrong: without a model its constructor, else its forward.

    On the meta device only a large one is tried: torch's shape arithmetic for it takes 1.5 s to import.
    """
    built = None
    try:
        with torch.random.fork_rng(devices=[]):
            with Bounded(), torch.device(device):
                built = _module(make_model(part, sizes))
                if is_large(built):
                    return built, modules.summary(built, sizes["in_shape"]), None
            built = built if device == "cpu" else _module(make_model(part, sizes))
            return built, modules.summary(built, sizes["in_shape"]), None
    except Exception as error:
        if built is None:
            return None, [], error
        text = f"inputs of shape {batched(sizes['in_shape'])} don't pass: {reason(error)}"
        return built, [], ValueError(text).with_traceback(None)


def _module(made: object) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise TypeError(f"it made a {type(made).__name__}, not an nn.Module")
    return made


def batched(shape: Iterable[int]) -> str:
    """A shape with the batch dimension: [B, 1, 8, 8]."""
    return f"[{', '.join(map(str, ('B', *shape)))}]"


def lonely_sample(net: nn.Module, data: Data, batch_size: int, of: int = 1) -> str | None:
    """Why a batch of one sample, where there is one, can't train: batch normalisation has no variance then.

    of: processes that have a part of each batch, and normalise it alone.
    """
    n, last = len(data.train), len(data.train) % batch_size
    small = 0 < last < 2 * of or batch_size < 2 * of
    if not small or not any(isinstance(m, BATCH_NORMS) for m in net.modules()):
        return None
    like = next(net.parameters())
    try:
        with torch.no_grad():
            net.train()(torch.zeros(1, *data.in_shape, device=like.device, dtype=like.dtype))
    except ValueError:  # `Expected more than 1 value per channel when training`
        which = f"the last of {math.ceil(n / batch_size):,} batches has" if batch_size >= 2 * of else "every batch has"
        if of > 1:
            few = f"fewer than {2 * of} samples for {of} processes ({n:,} by {batch_size})"
            both = "use another size, or trainer.sync_batchnorm=true"
            return f"{which} {few}; batch normalisation needs two in each: {both}"
        by = f" ({n:,} samples by {batch_size})" if batch_size > 1 else ""
        return f"{which} one sample{by}; batch normalisation needs two: use another size"
    return None
