"""The perceptron's mistakes, counted by the steps while they train: answers with y f(x) <= 0, which alone push."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from dltrain.parts import losses


class Mistakes:
    """How many there were since the last report. What lies on the device is read there, and not at a step."""

    def __init__(self, device: torch.device) -> None:
        self.number = 0  # of steps that know theirs as a plain number
        self.tensor = torch.zeros((), dtype=torch.int64, device=device)  # always the same memory: graphs write to it

    def count(self) -> int:
        """All of them; waits for the device."""
        return self.number + int(self.tensor)

    def restart(self, count: int = 0) -> None:
        """From so many."""
        self.number = count
        self.tensor.zero_()

    def add(self, logits: Tensor, target: Tensor) -> None:
        """Those of a batch. logits [B, K], target [B]."""
        self.tensor.add_(losses.mistakes(logits.detach(), target))


class _Counting(Protocol):
    loss: nn.Module
    optimizer: Optimizer
    mistakes: Mistakes


def counted(parts: _Counting) -> Mistakes | None:
    """Where the steps are to count; None where nothing is to be counted. L-BFGS answers many times within a step."""
    counts = isinstance(parts.loss, losses.Perceptron) and not isinstance(parts.optimizer, LBFGS)
    return parts.mistakes if counts else None
