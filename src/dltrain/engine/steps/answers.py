"""What the model answered to the last rows before a validation, while it was trained on them: no pass of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dltrain.engine.ranks import Ranks
from dltrain.errors import CheckpointError

ROWS = 1_000  # so many, if an epoch has them: of a share of them the standard error is 1.6 % at most


class Answers:
    """Outputs [R, K], targets [R, ...] and, where rows have such, weights [R] of the last steps.

    While this is `on` steps hand over each batch after its transform and before the update, which costs a small net's
    a fiftieth. L-BFGS, which answers many times within a step, hands over what it answered first; a program of several
    steps and a graph hand over nothing.
    """

    def __init__(self) -> None:
        self.on = False
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._weights: list[Tensor] = []

    def add(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
        """Those of a batch; steps ask first whether it is `on`. Outputs are copied: they may lie in their memory."""
        self._outputs.append(outputs.clone())
        self._targets.append(target)
        if weight is not None:
            self._weights.append(weight)

    def complete(self, rows: int, ranks: Ranks | None = None) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """All of them, also of other processes, where they are those of so many rows."""
        found = self.tensors()
        if ranks is not None:
            parts = [part for part in ranks.all_gather_object([t.cpu() for t in found]) if part]
            found = [torch.cat([*each]) for each in zip(*parts, strict=True)]
        if not rows or not found or len(found[0]) != rows:
            return None
        outputs, target, *weight = found
        return outputs, target, weight[0] if weight else None

    def tensors(self) -> list[Tensor]:
        """All of them in a row, for a checkpoint; nothing where there are none."""
        return [torch.cat(part) for part in (self._outputs, self._targets, self._weights) if part]

    def restart(self, tensors: Sequence[Tensor] = ()) -> None:
        """Forgets all but these, which `tensors` gave."""
        self.on = False
        self._outputs, self._targets, self._weights = ([*tensors[i : i + 1]] for i in range(3))


def check(found: object) -> None:
    """Raises CheckpointError unless it may be what `Answers.tensors` gave."""
    tensors = found if isinstance(found, list) else [found]
    known = [t for t in tensors if isinstance(t, Tensor) and t.ndim]
    if len(known) < len(tensors) or len(tensors) not in (0, 2, 3) or len({len(t) for t in known}) > 1:
        raise CheckpointError("answers: want outputs, targets and weights of as many rows")
