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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.engine.steps import direct, updates

_WARM_UP = 3  # steps without the graph: libraries allocate at their first calls, which can't be captured

Batches = Sequence[tuple[Tensor, Tensor]]


class Graph:
    """A trainer's step, captured at its fourth call and replayed from then on.

    It never asks the device for a value. What acts on the batch before it and on the weights after it is not in it.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        cpu = torch.device("cpu")  # the direct step is proven to the bit there; its kernels are there on a GPU, too
        unknown = direct.why_not(
            trainer.model, trainer.loss, trainer.optimizer, precision=trainer.precision, device=cpu
        )
        self._net = None if unknown else direct.Net(trainer.model, trainer.loss, precision=trainer.precision)
        self._batches: list[tuple[Tensor, Tensor]] = []  # where the graph looks
        self._rates: dict[int, dict[str, float]] = {}  # that lie where it looks, by row
        self._left: tuple[Tensor, Tensor | None] | None = None  # loss and norm, where it leaves them
        self._replay: Callable[[], None] | None = None
        self._done = 0

    def __call__(self, batches: Batches) -> tuple[Tensor, Tensor | None]:
        """One update; returns the mean loss, and the gradient's norm until the next call."""
        self._place(batches)
        self._place_rates()
        if self._replay is None and self._done < _WARM_UP:
            with aside(self._batches[0][0].device):
                self._run()
            self._done += 1
        else:
            self._replay = self._replay or self._captured()
            self._replay()
        loss, norm = self._left
        return loss.clone(), norm

    def forget(self) -> None:
        """To be called when state or batches may be others: the next steps warm up, and capture anew."""
        self._replay, self._done, self._batches = None, 0, []

    def update(self) -> None:
        """The new weights of a step that is made without the graph."""
        self._place_rates()
        self._update()

    def _place(self, batches: Batches) -> None:
        if not self._batches:
            self._batches = [(x.clone(), y.clone()) for x, y in batches]
            return
        for places, values in zip(self._batches, batches, strict=True):
            for place, value in zip(places, values, strict=True):
                place.copy_(value)

    def _place_rates(self) -> None:
        for row in self.trainer._flat.rows:
            rates = updates.rates(row)
            if row.rates is None:
                row.rates = {name: torch.empty((), device=row.data.device) for name in rates}
                self._rates[id(row)] = {}
            for name, value in rates.items():
                if self._rates[id(row)].get(name) != value:
                    row.rates[name].fill_(value)
            self._rates[id(row)] = rates

    def _run(self) -> None:
        trainer = self.trainer
        with torch.inference_mode(self._net is not None):
            loss = trainer._backward(self._batches, self._net)
            trainer.guard.look(loss)
            trainer._clip()
            self._update()
        self._left = loss, trainer._norm

    def _update(self) -> None:
        trainer = self.trainer
        moving = trainer.schedule is not None and trainer.schedule.moves_momentum
        if trainer._flat.fused and not moving:  # the kernel takes no momentum from the device
            trainer._flat.step()
            return
        for row in trainer._flat.rows:
            state = updates.state(row)
            new = updates.updated(state, row.rates, row, trainer.guard.bad == 0)
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
    return updates.why_not(model, optimizer, step="graph", precision=precision)
