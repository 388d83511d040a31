"""The one face of all steps, and what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Precision = Literal["fp32", "bf16", "fp16"]
Kind = Literal["plain", "direct", "compiled", "graph"]
Batch = tuple[Tensor, Tensor, Tensor]  # x [B, ...], y [B] or [B, K], index [B]


class Parts(Protocol):
    """What a step is made of: the Trainer, as far as others read it. A step keeps what it has been made of; where that
    is replaced, a new step is made.
    """

    model: nn.Module
    loss: nn.Module
    optimizer: Optimizer
    device: torch.device
    precision: Precision
    scaler: torch.amp.GradScaler
    clip_norm: float | None
    clip_value: float | None
    penalty: Any
    parameters: list[Tensor]  # the optimizer's
    schedule: Any  # this and the next three act around the step, and may be replaced between two of them
    transform: Any
    constraint: Any
    ema: Any
    steps: int  # that are done
    rate_key: str


class Step(Protocol):
    """One update. Beside each kind stands a `why_not`: why it can't be, in a few words, or None."""

    kind: Kind

    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        """Leaves new weights; returns the mean loss of the old ones, a detached scalar.

        batches: after their transform, each made when it is asked for, since transform and model draw random numbers
        from the same generators. given: as the loader gave them, for their sizes and for what an error says.
        """


def rows(batches: Sequence[Batch]) -> int:
    """How many rows a step's batches have together."""
    return len(batches[0][0]) if len(batches) == 1 else sum(len(x) for x, _, _ in batches)


def autocast(device: torch.device, precision: Precision) -> Callable[[], AbstractContextManager[Any]]:
    """Makes the context in which model and loss run."""
    if precision == "fp32":
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16 if precision == "bf16" else torch.float16)
