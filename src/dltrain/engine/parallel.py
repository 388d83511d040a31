"""A model whose gradients torch's DistributedDataParallel averages while they are made, and a note beside them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Parallel:
    """The model, called as it is. What the processes tell each other at a step, `size` numbers, is the gradient of one
    parameter more: it is averaged with all others, for a message of its own took 3 % of a small net's step.

    sends_buffers: whether those of the first process come before each forward pass. idle: whether a batch passes some
    parameters by, for which DDP has to look in each step then.
    """

    def __init__(self, model: nn.Module, size: int, *, sends_buffers: bool, idle: bool) -> None:
        self._noted = noted = _Noted(model, size)
        if "forward_sync_buffers" in signature(DistributedDataParallel).parameters:  # torch 2.14 warns of the old word
            whole = DistributedDataParallel(noted, find_unused_parameters=idle, forward_sync_buffers=sends_buffers)
        else:
            whole = DistributedDataParallel(noted, find_unused_parameters=idle, broadcast_buffers=sends_buffers)
        self._whole = whole
        self._note: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        outputs, self._note = self._whole(x)
        return outputs

    def no_sync(self) -> AbstractContextManager[None]:
        """In here neither gradients nor notes are sent."""
        return self._whole.no_sync()

    def backward(self, objective: Tensor, note: Tensor) -> None:
        """The backward pass of the last call, which sends both."""
        assert self._note is not None
        torch.autograd.backward([objective, self._note], [None, note.to(self._note)])
        self._note = None

    def heard(self) -> Tensor | None:
        """The mean of all processes' notes, once after each backward pass that sent them."""
        note = self._noted.note
        found, note.grad = note.grad, None
        return found


class _Noted(nn.Module):
    """A model, and a parameter that is never updated."""

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model = model
        like = next(p for p in model.parameters() if p.requires_grad)
        # Of the gradients' type they share a message; a loss is not told in less than 32 bits.
        dtype = torch.promote_types(like.dtype, torch.float32)
        self.note = nn.Parameter(like.new_zeros(size, dtype=dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs, and that of which the note is the gradient: DDP looks for parameters behind both."""
        return self.model(x), self.note.view_as(self.note)
