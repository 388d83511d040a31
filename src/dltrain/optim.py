"""Parameter groups, and the one optimizer that torch has only in part: Muon for every parameter of a net."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict[str, Any]]:
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
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        matrices, others = [], []
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
        # The parts' groups are the groups: whoever sets a learning rate here sets it there.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Tensor | None:
        """One update of both parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


FUSED = (
    SGD,
    Adam,
    AdamW,
)  # one kernel for all parameters; on a CPU half the time of the step goes without it
