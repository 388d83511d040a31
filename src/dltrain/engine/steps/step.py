"""The one face of all steps, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.engine.products import Kernels
from dltrain.engine.ranks import Ranks
from dltrain.engine.steps.answers import Answers
from dltrain.engine.steps.mistakes import Mistakes
from dltrain.parts import State
from dltrain.parts.regularisers import BatchTransform

Precision = Literal["fp32", "bf16", "fp16"]
Kind = Literal["plain", "direct", "compiled", "graph"]
Alike = tuple[Tensor, Tensor, Tensor]  # x [B, ...], y [B] or [B, K], index [B]
Batch = Alike | tuple[Tensor, Tensor, Tensor, Tensor]  # the last: how much each row counts, float32 [B], on the CPU


class Loader(Protocol):
    """What `fit` needs of a loader: the batches of an epoch from a position, and their number.

    The order of an epoch is a function of its number: to go on in its middle, two whole numbers are enough. One whose
    rows do not count the same has `weight`, float32 [samples] on the CPU, of which a batch's index says those of its.
    """

    samples: int
    batch_size: int  # of all batches but the last
    batch_bytes: int | None  # of such a batch's input; None where it is not held in memory

    def __len__(self) -> int: ...

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Alike]: ...


class Keeps(Protocol):
    """What a checkpoint asks of a part that has a state."""

    def state_dict(self) -> State: ...

    def load_state_dict(self, state: State, /) -> object: ...


class Schedule(Keeps, Protocol):
    """What sets the rates; a property `moves_momentum`, where it has one, says whether it moves momentum, too."""

    def set(self, step: int, /) -> object:
        """Called before the update after so many steps."""

    def end_epoch(self, metrics: dict[str, float], /) -> object:
        """Called after the last update of an epoch, with what its report says, if there is one."""


class Average(Keeps, Protocol):
    """What averages the weights; its `model` stands for the trained one where that is judged."""

    @property
    def model(self) -> nn.Module: ...

    def update(self) -> object: ...


class Parts(Protocol):
    """What a step is made of: the Trainer, as far as others read it. A step keeps what it has been made of; where that
    is replaced, a new step is made.
    """

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    clip_norm: float | None
    clip_value: float | None
    penalty: Callable[[], Tensor] | None
    schedule: Schedule | None  # this and the next three act around the step, and may be replaced between two of them
    transform: BatchTransform | None
    constraint: Callable[[], object] | None
    ema: Average | None
    steps: int  # that are done
    mistakes: Mistakes
    answers: Answers
    rate_key: str
    scale_key: str | None
    ranks: Ranks | None  # the processes that share the run, where there are several

    @property
    def device(self) -> torch.device: ...

    @property
    def kernels(self) -> Kernels: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def parameters(self) -> list[Tensor]:
        """The optimizer's."""


class Step(Protocol):
    """One update. Beside each kind stands a `why_not`: why it can't be, in a few words, or None."""

    kind: Kind

    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        """Leaves new weights; returns the mean loss of the old ones, a detached scalar.

        batches: after their transform, each made when it is asked for, since transform and model draw random numbers
        from the same generators. given: as the loader gave them, for their sizes and for what an error says.
        """


class Gradients(Protocol):
    """What makes the gradients of batches that a quicker step is not for."""

    def backward(self, parts: Iterable[tuple[Batch, float]], count: int, mean: Tensor | None = None) -> Tensor:
        """Leaves the gradient of the mean loss in `.grad`; parts: batches with their shares, as `batches.parted` gives
        them, `count` a step; mean: of those before these. Returns that loss.
        """


def autocast(device: torch.device, precision: Precision) -> Callable[[], AbstractContextManager[object]]:
    """Makes the context in which model and loss run."""
    if precision == "fp32":
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
