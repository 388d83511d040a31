"""What stands between the backward pass and the update, whatever step it is: the guard, then clipping."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from dltrain.engine.guard import Guard
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.step import Batch, Parts
from dltrain.errors import DivergedError


class Gate:
    """Lets gradients pass to the update: checked, and clipped by value, then by global norm.

    `norm` is that of the last gradient before it was clipped by norm; None where it is that of `.grad`.
    """

    def __init__(self, parts: Parts, guard: Guard, flat: Flat | None, *, norm: Tensor | float | None = None) -> None:
        self.guard, self.norm, self._parameters = guard, norm, parts.parameters
        self._flat = None if flat is None else flat.gradients
        self.clip_value, self.clip_norm = parts.clip_value, parts.clip_norm
        self._ranks, self._shared = parts.ranks, None if flat is None else flat.shared
        self._alone = list[Tensor]()  # what the gate averages one by one: DDP knows the model's alone
        if parts.ranks is not None and self._shared is None:
            known = set[int]() if flat is not None else {*map(id, parts.model.parameters())}
            self._alone = [p for p in self._parameters if id(p) not in known]
        self._clips = parts.clip_value is not None or parts.clip_norm is not None
        self._unscale = partial(parts.scaler.unscale_, parts.optimizer) if parts.scaler.is_enabled() else None

    @property
    def gradients(self) -> list[Tensor]:
        if self._flat is not None:
            return self._flat
        return [p.grad for p in self._parameters if p.grad is not None]

    def __call__(self, loss: Tensor, given: Sequence[Batch], epoch: int) -> Tensor:
        """Raises DivergedError, or holds the update back, where the loss or a gradient is not finite. Returns the loss,
        of several processes their mean.
        """
        # After the last backward pass of the step, so that accumulating costs no traffic between processes, and before
        # the guard, so that all of them stop at the same step.
        own = loss
        if self._ranks is not None:
            loss = self._ranks.average(loss, self._shared, [p.grad for p in self._alone if p.grad is not None])
        if self._unscale is not None:
            self._unscale()
        # The guard sums up each tensor that it is given: where gradients lie in rows, those are few.
        try:
            self.guard.check(loss, self._flat or self.gradients, given, epoch)
        except DivergedError as error:
            if self._ranks is None:
                raise
            raise self._ranks.agreed(error, own) from None
        if self._clips:
            self.clip()
        else:
            self.norm = None
        return loss

    def clip(self) -> None:
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self._parameters, self.clip_value)
        self.norm = None
        if self.clip_norm is not None:
            self.norm = nn.utils.clip_grad_norm_(self._parameters, self.clip_norm)
