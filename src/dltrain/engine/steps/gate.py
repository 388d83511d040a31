"""What stands between the backward pass and the update, whatever step it is: the guard, then clipping."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from dltrain.engine.guard import Guard
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.step import Batch, Parts


class Gate:
    """Lets gradients pass to the update: checked, and clipped by value, then by global norm.

    `norm` is that of the last gradient before it was clipped by norm; None where it is that of `.grad`.
    """

    def __init__(self, parts: Parts, guard: Guard, flat: Flat | None, *, norm: Tensor | float | None = None) -> None:
        self.guard, self.norm, self._parameters = guard, norm, parts.parameters
        self._flat = None if flat is None else flat.gradients
        self.clip_value, self.clip_norm = parts.clip_value, parts.clip_norm
        self._clips = parts.clip_value is not None or parts.clip_norm is not None
        self._unscale = partial(parts.scaler.unscale_, parts.optimizer) if parts.scaler.is_enabled() else None

    @property
    def gradients(self) -> list[Tensor]:
        if self._flat is not None:
            return self._flat
        return [p.grad for p in self._parameters if p.grad is not None]

    def __call__(self, loss: Tensor, given: Sequence[Batch], epoch: int) -> None:
        """Raises DivergedError, or holds the update back, where the loss or a gradient is not finite."""
        # With several processes their gradients are to be summed here: after the last backward pass of the step, so
        # that accumulating costs no traffic, and before the guard, so that all of them stop at the same step.
        if self._unscale is not None:
            self._unscale()
        # The guard sums up each tensor that it is given: where gradients lie in rows, those are few.
        self.guard.check(loss, self._flat or self.gradients, given, epoch)
        if self._clips:
            self.clip()
        else:
            self.norm = None

    def clip(self) -> None:
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self._parameters, self.clip_value)
        self.norm = None
        if self.clip_norm is not None:
            self.norm = nn.utils.clip_grad_norm_(self._parameters, self.clip_norm)
