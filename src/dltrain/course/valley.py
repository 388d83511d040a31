"""The squared error of a line w x + b over w and b: a valley, known exactly, and the ways that runs took in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from dltrain.config import construct
from dltrain.config.policy import Part
from dltrain.course import looks
from dltrain.trained.whole_run import TrainedRun

_LOST = 1e6  # of w: from there nothing comes back within the steps of a film


@dataclass(frozen=True)
class Valley:
    """L(w, b) = mean (w x + b - y)² over the train rows of a run: a function of p = (w, b) of degree two.

    second [2, 2]: mean of (x, 1)ᵀ (x, 1), half of the Hessian. lowest [2]: where L is least, and `least` is what it is.
    """

    second: np.ndarray
    lowest: np.ndarray
    least: float

    def loss(self, points: np.ndarray) -> np.ndarray:
        """[...] at points [..., 2]."""
        off = points - self.lowest
        return self.least + np.einsum("...i,ij,...j->...", off, self.second, off)

    @property
    def condition(self) -> float:
        """How many times steeper it is across than along."""
        low, high = np.linalg.eigvalsh(self.second)
        return float(high / low)


def of(run: TrainedRun) -> Valley:
    """That of the train rows of a run of one input and one output."""
    x, y = (rows.double().flatten().numpy() for rows in looks.rows(run))
    inputs = np.stack([x, np.ones_like(x)], axis=1)
    second, lowest = inputs.T @ inputs / len(x), np.linalg.lstsq(inputs, y)[0]
    return Valley(second, lowest, float(np.square(inputs @ lowest - y).mean()))


def walk(run: TrainedRun) -> np.ndarray:
    """(w, b) [steps + 1, 2] before the first step of a run, and after each."""
    way = looks.way(run, moments=None)
    return torch.stack([torch.cat([v.flatten() for v in weights.values()]) for weights in way.weights]).double().numpy()


def descend(valley: Valley, start: np.ndarray, part: Part, *, gradients: int) -> np.ndarray:
    """(w, b) [gradients, 2] where an optimizer asks for the gradient of a valley, from `start` on."""
    net = nn.Linear(1, 1).double()
    second, lowest = torch.from_numpy(valley.second), torch.from_numpy(valley.lowest)
    with torch.no_grad():
        net.weight.fill_(start[0])
        net.bias.fill_(start[1])
    optimizer = construct.make_optimizer(part, net, torch.device("cpu"))
    points: list[tuple[float, float]] = []

    def closure() -> float:
        points.append((net.weight.item(), net.bias.item()))
        off = torch.tensor(points[-1], dtype=torch.float64) - lowest
        slope = second @ off
        net.weight.grad, net.bias.grad = 2 * slope[:1, None], 2 * slope[1:]
        return float(off @ slope)

    while len(points) < gradients:
        before = len(points)
        optimizer.step(closure)
        if points[before:] == points[before - 1 : before] or abs(points[-1][0]) > _LOST:  # it stands still, or is gone
            points += points[-1:] * (gradients - len(points))
    return np.array(points[:gradients])
