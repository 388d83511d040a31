"""The parameters, gradients and optimizer state of one group, each in one row of memory.

The optimizer stays torch's: its groups give the rates at each step, and its state holds views of the rows, so that
what is saved and restored is what torch would save.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, is_

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop
from torch.optim import optimizer as torch_optimizer

from dltrain.engine.steps import hands
from dltrain.parts import Group, State
from dltrain.parts.optimizers import FUSED

_gradient = attrgetter("grad")
LINE = 16  # elements; 64 bytes of float32, which vectors and caches hold at a time


class Row:
    """One group: `data`, `grad` and each `state` hold its parameters one after the other; `steps` counts updates.

    align: each parameter begins at a multiple of so many elements, with zeros before it.
    """

    def __init__(self, optimizer: Optimizer, group: Group, *, align: int) -> None:
        self.optimizer, self.group = optimizer, group
        self._given = list(group["params"])  # a copy, so that `is_for` finds out where the group's own list has changed
        self.parameters = sorted(self._given, key=lambda p: p.ndim < 2)  # then a penalty is on one slice: the weights
        self._spans, self.length = _laid_out([p.numel() for p in self.parameters], align)
        self._pieces = _pieces(self._spans)
        self.data = self._row([p.detach() for p in self.parameters])
        self.datas = self._cut(self.data)
        self.put_gradients(torch.zeros_like(self.data))
        self._datas = self._views(self.data)
        matrices = sum(p.ndim >= 2 for p in self.parameters)
        self.weights = ([start for start, _ in self._spans] + [self.length])[matrices]  # how many elements come first
        self._one = torch.ones(())  # a number would be made a tensor at each step, for twice the time of adding it
        self.rates: dict[str, Tensor] = {}  # the group's, on the device, where a graph looks for them

    def put_gradients(self, row: Tensor) -> None:
        """Has gradients lie in this row from here on; to be called before `attach`."""
        self.grad, self.grads = row, self._cut(row)

    def _views(self, row: Tensor) -> list[Tensor]:
        """Of each parameter's part of a row, in its shape."""
        return [row[a:b].view(p.shape) for (a, b), p in zip(self._spans, self.parameters, strict=True)]

    def _cut(self, row: Tensor) -> list[Tensor]:
        return [row[a:b] for a, b in self._pieces]

    def _row(self, tensors: Sequence[Tensor]) -> Tensor:
        """One for each parameter, in a new row."""
        row = torch.zeros(self.length, dtype=tensors[0].dtype, device=tensors[0].device)
        torch._foreach_copy_(self._views(row), list(tensors))
        return row

    def is_for(self, parameters: Sequence[Tensor]) -> bool:
        """Whether it has been made for these parameters, of the size and type that they have now."""
        return hands.same(list(parameters), self._given) and all(
            (p.shape, p.dtype, p.device) == (view.shape, view.dtype, view.device)
            for p, view in zip(self.parameters, self._datas, strict=True)
        )

    @torch.inference_mode(False)  # what is made here must be of use outside, too
    def attach(self, *, keeps_state: bool) -> None:
        self._grads = self._views(self.grad)
        for p, data in zip(self.parameters, self._datas, strict=True):
            if not p.is_set_to(data):  # somebody's new values move in
                data.copy_(p.detach())
                p.data = data
        self.state: dict[str, Tensor] = {}
        self._parts: dict[str, list[Tensor]] = {}  # of each state, as fused kernels take them
        self.steps: Tensor | None = None  # one for each parameter, as the optimizer has them
        self.uniform = keeps_state and is_uniform(self.optimizer, self.group)  # so one call can update them all
        if self.uniform:
            state = self.optimizer.state
            for name in list(tensors_of(self.optimizer, self.parameters[0])):
                if name == "step":
                    self._count(state[self.parameters[0]][name])
                else:  # one state after the other, each in the place of what it is made of, which is large
                    self._keep(name, self._row([state[p][name] for p in self.parameters]))
        self._see()

    def take_gradients(self) -> None:
        for p, grad in zip(self.parameters, self._grads, strict=True):
            p.grad = grad

    def intact(self) -> bool:
        """Whether parameters, gradients and optimizer state are what `attach` has left, or the steps since then."""
        return (
            all(map(Tensor.is_set_to, self.parameters, self._datas))
            and all(map(is_, map(_gradient, self.parameters), self._grads))
            and (not self.uniform or hands.same(self._held(), self._seen))
            and [*map(Tensor.data_ptr, self._others)] == self._places
        )

    def _held(self) -> list[object]:
        return [value for p in self.parameters for value in self.optimizer.state.get(p, {}).values()]

    def _see(self) -> None:
        self._seen = self._held()
        states = [value for value in self._seen if isinstance(value, Tensor)] if self.uniform else []
        self._others = [*self._grads, *states]
        self._places = [*map(Tensor.data_ptr, self._others)]

    @property
    def lr(self) -> float | Tensor:
        return self.rates["lr"] if self.rates else self.group["lr"]

    def buffer(self, name: str, *, first: float = 0.0) -> Tensor:
        """The state of that name, which begins as this number."""
        if name not in self.state:
            with torch.inference_mode(False):
                self._keep(name, torch.full_like(self.data, first))
        return self.state[name]

    def buffers(self, name: str) -> list[Tensor]:
        """The same in pieces."""
        self.buffer(name)
        return self._parts[name]

    def counters(self) -> Tensor:
        """The number of updates so far as torch keeps it, once for each parameter: a float type, [parameters]."""
        if self.steps is None:
            with torch.inference_mode(False):
                # Fused kernels count in float32; else it is float64 where that is torch's default.
                fused = type(self.optimizer) in FUSED
                return self._count(torch.zeros((), dtype=torch_optimizer._get_scalar_dtype(is_fused=fused)))
        return self.steps

    def count(self) -> Tensor:
        """The number of this update, from 1: a scalar."""
        self.counters().add_(self._one)
        return self._first

    def _keep(self, name: str, row: Tensor) -> None:
        self.state[name], self._parts[name] = row, self._cut(row)
        for p, view in zip(self.parameters, self._views(row), strict=True):
            self.optimizer.state[p][name] = view
        self._see()

    def _count(self, first: Tensor) -> Tensor:
        steps = self.steps = first.detach().to(self.data.device).repeat(len(self.parameters))
        views = steps.unbind()
        self._first = views[0]
        for p, view in zip(self.parameters, views, strict=True):
            self.optimizer.state[p]["step"] = view
        self._see()
        return steps


def tensors_of(optimizer: Optimizer, parameter: Tensor) -> State:
    """A parameter's state. SGD without momentum keeps a None, which is none."""
    return {name: value for name, value in optimizer.state.get(parameter, {}).items() if value is not None}


def is_uniform(optimizer: Optimizer, group: Group) -> bool:
    """Whether a group's parameters have no state yet, or all the usual one, after as many steps."""
    states = [(p, tensors_of(optimizer, p)) for p in group["params"]]
    usual = set(state_names(optimizer, group)) if any(state for _, state in states) else set()
    return (
        all(
            state.keys() == usual
            and all(isinstance(value, Tensor) for value in state.values())
            and all(
                (s.shape, s.dtype, s.device) == (p.shape, p.dtype, p.device) for n, s in state.items() if n != "step"
            )
            for p, state in states
        )
        and all(state["step"].ndim == 0 for _, state in states if "step" in state)
        and len({float(state["step"]) for _, state in states if "step" in state}) <= 1
    )


def _laid_out(sizes: list[int], align: int) -> tuple[list[tuple[int, int]], int]:
    """Where each parameter begins and ends, and the length of all.

    On some processors a product has other last bits where its result does not begin at a multiple of 16 bytes, as
    memory of its own does.
    """
    spans: list[tuple[int, int]] = []
    end = 0
    for size in sizes:
        begin = -(-end // align) * align
        end = begin + size
        spans.append((begin, end))
    return spans, -(-end // align) * align


def _pieces(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The row in as few pieces as give the bits that one call for each parameter gives.

    A fused kernel works through 64 bytes at a time, and what is left at the end it rounds differently: a piece may go
    on only where a parameter fills its last 64 bytes.
    """
    pieces = [spans[0]]
    for begin, end in spans[1:]:
        first, last = pieces[-1]
        if (last - first) % LINE:
            pieces.append((begin, end))
        else:
            pieces[-1] = (first, end)
    return pieces


def _adam_names(o: Group) -> list[str]:
    return ["step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if o["amsgrad"] else [])]


_NAMES: dict[type, Callable[[Group], list[str]]] = {
    SGD: lambda o: ["momentum_buffer"] if o["momentum"] else [],
    Adam: _adam_names,
    AdamW: _adam_names,
    RMSprop: lambda o: ["step", "square_avg", *(["momentum_buffer"] if o["momentum"] else [])],
    Adagrad: lambda o: ["step", "sum"],
}


def state_names(optimizer: Optimizer, group: Group) -> list[str]:
    """What the optimizer keeps for each parameter of a group, by torch's names."""
    return _NAMES[type(optimizer)](group)
