"""What people have, made into what a step knows: functions, torch's schedulers, numbers, loaders, arrays.

What can't be taken is refused in one sentence, with what to write: a ValueError of the errors room.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeGuard, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, IterableDataset

from dltrain.data import Data, Split, Tensors, as_tensor, weights
from dltrain.data.loaders import make_loader
from dltrain.engine import devices
from dltrain.engine.steps.batches import weights_of
from dltrain.engine.steps.step import Alike, Average, Batch, Loader, Schedule
from dltrain.errors import ConfigError, DataError
from dltrain.parts import row_weights
from dltrain.parts.ranges import outside
from dltrain.parts.regularisers import EMA, Penalty
from dltrain.parts.schedules import PureSchedule, Setting, TorchSchedule

_BATCH, _JUDGED = 32, 1024  # rows of a step, and of what is judged, where nobody has said how many
Source = DataLoader[Any] | Dataset[Any] | Data | Split | tuple[Any, Any]  # of which `loader` makes one of ours
_MODULES: dict[object, type[nn.Module]] = {  # of functions that a step may know as modules
    F.cross_entropy: nn.CrossEntropyLoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.huber_loss: nn.HuberLoss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.binary_cross_entropy: nn.BCELoss,
}
_EACH_STEP = (OneCycleLR, CyclicLR)  # whose manual steps them after each batch


class Function(nn.Module):
    """A loss that is a function (outputs, targets) -> mean; `reduction` is what it takes by this name, if it does."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function, self.seen = function, False
        with suppress(ValueError, TypeError):  # what is written in C may have no signature
            if (knob := inspect.signature(function).parameters.get("reduction")) is not None:
                self.reduction = knob.default

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if not self.seen and not torch.compiler.is_compiling():
            self.seen = True
            if outputs.shape == (len(targets), 1) and targets.ndim == 1 and self._mixes_rows(outputs, targets):
                shapes, size = f"outputs {list(outputs.shape)} and targets {list(targets.shape)}", len(targets)
                warnings.warn(
                    f"loss: {shapes} are taken for {size} x {size} numbers; targets[:, None] fit", stacklevel=2
                )
        if vars(self).get("reduction") == "none":  # of rows with weights
            return self.function(outputs, targets, reduction="none")
        return self.function(outputs, targets)

    @torch.no_grad()
    def _mixes_rows(self, outputs: Tensor, targets: Tensor) -> bool:
        """Whether the loss of some rows is not the mean of the loss of each; not of one that takes no row alone."""
        with torch.random.fork_rng(devices=[]), suppress(Exception):  # what a function draws, it draws as without this
            some = range(min(len(targets), 8))
            each = torch.stack([self.function(outputs[i : i + 1], targets[i : i + 1]) for i in some])
            return not torch.allclose(each.mean(), self.function(outputs[:8], targets[:8]), rtol=1e-3, equal_nan=True)
        return False

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def model(given: object) -> nn.Module:
    if isinstance(given, nn.Module):
        return given
    _refuse_class("model", given, "a module, {}(...)")
    raise ConfigError(f"model: give an nn.Module, not {_article(given)}")


def loss(given: object) -> nn.Module:
    if isinstance(given, nn.Module):
        return given
    _refuse_class("loss", given, "a module, {}()")
    if not callable(given):
        example = "nn.CrossEntropyLoss()"
        raise ConfigError(f"loss: give a module or a function (outputs, targets) -> mean, as {example}, not {given!r}")
    known = next((made for function, made in _MODULES.items() if function is given), None)  # not all have a hash
    return Function(given) if known is None else known()


def optimizer(given: object, model: nn.Module, loss: nn.Module) -> Optimizer:
    _refuse_class("optimizer", given, "torch.optim.{}(model.parameters(), lr=...)")
    if not isinstance(given, Optimizer):
        raise ConfigError(f"optimizer: give one of torch.optim, made with model.parameters(), not {_article(given)}")
    held = {id(p) for group in given.param_groups for p in group["params"]}
    if held.isdisjoint(id(p) for part in (model, loss) for p in part.parameters()):
        raise ConfigError(
            "the optimizer has none of the model's parameters, and so would train nothing: make it after the model, "
            "with model.parameters()"
        )
    return given


def schedule(given: object, optimizer: Optimizer) -> Schedule | None:
    """A scheduler of torch's is stepped once an epoch, but OneCycleLR and CyclicLR once a step."""
    if given is None or hasattr(given, "set"):
        return cast("Schedule | None", given)
    if isinstance(given, (LRScheduler, ReduceLROnPlateau)):
        if given.optimizer is not optimizer:
            raise ConfigError(f"schedule: this {type(given).__name__} moves the rates of another optimizer")
        return TorchSchedule(given, interval="step" if isinstance(given, _EACH_STEP) else "epoch")
    _refuse_class("schedule", given, "{}(optimizer, ...)")
    if callable(given):
        return PureSchedule(optimizer, _setting(given))
    raise ConfigError(
        "schedule: give a scheduler of torch.optim.lr_scheduler, or a function of the step as dltrain.schedules has, "
        f"not {given!r}"
    )


def _setting(given: Callable[[int], object]) -> Callable[[int], Setting]:
    """A function of the step that gives a rate, as one that gives a rate and a momentum, which all of ours do."""
    if not _is_number(given(0)):
        return cast("Callable[[int], Setting]", given)
    return lambda step: Setting(cast("float", given(step)))


def average(given: object, model: nn.Module) -> Average | None:
    if _is_number(given):
        return EMA(model, given)
    if given is None or hasattr(given, "update"):
        return cast("Average | None", given)
    raise ConfigError(f"ema: give a decay, as 0.999, or dltrain.EMA(model, 0.999), not {given!r}")


def penalty(given: object, model: nn.Module) -> Callable[[], Tensor] | None:
    if _is_number(given):
        return Penalty(model, l2=given)
    if given is None or callable(given):
        return given
    example = "dltrain.Penalty(model, l1=1e-5)"
    raise ConfigError(f"penalty: give a factor of the squared weights, as 1e-4, or {example}, not {given!r}")


def device(given: torch.device | str) -> torch.device:
    """Raises ConfigError for one that this machine has not."""
    if (mistake := devices.mistake(str(given))) is not None:
        raise ConfigError(mistake.replace("trainer.device=cpu or auto", "device='cpu'").replace("auto, ", ""))
    return torch.device(given)


def called(name: str, given: object, example: str) -> None:
    """Raises ConfigError for what is neither None nor a function."""
    if given is not None and not callable(given):
        raise ConfigError(f"{name}: give {example}, not {given!r}")


def limit(name: str, value: object) -> float | None:
    """A bound of gradients; raises ConfigError for what is none."""
    if value is None or (_is_number(value) and not outside(f"regularisation.{name}", value)):
        return value
    raise ConfigError(f"{name}={value!r}: give a number above zero, or None")


def _refuse_class(name: str, given: object, wanted: str) -> None:
    """wanted: what to give in its place, with {} for the name of the class."""
    if inspect.isclass(given):
        raise ConfigError(f"{name}={given.__name__}: this is a class; give {wanted.format(given.__name__)}")


def _is_number(given: object) -> TypeGuard[float]:
    return isinstance(given, (int, float)) and not isinstance(given, bool)


def _article(given: object) -> str:
    name = type(given).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


# -- rows ---------------------------------------------------------------------------------------------------------


def loader(
    given: object, *, device: torch.device, shuffle: bool, batch_size: int | None = None, seed: int | None = None
) -> Loader:
    """Batches of a loader of ours or torch's, of a part of `Data`, a Dataset, or a pair (x, y).

    Of `Data` the train part is trained on; where it would be judged, a part is to be named.
    """
    if hasattr(given, "epoch") or isinstance(given, DataLoader):
        if batch_size is not None or seed is not None:
            raise ConfigError("batch_size and seed are the loader's own: give them to what makes it")
        return FromTorch(given, device) if isinstance(given, DataLoader) else cast("Loader", given)
    transform = None
    if isinstance(given, Data):
        if not shuffle:
            raise DataError("Data has three parts: say which, as data.val or data.test")
        given, transform = given.train, given.transform
    if isinstance(given, (tuple, list)) and len(given) == 2:
        given = Tensors(as_tensor(given[0]), as_tensor(given[1]))
    elif isinstance(given, (Tensor, np.ndarray)):
        raise DataError("these are inputs without targets: give both, (x, y)")
    sized = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    if isinstance(given, (str, Mapping, IterableDataset)) or not sized:
        raise DataError(f"data: give Data, a loader, a Dataset with a length, or a pair (x, y), not {_article(given)}")
    split = cast("Split", given)
    size = batch_size or (_BATCH if shuffle else _JUDGED)
    return make_loader(split, batch_size=size, shuffle=shuffle, seed=seed or 0, device=device, transform=transform)


def batches(given: Sequence[Any]) -> Sequence[Batch]:
    """A list of batches (x, y, index), and perhaps weights, as it is; or one batch, and batches (x, y) without."""
    first = given[0]
    if not isinstance(first, (tuple, list)):
        return batches([given])
    if len(first) in (3, 4):
        return given
    if len(first) != 2:
        raise DataError(f"a batch is (x, y), (x, y, index) or (x, y, index, weight), and not {len(first)} values")
    pairs = [(as_tensor(x), as_tensor(y)) for x, y in given]
    return [(x, y, torch.arange(len(x))) for x, y in pairs]


class FromTorch:
    """Torch's DataLoader as `fit` reads it. Its order is its own: training that goes on within an epoch skips what
    had been read, in the order that it has then.
    """

    batch_bytes: int | None = None

    def __init__(self, inner: DataLoader[Any], device: torch.device) -> None:
        try:
            self._batches = len(inner)
        except TypeError:
            raise DataError(
                "this DataLoader reads an IterableDataset without a length, so that nobody knows when an epoch ends: "
                "give the dataset a __len__"
            ) from None
        if weights(inner.dataset) is not None:
            raise DataError("a DataLoader does not say which rows, and so which weights, a batch has: give its dataset")
        self.inner, self.device = inner, device
        self.batch_size = inner.batch_size or 1
        whole = self._batches * self.batch_size
        rows = len(inner.sampler) if hasattr(inner.sampler, "__len__") else whole  # pyrefly: ignore[bad-argument-type]
        self.samples = min(whole, rows) if inner.batch_size else whole

    def __len__(self) -> int:
        return self._batches

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Alike]:
        done = 0
        for batch in islice(self.inner, start, None):
            x, y = self._pair(batch)
            yield x.to(self.device), y.to(self.device), torch.arange(done, done + len(x))
            done += len(x)

    def _pair(self, batch: object) -> tuple[Tensor, Tensor]:
        if isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(t, Tensor) for t in batch):
            return batch[0], batch[1]
        found = f"{len(batch)} values" if isinstance(batch, (tuple, list)) else _article(batch)
        raise DataError(f"the DataLoader's batches are {found}: a collate_fn gives pairs of tensors, (x, y)")


def weighted(train: Loader, loss: nn.Module) -> bool:
    """Whether rows count by weights; raises ConfigError where the loss can't, and DataError where all of them are 0."""
    if (weight := weights_of(train)) is None:
        return False
    if (why := row_weights.why_not(loss)) is not None:
        raise ConfigError(why)
    if not weight.any():
        raise DataError("weight: it is 0 for every row, so that there is nothing to learn from")
    return True


# -- what validation says ------------------------------------------------------------------------------------------


def metrics(given: object) -> dict[str, float]:
    """Metrics by name; a number alone is called `score`."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(name): float(value) for name, value in given.items()}
    try:
        return {"score": float(cast("float", given))}
    except (TypeError, ValueError):
        raise ConfigError(f"validate: it is to return a number, or a dict of them, not {_article(given)}") from None
