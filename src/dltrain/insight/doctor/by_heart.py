"""A small experiment of the doctor's: whether a net can learn a few rows at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader

AT_ONCE = 1024  # samples that are judged


@dataclass(frozen=True)
class Learned:
    """What a net made of a few rows: its loss at first and at best, and the best accuracy or r2 (`metric`)."""

    metric: str
    value: float
    enough: bool  # whether that is as good as all of them
    loss: tuple[float, float]
    steps: int
    rows: int


def learn(plan: Plan, model: nn.Module, x: Tensor, y: Tensor, *, steps: int, enough: dict[str, float]) -> Learned:
    """Full-batch Adam until accuracy or r2 is `enough`.

    Dropout is off, and so is all else that differs in training mode but for batch statistics.
    """
    loss = plan.loss.to(plan.device).eval()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    metric = "r2" if plan.data.task == "regression" else "accuracy"
    first, lowest, best, step = math.nan, math.inf, -math.inf, 0
    for step in range(steps + 1):
        optimizer.zero_grad()
        outputs = model(x)
        value = loss(outputs, y)
        number = value.item()
        if not math.isfinite(number):
            break
        first, lowest = (number if step == 0 else first), min(number, lowest)
        if step % 5 == 0:
            found = judge(plan, outputs.detach(), y)[metric]
            best = max(best, found if math.isfinite(found) else -math.inf)
            if best >= enough[metric]:
                break
        value.backward()
        optimizer.step()
    return Learned(metric, best, best >= enough[metric], (first, lowest), step, len(x))


class _Answers(nn.Module):
    """A stand-in for a model that has answered: what it is given are the rows that are asked for."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, rows: Tensor) -> Tensor:
        return self.outputs[rows]


def judge(plan: Plan, outputs: Tensor, y: Tensor) -> dict[str, float]:
    """The metrics of outputs [n, K] for targets y."""
    rows = make_loader(Tensors(torch.arange(len(outputs)), y), batch_size=AT_ONCE, device=outputs.device)
    return build.make_evaluate(plan)(_Answers(outputs), rows)
