"""A step of L-BFGS, which evaluates its objective several times: within the step that is one and the same function.

Random numbers repeat, and buffers, such as running statistics, start from the same values at each evaluation. What a
step leaves of them is what its first evaluation left, as with any other optimizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from dltrain.engine.guard import norm
from dltrain.engine.state import random_state, set_random_state
from dltrain.engine.steps.batches import parted
from dltrain.engine.steps.plain import Plain
from dltrain.engine.steps.step import Batch, Kind
from dltrain.errors import DivergedError


class Search:
    """The plain step for L-BFGS. Where an evaluation is not finite, the old weights come back."""

    kind: Kind = "plain"

    def __init__(self, plain: Plain, parameters: list[Tensor], device: torch.device) -> None:
        self.plain, self.parameters, self.device = plain, parameters, device

    @torch.inference_mode(False)
    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        """Returns the loss of the old weights; the gate's norm is that of their gradient."""
        plain, gate = self.plain, self.plain.gate
        batches = list(batches)  # the transform draws once a step: the objective may not change on the way
        weights, start = [p.detach().clone() for p in self.parameters], _Moment(plain, self.device)
        first: list[_Evaluation] = []  # when it has been made

        def objective() -> Tensor:
            if first:
                start.recall(draws=first[0].drew)
            parts = parted(batches, given, plain.loss, plain.ranks)
            loss = gate(plain.backward(parts, len(given)), given, epoch)
            if not first:
                after = _Moment(plain, self.device)
                size = float(gate.norm) if gate.norm is not None else norm(gate.gradients)
                first.append(_Evaluation(after, after.drew_since(start), loss, size))
                plain.answers.on = False  # those of the old weights are there
            with torch.no_grad():
                return loss if plain.penalty is None else loss + plain.penalty()

        try:
            # torch's hints speak of a float, and its L-BFGS makes one of the scalar.
            plain.optimizer.step(objective)  # pyrefly: ignore[no-matching-overload]
        except DivergedError:
            for p, weight in zip(self.parameters, weights, strict=True):
                p.detach().copy_(weight)
            raise
        after, drew, loss, gate.norm = first[0]
        after.recall(draws=drew)
        return loss


class _Evaluation(NamedTuple):
    """What an evaluation of the objective leaves: the moment, whether it drew, its loss, and its gradient's norm."""

    after: _Moment
    drew: bool
    loss: Tensor
    norm: float


class _Moment:
    """Buffers and generators as they are now, to come back to."""

    def __init__(self, plain: Plain, device: torch.device) -> None:
        self.plain, self.device = plain, device
        self.buffers, self.random = [b.detach().clone() for b in self._buffers()], random_state(device)

    def _buffers(self) -> list[Tensor]:
        return [*self.plain.model.buffers(), *self.plain.loss.buffers()]  # a module may put new ones in their place

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
            set_random_state(self.random, self.device)
