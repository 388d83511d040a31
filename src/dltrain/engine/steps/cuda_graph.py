"""The training step as one CUDA graph: a GPU repeats by itself what the host would launch kernel by kernel.

On a small net the host is the slower of the two: a step is some dozens of launches of about 5 microseconds, for kernels
that take 2. A graph is one launch. It holds addresses and no values, so whatever changes from step to step is copied to
where it looks: the batches, and the rates that a schedule sets. Python runs only while the graph is captured: a net
whose forward decides in Python from step to step must take another step.

The pattern is that of https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.engine.steps import direct, program_updates
from dltrain.engine.steps.batches import parted
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.gate import Gate
from dltrain.engine.steps.plain import Plain
from dltrain.engine.steps.step import Batch, Kind, Parts

_WARM_UP = 3  # steps without the graph: libraries allocate at their first calls, which can't be captured


class Graph:
    """The step on the memory of `flat`, captured at its fourth call and replayed from then on.

    It never asks the device for a value. What acts on the batch before it and on the weights after it is not in it.
    moving: whether the schedule moves momentum. fits: whether batches are of the sizes that the graph is for.
    """

    kind: Kind = "graph"

    def __init__(self, parts: Parts, gate: Gate, flat: Flat, *, moving: bool | None, fits: Callable[..., bool]) -> None:
        self.flat, self.gate, self._fits, self._answers = flat, gate, fits, parts.answers
        self._rest = plain = Plain(parts, gate, flat, update=self.update)
        cpu = torch.device("cpu")  # the direct step is proven to the bit there; its kernels are there on a GPU, too
        unknown = direct.why_not(parts.model, parts.loss, parts.optimizer, precision=parts.precision, device=cpu)
        self._loss = parts.loss
        self._backward = plain.backward if unknown else direct.Direct(parts, gate, flat, lambda why: plain).backward
        self._without_autograd, self._by_kernel = not unknown, flat.fused and not moving  # which takes no momentum
        self._batches: list[Batch] = []  # where the graph looks
        self._rates: dict[int, dict[str, float]] = {}  # that lie where it looks, by row
        self._replay: Callable[[], None] | None = None
        self._done = 0

    @torch.inference_mode(False)
    def __call__(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        """One update; the gate's norm is the gradient's until the next call."""
        if not self._fits(given):
            return self._rest(batches, given, epoch)
        self.gate.guard.remember(given, epoch)
        self._place(batches)
        self._place_rates()
        if self._replay is None and self._done < _WARM_UP:
            with aside(self._batches[0][0].device):
                self._run()
            self._done += 1
        else:
            self._replay = self._replay or self._captured()
            self._replay()
        loss, self.gate.norm = self._left
        return loss.clone()  # the next replay writes over it

    def forget(self) -> None:
        """To be called when state or batches may be others: the next steps warm up, and capture anew."""
        self._replay, self._done = None, 0
        self._batches = []

    def update(self) -> None:
        """The new weights of a step whose batches the graph is not for."""
        self._place_rates()
        self._update()

    def _place(self, batches: Iterable[Batch]) -> None:
        if not self._batches:
            self._batches = [(batch[0].clone(), batch[1].clone(), batch[2]) for batch in batches]
            return
        # The index stays what it was: it is for transforms, which have been made.
        for place, batch in zip(self._batches, batches, strict=True):
            place[0].copy_(batch[0])
            place[1].copy_(batch[1])

    def _place_rates(self) -> None:
        for row in self.flat.rows:
            rates = program_updates.rates(row)
            if not row.rates:
                row.rates = {name: torch.empty((), device=row.data.device) for name in rates}
            held = self._rates.get(id(row), dict[str, float]())
            for name, value in rates.items():
                if held.get(name) != value:
                    row.rates[name].fill_(value)
            self._rates[id(row)] = rates

    def _run(self) -> None:
        self._answers.on = False  # a replay would keep none
        with torch.inference_mode(self._without_autograd):
            loss = self._backward(parted(self._batches, self._batches, self._loss, None), len(self._batches))
            self.gate.guard.look(loss, self.gate.gradients)
            self.gate.clip()
            self._update()
        self._left = loss, self.gate.norm  # a graph leaves the next ones in the same memory

    def _update(self) -> None:
        if self._by_kernel:
            self.flat.step()
            return
        for row in self.flat.rows:
            state = program_updates.state(row)
            # No kernel of torch's leaves these updates out where the guard holds them back: they do it themselves.
            new = program_updates.updated(state, row.rates, row, self.gate.guard.bad == 0)
            torch._foreach_copy_(list(state.values()), list(new.values()))

    def _captured(self) -> Callable[[], None]:
        try:
            return capture(self._run)
        except Exception as error:
            why = textwrap.shorten(str(error).partition("\n")[0], 160) or type(error).__name__
            warnings.warn(f"the step can't be a CUDA graph, and is launched kernel by kernel: {why}", stacklevel=4)
            return self._run


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """On a stream of its own, as the steps before a capture must run."""
    stream, main = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(main)
    with torch.cuda.stream(stream):
        yield
    main.wait_stream(stream)


def capture(run: Callable[[], None]) -> Callable[[], None]:
    """What repeats `run`, which is captured here and not run."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a loader's thread may pin memory meanwhile
        run()
    return graph.replay


def why_not(model: nn.Module, optimizer: Optimizer, *, precision: str, device: torch.device) -> str | None:
    """Why the step can't be a CUDA graph, in a few words; None where it can."""
    if device.type != "cuda":
        return f"a CUDA graph needs a GPU, not {device.type}"
    return program_updates.why_not(model, optimizer, step="graph", precision=precision)
