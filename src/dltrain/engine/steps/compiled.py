"""The whole step of any module as one compiled program: forward, backward, penalty, clipping and update.

Inductor fuses across the borders of modules, gradients and optimizer, and one call replaces hundreds. It pays where
calls are most of a step, on small nets; large products are as fast without. Of a small net one program makes many
steps: a scan, whose body is compiled once. Numbers agree with the plain step's to rounding, not to the bit; the same
program gives the same bits again. Compiling takes about 15 seconds, 2 to 5 where torch's cache has the program: it
pays on runs of 50,000 steps. A program is for one size of batches and one number of steps; the Trainer makes what is
left over, such as the last batch of an epoch, without it.
"""

from __future__ import annotations

import logging
import os
import shutil
import textwrap
import types
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from dltrain.engine.steps import program_updates
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.gate import Gate
from dltrain.engine.steps.mistakes import Mistakes, counted
from dltrain.engine.steps.step import Batch, Kind, Parts, autocast
from dltrain.parts import losses, private
from dltrain.parts.regularisers import Penalty

_AT_ONCE = 64  # a step of 64-64-10 on 32 rows then takes 50 microseconds; by eight it took 98, one by one 144
_WORK, _BYTES = 1 << 29, 1 << 24  # multiply-adds of the forward passes of one program, and bytes of its batches
_MISTAKES = "(mistakes)"  # of a perceptron, among the buffers: no module has such a name
_FEW = 8  # so few steps at once bring less than the copies of the weights cost, which a program makes

Pairs = Sequence[tuple[Tensor, Tensor]]  # x and y
Rates = list[program_updates.Values]  # of each row
Made = tuple[Tensor, Tensor | None, Tensor]  # losses [steps], the last gradient's norm, whether all was finite [steps]


class Kept(TypedDict):
    """What steps start from and leave: of each row weights, gradients and the optimizer's state, and the buffers."""

    rows: list[program_updates.Values]
    buffers: dict[str, Tensor]


class Moving(Kept):
    """The same on the way, with whether all steps so far were finite, and the last gradient's norm if it is clipped."""

    finite: Tensor
    norm: NotRequired[Tensor]


class Compiled:
    """The step by a `Program`, for batches of one size. rest: the step that makes what does not fit it, and what it
    has left out.
    """

    kind: Kind = "compiled"

    def __init__(
        self,
        parts: Parts,
        gate: Gate,
        flat: Flat,
        *,
        rest: Callable[[Iterable[Batch], Sequence[Batch], int], Tensor],
        fits: Callable[[Sequence[Batch]], bool],
    ) -> None:
        assert parts.penalty is None or isinstance(parts.penalty, Penalty)  # with others there is no such step
        self.gate, self._rest, self._fits = gate, rest, fits
        self.program = Program(
            parts.model,
            parts.loss,
            flat,
            autocast=autocast(parts.device, parts.precision),
            clip_value=gate.clip_value,
            clip_norm=gate.clip_norm,
            penalty=parts.penalty,
            mistakes=counted(parts),
        )

    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        if not self._fits(given):
            return self._rest(batches, given, epoch)
        ready = list(batches)
        losses, good = self.several([ready])
        return losses[0] if good else self._rest(ready, given, epoch)  # which says what was wrong

    def several(
        self, steps: Sequence[Sequence[Batch]], *, schedule: Callable[[int], object] | None = None
    ) -> tuple[Tensor, int]:
        """The mean losses of steps in a row, and how many of them were made: one that is bad, and what follows, is
        left out. schedule(k) sets the rates of the k-th.
        """
        pairs = [[(batch[0], batch[1]) for batch in step] for step in steps]
        losses, self.gate.norm, finite = self.program(pairs, schedule=schedule)
        return losses, len(steps) if finite.all() else int(finite.long().argmin())


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
        autocast: Callable[[], AbstractContextManager[object]],
        clip_value: float | None = None,
        clip_norm: float | None = None,
        penalty: Penalty | None = None,
        mistakes: Mistakes | None = None,
    ) -> None:
        self._mistakes = {} if mistakes is None else {_MISTAKES: mistakes.tensor}
        self.model, self.loss, self.flat, self.autocast = model, loss, flat, autocast
        self.clip_value, self.clip_norm, self.penalty = clip_value, clip_norm, penalty
        names = {parameter: name for name, parameter in model.named_parameters()}
        self._layout = [[(names[p], p.shape) for p in row.parameters] for row in flat.rows]
        # Guards, which ask at each call whether the program still fits, would take as long as the program. What it
        # rests on does not change: this object, the number of steps, and the sizes that the Trainer compares.
        self._programs: dict[int, Callable[[Kept, Pairs, Rates], Made]] = {}  # by the number of steps
        self._rates: Rates = []
        self._values: list[list[dict[str, float]]] = []  # that the rates hold: by step, then by row
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # says that there is no CUDA

    def __call__(self, steps: Sequence[Pairs], *, schedule: Callable[[int], object] | None = None) -> Made:
        """One update or several, each from batches (x, y) whose gradients are averaged.

        schedule(k) sets the optimizer's rates for the k-th of them. Returns the mean losses [steps], the norm of the
        last gradient before it is clipped by it (else None), and whether loss and gradients are finite [steps].
        Where they are not, the update is left out, and so are those that follow.
        """
        rates = []
        for k in range(len(steps)):
            if schedule is not None:
                schedule(k)
            rates.append([program_updates.rates(row) for row in self.flat.rows])
        self._set_rates(rates)
        rows = [program_updates.state(row) for row in self.flat.rows]
        state: Kept = {"rows": rows, "buffers": {**dict(self.model.named_buffers()), **self._mistakes}}
        batches = [
            (torch.stack([x for x, _ in batch]), torch.stack([y for _, y in batch]))
            for batch in zip(*steps, strict=True)
        ]
        with torch.no_grad():
            return self._run(len(steps), state, batches, self._rates)

    def steps_at_once(self, steps: int, *, sizes: list[int], batch_bytes: int) -> int:
        """How many of so many steps in a row are to be one program; `sizes` are those of a step's batches."""
        work = sum(p.numel() for row in self.flat.rows for p in row.parameters) * sum(sizes)
        most = min(_AT_ONCE, _WORK // work, _BYTES // (batch_bytes * len(sizes)))
        if most < _FEW:
            return 1
        # A call costs about as much as two steps, and one of the plain steps for what is left over as ten.
        return min(range(1, most + 1), key=lambda k: 2 * (steps // k) + 9 * (steps % k))

    def _set_rates(self, values: list[list[dict[str, float]]]) -> None:
        if values != self._values:
            self._values = values
            self._rates = [
                {name: torch.tensor([row[i][name] for row in values]) for name in values[0][i]}
                for i in range(len(self.flat.rows))
            ]

    def _run(self, steps: int, state: Kept, batches: Pairs, rates: Rates) -> Made:
        if steps not in self._programs:
            self._programs[steps] = self._compiled(Program._one if steps == 1 else Program._several)
            if steps > 1:
                return self._tried(steps, state, batches, rates)
        return self._programs[steps](state, batches, rates)

    def _tried(self, steps: int, state: Kept, batches: Pairs, rates: Rates) -> Made:
        """The first run of a program of several steps, held against the same steps uncompiled.

        Scans are new in torch, and called a prototype: what one can't do is done step by step. 2.14 refuses a body that
        draws random numbers twice in the generator's order.
        """
        random, before = torch.get_rng_state(), tree_map(torch.clone, state)
        losses: list[Tensor] = []
        now = _start(state, self.clip_norm)
        for k in range(steps):
            now, (loss, _) = self._step(now, tree_map(_at(k), (batches, rates)))
            losses.append(loss)
        torch.set_rng_state(random)
        try:
            made = self._programs[steps](state, batches, rates)
            if torch.allclose(made[0], torch.stack(losses), rtol=0.05, atol=1e-3, equal_nan=True) and all(
                _same_way(old["w"], new["w"], right["w"])
                for old, new, right in zip(before["rows"], state["rows"], now["rows"], strict=True)
            ):
                return made
            why = "torch compiles them to something else"
        except Exception as error:
            why = textwrap.shorten(str(error).partition("\n")[0], 160) or type(error).__name__
        warnings.warn(f"each step has a call of its own; several in one program: {why}", stacklevel=2)
        torch.set_rng_state(random)
        tree_map(torch.Tensor.copy_, state, before)
        self._programs[steps] = self._one_by_one
        return self._one_by_one(state, batches, rates)

    def _compiled(self, method: Callable[..., Made]) -> Callable[..., Made]:
        # A function of its own, since programs are found by their function's code.
        own = types.FunctionType(method.__code__.replace(), globals())
        options: dict[str, str | int | bool | Callable[..., object]] = {
            "fallback_random": True,  # draws come from torch's generators, whose state is in a checkpoint
            "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
        }
        if method is Program._several:
            options["cpp_wrapper"] = True  # the scan's loop is then C++, not Python
        return torch.compile(types.MethodType(own, self), fullgraph=True, dynamic=False, options=options)

    def _one_by_one(self, state: Kept, batches: Pairs, rates: Rates) -> Made:
        made: list[Made] = []
        for k in range(len(batches[0][0])):
            made.append(self._run(1, state, *tree_map(_at(slice(k, k + 1)), (batches, rates))))
            if not made[-1][2]:
                break
        return torch.cat([m[0] for m in made]), made[-1][1], torch.cat([m[2] for m in made])

    def _one(self, state: Kept, batches: Pairs, rates: Rates) -> Made:
        end, (loss, finite) = self._step(_start(state, self.clip_norm), tree_map(_at(0), (batches, rates)))
        return self._leave(state, end, loss[None], finite[None])

    def _several(self, state: Kept, batches: Pairs, rates: Rates) -> Made:
        end, (losses, finite) = private.scan(self._step, _start(state, self.clip_norm), (batches, rates))
        return self._leave(state, end, losses, finite)

    def _leave(self, state: Kept, end: Moving, losses: Tensor, finite: Tensor) -> Made:
        """Writes the state that the steps have led to where the old one stands."""
        for old, new in zip([*state["rows"], state["buffers"]], [*end["rows"], end["buffers"]], strict=True):
            for name, value in old.items():
                value.copy_(new[name])
        return losses, end.get("norm"), finite

    def _step(self, state: Moving, given: tuple[Pairs, Rates]) -> tuple[Moving, tuple[Tensor, Tensor]]:
        """The state after one step, its mean loss, and whether it was finite; changes nothing in place."""
        batches, rates = given
        loss, gradients, buffers = self._gradients(state, batches)
        finite = state["finite"] & loss.isfinite()
        for g in gradients:
            finite = finite & g.sum().isfinite()
        if self.clip_value is not None:
            gradients = [g.clamp(-self.clip_value, self.clip_value) for g in gradients]
        norm = None
        if self.clip_norm is not None:
            norm = torch.stack([torch.linalg.vector_norm(g) for g in gradients]).norm()
            gradients = [g * (self.clip_norm / (norm + 1e-6)).clamp(max=1.0) for g in gradients]  # torch's formula
        rows = [
            program_updates.updated(old | {"g": g}, r, row, finite)
            for row, old, g, r in zip(self.flat.rows, state["rows"], gradients, rates, strict=True)
        ]
        kept = {name: torch.where(finite, buffers[name], old) for name, old in state["buffers"].items()}
        new: Moving = {"rows": rows, "buffers": kept, "finite": finite}
        if norm is not None:
            new["norm"] = torch.where(finite, norm, state["norm"])
        return new, (loss.clone(), finite.clone())  # what a scan gives out may not be its state

    def _gradients(self, state: Moving, batches: Pairs) -> tuple[Tensor, list[Tensor], dict[str, Tensor]]:
        """The mean loss, the gradient of it and the penalty for each row, and the buffers after it."""
        parameters: dict[str, Tensor] = {}
        for layout, row in zip(self._layout, state["rows"], strict=True):
            pieces = row["w"].split([shape.numel() for _, shape in layout])
            parameters |= {name: piece.view(shape) for (name, shape), piece in zip(layout, pieces, strict=True)}
        total: dict[str, Tensor] = {}
        buffers, loss = state["buffers"], torch.zeros(())
        samples = sum(len(x) for x, _ in batches)
        for x, y in batches:
            derived = grad_and_value(self._objective, has_aux=True)
            found, (part, buffers) = derived(parameters, buffers, x, y, len(x) / samples)
            total = {name: total[name] + g for name, g in found.items()} if total else found
            loss = loss + part
        gradients: list[Tensor] = []
        for layout, row, held in zip(self._layout, state["rows"], self.flat.rows, strict=True):
            g = torch.cat([total[name].reshape(-1) for name, _ in layout])
            if self.penalty is not None:
                n = held.weights
                g = torch.cat([g[:n] + self.penalty.gradient(row["w"][:n]), g[n:]])
            gradients.append(g)
        return loss, gradients, buffers

    def _objective(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor, share: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        moved = {name: value.clone() for name, value in buffers.items()}  # running statistics change in place
        count = moved.pop(_MISTAKES, None)
        with self.autocast():
            outputs = functional_call(self.model, (parameters, moved), (x,))
            loss = self.loss(outputs, y)
        if count is not None:
            moved[_MISTAKES] = count + losses.mistakes(outputs.detach(), y)
        return loss.float() * share, moved


def _same_way(start: Tensor, end: Tensor, right: Tensor) -> bool:
    """Whether weights have moved as they should, but for what rounding does to gradients that ought to be 0."""
    return bool((end - right).norm() <= 0.3 * (right - start).norm())


def _at(place: int | slice) -> Callable[[Tensor], Tensor]:
    def at(t: Tensor) -> Tensor:
        return t[place]

    return at


def _start(state: Kept, clip_norm: float | None) -> Moving:
    begun: Moving = {"rows": state["rows"], "buffers": state["buffers"], "finite": torch.ones((), dtype=torch.bool)}
    if clip_norm is not None:
        begun["norm"] = torch.zeros(())
    return begun


def why_not(model: nn.Module, optimizer: Optimizer, *, precision: str, device: torch.device) -> str | None:
    """Why there is no compiled step, in a few words; None where there is."""
    if device.type != "cpu":
        return f"the compiled step is for CPUs, not {device.type}"
    return program_updates.why_not(model, optimizer, step="compiled", precision=precision)


def has_compiler() -> bool:
    """Whether a C++ compiler is at hand, which programs for a CPU need."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
