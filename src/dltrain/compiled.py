"""The whole step of any module as one compiled program: forward, backward, penalty, clipping and update.

Inductor fuses across the borders of modules, gradients and optimizer, and one call replaces hundreds. It pays where
calls are most of a step, on small nets; large products are as fast without. Numbers agree with the plain step's to
rounding, not to the bit; the same program gives the same bits again. Compiling takes 15 to 30 seconds, 2 to 5 where
torch's cache has the program: it pays on runs of 100,000 steps. It is done for one size of batches: others, such as
the last of an epoch, run through the same function uncompiled. Of a tiny net, whose step costs less than the call, one
program makes several steps.
"""

from __future__ import annotations

import logging
import os
import shutil
import types
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

from dltrain.flat import Flat, Row
from dltrain.regularisation import Penalty

_TINY = 1 << 21  # multiply-adds of a forward pass; about a call's time
_FEW = 16  # parameter tensors: a program of several steps takes that much longer to compile
_AT_ONCE = 8


class Program:
    """The step of a model, a loss and an optimizer whose parameters `flat` has laid out; `why_not` must be None.

    autocast: makes the context in which model and loss run. clip_value, clip_norm, penalty: as the Trainer has them.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        flat: Flat,
        *,
        autocast: Callable[[], Any],
        clip_value: float | None = None,
        clip_norm: float | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        self.model, self.loss, self.flat, self.autocast = model, loss, flat, autocast
        self.clip_value, self.clip_norm, self.penalty = clip_value, clip_norm, penalty
        self._update, self._names = _UPDATES[type(flat.optimizer)]
        # Guards, which ask at each call whether the program still fits, would take as long as the program. What it
        # rests on does not change: this object, and the sizes that __call__ compares.
        self._programs: dict[int, Callable[..., Any]] = {}  # by the number of steps
        self._rates: list[dict[str, Tensor]] = []
        self._values: list[Any] = []  # that the rates hold
        self.sizes: list[int] = []  # of the batches to compile for; those of the first call if nobody says
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says that there is no CUDA

    def __call__(
        self,
        steps: Sequence[Sequence[tuple[Tensor, Tensor]]],
        *,
        schedule: Callable[[int], object] | None = None,
        eager: bool = False,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """One update or several, each from batches (x, y) whose gradients are averaged.

        schedule(k) sets the optimizer's rates for the k-th of them. Returns the mean losses [steps], the norm of the
        last gradient before it is clipped by it (else None), and whether loss and gradients are finite [steps].
        Where they are not, the update is left out, and so are those that follow. eager: not compiled.
        """
        sizes = [len(x) for x, _ in steps[0]]
        self.sizes = self.sizes or sizes
        rates = []
        for k in range(len(steps)):
            if schedule is not None:
                schedule(k)
            rates.append([_numbers(row) for row in self.flat.rows])
        self._set_rates(rates)
        states = []
        for row in self.flat.rows:
            kept = {name: row.counter() if name == "step" else row.buffer(name) for name in self._names(row.group)}
            states.append({"w": row.data, "g": row.grad, **kept})
        with torch.no_grad():
            run = self._steps if eager or sizes != self.sizes else self._program(len(steps))
            return run(steps, states, self._rates)

    def steps_at_once(self, steps: int) -> int:
        """How many of an epoch's steps with whole batches are to be one program: one, unless the net is tiny."""
        parameters = [p for row in self.flat.rows for p in row.parameters]
        work = sum(p.numel() for p in parameters) * sum(self.sizes)
        if work > _TINY or len(parameters) > _FEW:
            return 1
        none_left_over = (k for k in range(_AT_ONCE, 3, -1) if steps % k == 0)
        return next(none_left_over, min(_AT_ONCE, max(1, steps)))

    def _set_rates(self, values: list[Any]) -> None:
        if values != self._values:
            self._values = values
            self._rates = [
                {name: torch.tensor([row[i][name] for row in values]) for name in values[0][i]}
                for i in range(len(self.flat.rows))
            ]

    def _program(self, steps: int) -> Callable[..., Any]:
        """The compiled function for so many steps."""
        if steps not in self._programs:
            # A function of its own, since programs are found by their function's code.
            own = types.FunctionType(Program._steps.__code__.replace(), globals())
            self._programs[steps] = torch.compile(
                types.MethodType(own, self),
                fullgraph=True,
                dynamic=False,
                options={"fallback_random": True, "guard_filter_fn": torch.compiler.skip_all_guards_unsafe},
            )
        return self._programs[steps]

    def _steps(
        self,
        steps: Sequence[Sequence[tuple[Tensor, Tensor]]],
        states: list[dict[str, Tensor]],
        rates: list[dict[str, Tensor]],
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        losses, finite, norm = [], [torch.ones((), dtype=torch.bool)], None
        for k, batches in enumerate(steps):
            now = [{name: values[k] for name, values in row.items()} for row in rates]
            loss, norm, good = self._step(batches, states, now, finite[-1])
            losses.append(loss)
            finite.append(good)
        return torch.stack(losses), norm, torch.stack(finite[1:])

    def _step(
        self,
        batches: Sequence[tuple[Tensor, Tensor]],
        states: list[dict[str, Tensor]],
        rates: list[dict[str, Tensor]],
        finite: Tensor,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        loss, norm = self._gradients(batches), None
        rows = [state["g"] for state in states]
        for row, state in zip(self.flat.rows, states, strict=True):
            if self.penalty is not None:
                state["g"][: row.weights] += self.penalty.gradient(state["w"][: row.weights])
        finite = finite & loss.isfinite()
        for g in rows:
            finite = finite & g.sum().isfinite()
        if self.clip_value is not None:
            for g in rows:
                g.clamp_(-self.clip_value, self.clip_value)
        if self.clip_norm is not None:
            norm = torch.stack([torch.linalg.vector_norm(g) for g in rows]).norm()
            for g in rows:
                g.mul_((self.clip_norm / (norm + 1e-6)).clamp(max=1.0))
        for row, state, numbers in zip(self.flat.rows, states, rates, strict=True):
            for name, value in self._update(state, numbers, row.group).items():
                state[name].copy_(torch.where(finite, value, state[name]))
        return loss, norm, finite

    def _gradients(self, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Leaves the gradients of the mean loss in `.grad`; returns that loss."""
        parameters = dict(self.model.named_parameters())
        buffers = dict(self.model.named_buffers())
        samples, mean = sum(len(x) for x, _ in batches), torch.zeros(())
        for i, (x, y) in enumerate(batches):
            derived = grad_and_value(self._objective, has_aux=True)
            gradients, (loss, moved) = derived(parameters, buffers, x, y, len(x) / samples)
            for name, parameter in parameters.items():
                (parameter.grad.add_ if i else parameter.grad.copy_)(gradients[name])
            for name, value in moved.items():
                buffers[name].copy_(value)
            mean = mean + loss
        return mean

    def _objective(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor, share: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        moved = {name: value.clone() for name, value in buffers.items()}  # running statistics change in place
        with self.autocast():
            loss = self.loss(functional_call(self.model, (parameters, moved), (x,)), y)
        return loss.float() * share, moved


# -- updates: the new weights and state of a row. w: weights, g: gradient; r: what a schedule may change ----------


def _sgd(s: dict[str, Tensor], r: dict[str, Tensor], o: dict[str, Any]) -> dict[str, Tensor]:
    g = s["g"] + o["weight_decay"] * s["w"]
    if not o["momentum"]:
        return {"w": s["w"] - r["lr"] * g}
    v = r["momentum"] * s["momentum_buffer"] + g
    return {"w": s["w"] - r["lr"] * (g + r["momentum"] * v if o["nesterov"] else v), "momentum_buffer": v}


def _adam(s: dict[str, Tensor], r: dict[str, Tensor], o: dict[str, Any]) -> dict[str, Tensor]:
    shrunk = o["decoupled_weight_decay"]
    g = s["g"] if shrunk else s["g"] + o["weight_decay"] * s["w"]
    w = s["w"] * (1 - r["lr"] * o["weight_decay"]) if shrunk else s["w"]
    m = s["exp_avg"] + (1 - r["beta1"]) * (g - s["exp_avg"])
    v = r["beta2"] * s["exp_avg_sq"] + (1 - r["beta2"]) * g * g
    new, top, step = {"exp_avg": m, "exp_avg_sq": v}, v, s["step"] + 1
    if o["amsgrad"]:
        new["max_exp_avg_sq"] = top = torch.maximum(s["max_exp_avg_sq"], v)
    root = (top / (1 - r["beta2"] ** step)).sqrt() + o["eps"]
    return {"w": w - r["lr"] / (1 - r["beta1"] ** step) * m / root, "step": step, **new}


def _rmsprop(s: dict[str, Tensor], r: dict[str, Tensor], o: dict[str, Any]) -> dict[str, Tensor]:
    g = s["g"] + o["weight_decay"] * s["w"]
    v = o["alpha"] * s["square_avg"] + (1 - o["alpha"]) * g * g
    move = g / (v.sqrt() + o["eps"])
    new = {"step": s["step"] + 1, "square_avg": v}
    if not o["momentum"]:
        return {"w": s["w"] - r["lr"] * move, **new}
    u = r["momentum"] * s["momentum_buffer"] + move
    return {"w": s["w"] - r["lr"] * u, "momentum_buffer": u, **new}


def _adagrad(s: dict[str, Tensor], r: dict[str, Tensor], o: dict[str, Any]) -> dict[str, Tensor]:
    g = s["g"] + o["weight_decay"] * s["w"]
    total = s["sum"] + g * g
    rate = r["lr"] / (1 + s["step"] * o["lr_decay"])
    return {"w": s["w"] - rate * g / (total.sqrt() + o["eps"]), "step": s["step"] + 1, "sum": total}


def _numbers(row: Row) -> dict[str, float]:
    """What a schedule may change from step to step: as tensors, so that nothing is compiled anew."""
    group = row.group
    if "betas" in group:
        return {"lr": group["lr"], "beta1": group["betas"][0], "beta2": group["betas"][1]}
    return {"lr": group["lr"], "momentum": group.get("momentum", 0.0)}


def _adam_names(o: dict[str, Any]) -> list[str]:
    return ["step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if o["amsgrad"] else [])]


_UPDATES: dict[type, Any] = {
    SGD: (_sgd, lambda o: ["momentum_buffer"] if o["momentum"] else []),
    Adam: (_adam, _adam_names),
    AdamW: (_adam, _adam_names),
    RMSprop: (_rmsprop, lambda o: ["step", "square_avg", *(["momentum_buffer"] if o["momentum"] else [])]),
    Adagrad: (_adagrad, lambda o: ["step", "sum"]),
}


def why_not(model: nn.Module, optimizer: Optimizer, *, precision: str, device: torch.device) -> str | None:
    """Why there is no compiled step, in a few words; None where there is."""
    if device.type != "cpu":
        return f"the compiled step is for CPUs, not {device.type}"
    if type(optimizer) not in _UPDATES:
        return f"there is no compiled step for {type(optimizer).__name__}"
    for group in optimizer.param_groups:
        if any(group.get(name) for name in ("maximize", "capturable", "differentiable", "centered", "dampening")):
            return "the compiled step knows the optimizer's usual form only"
    if precision == "fp16":
        return "the compiled step does not scale losses, as fp16 needs"
    if not all(p.requires_grad for p in model.parameters()):
        return "some parameters are not trained"
    return None


def has_compiler() -> bool:
    """Whether a C++ compiler is at hand, which programs for a CPU need."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
