"""The plain step: autograd and the optimizer's own update, for any module. What the other steps must equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from dltrain.engine.parallel import Parallel
from dltrain.engine.state import random_state, set_random_state
from dltrain.engine.steps import direct
from dltrain.engine.steps.batches import Parted, parted
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.gate import Gate
from dltrain.engine.steps.mistakes import counted
from dltrain.engine.steps.step import Batch, Kind, Parts, autocast
from dltrain.parts import losses
from dltrain.parts.modules import every
from dltrain.parts.row_weights import weighted_mean

_STEADY = ("torch", "torchvision", "dltrain")  # in whose modules the same parameters have a part in each step


class Plain:
    """A step by autograd. With `flat`, it is what a quicker step leaves over: on that one's memory, by its update.

    update: in the place of flat's.
    """

    kind: Kind = "plain"

    def __init__(
        self, parts: Parts, gate: Gate, flat: Flat | None = None, *, update: Callable[[], object] | None = None
    ) -> None:
        self.model, self.loss, self.optimizer, self.penalty = parts.model, parts.loss, parts.optimizer, parts.penalty
        self.gate, self.flat, self._parameters, self._scaler = gate, flat, parts.parameters, parts.scaler
        self._mistakes, self.answers = counted(parts), parts.answers
        self.ranks = parts.ranks
        self._shared_by = parts.ranks if flat is None else None  # in rows gradients are averaged by the gate
        self._parallel: Parallel | None = None
        self._autocast = autocast(parts.device, parts.precision)
        self._products = direct.applied(parts.model, parts.kernels if parts.precision == "fp32" else "mkl")
        self._update = update or (self._by_optimizer if flat is None else flat.step)

    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        with torch.inference_mode(False):  # in which the caller may be
            loss = self.gate(self.backward(parted(batches, given, self.loss, self.ranks), len(given)), given, epoch)
            self._update()
        return loss

    @torch.inference_mode(False)  # it may be called by a step that has none of autograd
    def backward(self, parts: Iterable[Parted], count: int, mean: Tensor | None = None) -> Tensor:
        """Leaves the gradient of the mean loss, plus the penalty's, in `.grad`; returns that loss.

        count: how many parts a step has. mean: that of those whose gradient is there already.
        """
        for number, (batch, share) in enumerate(parts, 1):
            first = mean is None
            if first:
                self._zero_gradients()
            if self._shared_by is not None and self._parallel is None:
                idle = partial(self._leaves_idle, batch[0])
                self._parallel = self._shared_by.parallel(self.model, idle)
            # Other processes hear of gradients once a step, with those of its last batch.
            quiet = nullcontext() if self._parallel is None or number == count else self._parallel.no_sync()
            talk = nullcontext() if self.ranks is None else self.ranks.overheard()
            try:
                with quiet, talk:
                    part = self._part(batch, share, mean, last=number == count)
            except BaseException:
                if first and self.flat is not None:
                    self.flat.leave_none()
                raise
            mean = part if mean is None else mean + part
        assert mean is not None  # a step has a batch
        return mean

    def _leaves_idle(self, x: Tensor) -> bool:
        """Whether some parameters may have no part in what the model makes of a batch: a forward of somebody's own may
        pass others by at each step. Leaves no trace of having looked.
        """
        if any(type(module).__module__.partition(".")[0] not in _STEADY for module in every(self.model)):
            return True
        buffers, random = [b.detach().clone() for b in self.model.buffers()], random_state(x.device)
        with self._autocast(), self._products:
            reached = _reached(self.model(x.clone()))
        for buffer, value in zip(self.model.buffers(), buffers, strict=True):
            buffer.detach().copy_(value)
        set_random_state(random, x.device)
        return any(p.requires_grad and id(p) not in reached for p in self.model.parameters())

    def _part(self, batch: Batch, share: float, mean: Tensor | None, *, last: bool) -> Tensor:
        """Adds the gradient of one batch; returns its part of the loss. last: of a step; others are told."""
        x, y = batch[:2]
        if x.is_inference() or y.is_inference():  # made where the caller was in that mode; autograd takes none of them
            x, y = x.clone(), y.clone()
        with self._autocast(), self._products:
            outputs = (self._parallel or self.model)(x)
            losses.check_paired(self.loss, outputs, y)
            loss = self.loss(outputs, y) if len(batch) == 3 else weighted_mean(self.loss, outputs, y, batch[3])
        if self.ranks is None or self.ranks.counts:
            if self._mistakes is not None:
                self._mistakes.add(outputs, y)
            if self.answers.on:
                self.answers.add(outputs.detach(), y, *batch[3:])
        if not share and self.ranks is not None and not loss.isfinite():  # classes that have no weight: 0 / 0
            loss = outputs.sum()
        if share != 1:  # of rows, so that a last batch of fewer counts for less
            loss = loss * share
        # The penalty is on the weights, not on rows: once a step, however many batches it has.
        objective = loss + self.penalty() if self.penalty is not None and mean is None else loss
        objective, loss = self._scaler.scale(objective), loss.detach()
        if last and self._parallel is not None and self.ranks is not None:
            self._parallel.backward(objective, self.ranks.note(loss if mean is None else mean + loss))
        else:
            objective.backward()
        return loss

    def _zero_gradients(self) -> None:
        if self.flat is None:
            self.optimizer.zero_grad()
        else:  # they are views of the rows, and must stay such
            if self.flat.apart:
                self.flat.take_gradients()
            torch._foreach_zero_(self.flat.gradients)

    def _by_optimizer(self) -> None:
        self._scaler.step(self.optimizer)
        self._scaler.update()


def _reached(outputs: Tensor) -> set[int]:
    """The leaves of autograd's graph behind these outputs, by id."""
    found, seen, left = set[int](), set[object](), [outputs.grad_fn]
    while left:
        if (node := left.pop()) is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found.add(id(leaf))
        left += [below for below, _ in node.next_functions]
    return found
