"""Parameter groups, the one optimizer that torch has only in part (Muon for every parameter of a net), and steps that
do without torch's compiler.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import overload

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from dltrain.parts import Group, State


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[Group]:
    """Weights with decay; biases and norm parameters (1-D) without."""
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class Muon(Optimizer):
    """Muon on weight matrices, AdamW on everything else (biases, norms, embeddings of other rank).

    `torch.optim.Muon` takes 2-D parameters only. The update is scaled to AdamW's root mean square (Liu et al.
    2025), so the learning rates and decays of AdamW carry over. Source: Jordan et al. 2024.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        matrices: list[Group] = []
        others: list[Group] = []
        for group in self.param_groups:
            for parameters, wanted in ((matrices, True), (others, False)):
                chosen = [p for p in group["params"] if (p.ndim == 2) == wanted]
                if chosen:
                    parameters.append({**group, "params": chosen})
        if not matrices:
            raise ValueError("optimizer=muon needs weight matrices, and this model has none; use optimizer=adamw")
        muon = torch.optim.Muon(
            matrices,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )
        self.parts = [muon] + ([AdamW(others, lr=lr, betas=betas, eps=eps)] if others else [])
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        self._share()

    def _share(self) -> None:
        """The parts work on the groups and the state of the whole."""
        groups = iter(self.param_groups)
        for part in self.parts:
            part.state, part.param_groups = self.state, [next(groups) for _ in part.param_groups]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of both parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def load_state_dict(self, state_dict: State) -> None:
        super().load_state_dict(state_dict)
        self._share()


FUSED = (SGD, Adam, AdamW)  # one kernel makes their whole update; without it a step on a CPU takes twice the time


def spare_compiler() -> None:
    """Lets torch's optimizers work without importing torch's compiler, which takes 1.1 s; call it before making one.

    torch wraps methods of `Optimizer` so that the compiler leaves them alone, or breaks its graph around them, and
    imports it for that at their first call, also where nothing is compiled. Here the first kind is told that the
    method itself is what to call, and the second gets the same step without the breaks; results are the same, and a
    compiler that traces an optimizer goes through. Where torch is built otherwise nothing happens.
    """
    for method in (Optimizer.add_param_group, Optimizer.zero_grad, Optimizer.state_dict, Optimizer.load_state_dict):
        plain = inspect.unwrap(method)
        plain.__dict__.setdefault("__dynamo_disable", plain)  # where torch._compile keeps what it found
    for cls in vars(torch.optim).values():
        step = vars(cls).get("step") if isinstance(cls, type) and issubclass(cls, Optimizer) else None
        if step is not None and getattr(getattr(step, "__code__", None), "co_name", None) == "_use_grad":
            cls.step = _without_breaks(step.__wrapped__)


def _without_breaks(step: Callable[..., object]) -> Callable[..., object]:
    """What torch's `_use_grad_for_differentiable` makes of a step, less the breaks of the compiler's graph."""

    @functools.wraps(step)
    def plain(self: Optimizer, *args: object, **kwargs: object) -> object:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *args, **kwargs)

    return plain
