"""Parameters, gradients and optimizer state of a whole net in rows, one for each group, updated by one call a row."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from dltrain.engine.steps import exact_updates
from dltrain.engine.steps.rows import LINE, Row
from dltrain.parts.optimizers import FUSED


class Flat:
    """Lays an optimizer's parameters out in rows, one for each of its groups, and updates them.

    Parameters become views of a row, weights before what has fewer than two dimensions, and so do their `.grad`.
    An optimizer without a rule here updates the views by itself, and keeps its state as it is.

    `apart`: `.grad` is still what others have left there. It is theirs until a step would clear it: one that fails
    before has not touched it.
    """

    def __init__(self, optimizer: Optimizer, *, exact: bool = True, note: int = 0) -> None:
        """exact: only by a rule that gives the bits which the optimizer, set as it is, would give. note: room for so
        many numbers behind all gradients, which then are one message for other processes, `shared`.
        """
        self.optimizer, self.exact = optimizer, exact
        # A program cuts a row by the sizes of its parameters, and so takes it without gaps: it owes no bits.
        self.rows = [Row(optimizer, group, align=LINE if exact else 1) for group in optimizer.param_groups]
        self.shared = self._in_one_row(note) if note and len({row.grad.dtype for row in self.rows}) == 1 else None
        self.attach()

    def _in_one_row(self, note: int) -> Tensor:
        """All gradients one after the other."""
        lengths = [row.length for row in self.rows]
        whole = self.rows[0].grad.new_zeros(sum(lengths) + note)
        for row, part in zip(self.rows, whole.split([*lengths, note]), strict=False):
            row.put_gradients(part)
        return whole

    def is_for(self, optimizer: Optimizer, *, exact: bool) -> bool:
        """Whether it has been made for such an optimizer, with the parameters that it has now."""
        groups = optimizer.param_groups
        return (
            self.optimizer is optimizer
            and self.exact == exact
            and len(self.rows) == len(groups)
            and all(row.is_for(group["params"]) for row, group in zip(self.rows, groups, strict=True))
        )

    def attach(self) -> None:
        """Takes in what others have put in the place of our views: weights, gradients, optimizer state."""
        self._rule = exact_updates.rule(self.optimizer) if self.exact else exact_updates.RULES.get(type(self.optimizer))
        for row, group in zip(self.rows, self.optimizer.param_groups, strict=True):
            row.group = group  # load_state_dict makes new ones
            row.attach(keeps_state=self._rule is not None)
        self.apart = True
        if not self.exact:  # a program writes to the rows alone
            self.take_gradients()
        self._by_rule = self._rule if all(row.uniform for row in self.rows) else None

    @torch.inference_mode(False)
    def take_gradients(self) -> None:
        """Puts our views in the place of `.grad`, to be filled."""
        for row in self.rows:
            row.take_gradients()
        self.apart = False

    def leave_none(self) -> None:
        """What autograd leaves of gradients where a model or loss has failed: they were cleared, and none were made."""
        for row in self.rows:
            for p in row.parameters:
                p.grad = None
        self.apart = True

    def intact(self) -> bool:
        """Whether nobody has put anything in the place of our views."""
        groups = self.optimizer.param_groups
        return all(row.group is group and row.intact() for row, group in zip(self.rows, groups, strict=True))

    @property
    def fused(self) -> bool:
        """Whether one kernel makes the update, which takes the learning rate from the device, too."""
        return self._rule is not None and type(self.optimizer) in FUSED

    @property
    def gradients(self) -> list[Tensor]:
        return [row.grad for row in self.rows]

    def step(self) -> None:
        """One update of all parameters."""
        if (rule := self._by_rule) is not None:
            for row in self.rows:
                rule(row)
            return
        with torch.inference_mode(False):  # the state that it makes must be of use outside, too
            self.optimizer.step()
