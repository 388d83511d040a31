"""A step of L-BFGS, which evaluates its objective several times: within the step that is one and the same function.

The caller gives the batches as they are after their transform. Random numbers repeat, and buffers, such as running
statistics, start from the same values at each evaluation. What a step leaves of them is what its first evaluation
left, as with any other optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dltrain.engine.state import random_state, set_random_state
from dltrain.errors import DivergedError


def step(trainer: Any, gradients: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """A trainer's update. `gradients()` leaves those of the objective in `.grad`, and returns the loss: the objective
    without the penalty.

    Returns the loss of the old weights and the norm of their gradient. Raises DivergedError where an evaluation is
    not finite; the old weights are then back.
    """
    weights, start = [p.detach().clone() for p in trainer.parameters], _Moment(trainer)
    first: list[Any] = []  # what the first evaluation leaves: the moment, whether it drew, loss and norm

    def objective() -> Tensor:
        if first:
            start.recall(draws=first[1])
        loss = gradients()
        if not first:
            after = _Moment(trainer)
            first.extend((after, after.drew_since(start), loss, trainer.gradient_norm()))
        with torch.no_grad():
            return loss if trainer.penalty is None else loss + trainer.penalty()

    try:
        trainer.optimizer.step(objective)
    except DivergedError:
        torch._foreach_copy_([p.detach() for p in trainer.parameters], weights)
        raise
    after, drew, loss, norm = first
    after.recall(draws=drew)
    return loss, norm


class _Moment:
    """The buffers and the generators of a trainer as they are now, to come back to."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.buffers = [b.detach().clone() for b in self._buffers()]
        self.random = random_state(trainer.device)

    def _buffers(self) -> list[Tensor]:
        return [*self.trainer.model.buffers(), *self.trainer.loss.buffers()]

    def drew_since(self, earlier: _Moment) -> bool:
        """Whether any random number was drawn."""
        pairs = zip(tree_leaves(self.random), tree_leaves(earlier.random), strict=True)
        return any(not torch.equal(a, b) if isinstance(a, Tensor) else a != b for a, b in pairs)

    @torch.no_grad()
    def recall(self, *, draws: bool) -> None:
        """Goes back; `draws`: of the generators, too, which takes longer than a small net's evaluation."""
        for buffer, value in zip(self._buffers(), self.buffers, strict=True):
            buffer.copy_(value)
        if draws:
            set_random_state(self.random, self.trainer.device)
