"""The processes that share a run, of which this is one, and what they tell each other: by torch.distributed alone.

Each takes its rows of every batch. What they make of them is averaged after the last backward pass of a step, and the
update is then the same everywhere, to the bit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dltrain.engine.parallel import Parallel
from dltrain.engine.steps import hands
from dltrain.errors import DivergedError, LostError, RanksError
from dltrain.parts.modules import BATCH_NORMS

_Told = TypeVar("_Told")
_TRANSPORT = re.compile(r"\bgloo\b|\bnccl\b", re.IGNORECASE)  # named in what torch says where a process is lost
NOTE = 3  # numbers that travel behind the gradients: the loss, and whether anyone wants to stop, or to save


class Ranks:
    """This process is rank `rank` of `world_size`, once `torch.distributed.init_process_group` was called.

    store: what outlives a restart of them all by their launcher. wish: whether this one wants to stop, and to save;
    `heard`: whether anyone did at the last step. lost: called where another process does not answer, with what torch
    said; it raises, or returns what to say.
    """

    def __init__(self, *, store: dist.Store | None = None, lost: Callable[[str], str] = lambda text: text) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.wish: Callable[[], tuple[bool, bool]] = lambda: (False, False)
        self.heard = (False, False)
        # Of rows that pass through the net: whether they count, and how many all have. None outside of a step.
        self.passing: tuple[bool, int] | None = None
        self.store, self._lost = store, lost
        self._parallel: tuple[list[object], Parallel] | None = None

    @property
    def counts(self) -> bool:
        """Whether the rows that pass through the net now are this process's own, and not a stand-in for none."""
        return self.passing is None or self.passing[0]

    def __deepcopy__(self, memo: object) -> Ranks:
        return self  # a copy of a net is shared by the same processes

    def shard(self, rows: Tensor) -> Tensor:
        """This process's of rows [B, ...] that all share: a run, those of two processes differ by one in their length
        at most; none where there are fewer rows than processes.
        """
        each, more = divmod(len(rows), self.world_size)
        start = self.rank * each + min(self.rank, more)
        return rows[start : start + each + (self.rank < more)]

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # all that torch raises where one of them has gone, or the time is over
            raise LostError(self._lost(str(error))) from error

    @contextmanager
    def overheard(self) -> Iterator[None]:
        """What DDP talks of in here may fail like all talk; other errors are the model's own."""
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not _TRANSPORT.search(str(error)):
                raise
            raise LostError(self._lost(str(error))) from error

    # -- in a step -------------------------------------------------------------------------------------------------

    def average(self, loss: Tensor, shared: Tensor | None, others: Iterable[Tensor] = ()) -> Tensor:
        """The mean loss of all processes. shared: a row of gradients with room for a `NOTE` behind, averaged with it;
        without one they are those of `parallel`, averaged already, but for `others`.
        """
        with self._talking():
            note = None if self._parallel is None else self._parallel[1].heard()
            if note is None:
                note = self._averaged(self.note(loss), shared)
            for gradient in others:
                dist.all_reduce(gradient)
                gradient /= self.world_size
            if note.device.type == "cpu":
                mean, stop, save = note.tolist()
                self.heard = (stop > 0, save > 0)
                return loss.new_tensor(mean)
            wishes = torch.tensor(self.wish(), dtype=torch.int32)
            dist.all_reduce(wishes)  # from host to host: none waits for its device
            self.heard = (bool(wishes[0]), bool(wishes[1]))
            return note[0].to(loss.dtype)

    def note(self, loss: Tensor) -> Tensor:
        """What this process tells the others at a step, [`NOTE`]; its wishes only where that makes no device wait."""
        if loss.device.type == "cpu":
            return torch.tensor([loss.item(), *self.wish()], dtype=loss.dtype)
        return nn.functional.pad(loss.detach().reshape(1), (0, NOTE - 1))

    def _averaged(self, note: Tensor, shared: Tensor | None) -> Tensor:
        # One message for all: between two processors of one machine its latency is most of what it costs.
        if shared is not None:
            shared[-NOTE:].copy_(note)
        row = note if shared is None else shared
        dist.all_reduce(row)
        row /= self.world_size
        return row[-NOTE:]

    def total(self, number: float) -> float:
        """The sum over all processes."""
        found = torch.tensor(number, dtype=torch.float64)
        self.all_reduce(found)
        return float(found)

    def all_gather(self, own: Tensor) -> Tensor:
        """What each process has, [world_size, n]; own: [n]."""
        found = own.new_zeros(self.world_size, len(own))
        found[self.rank] = own
        self.all_reduce(found)  # zeros to each: no digit changes
        return found

    def all_reduce(self, own: Tensor) -> None:
        """Puts the sum over all processes in the place of each one's own."""
        with self._talking():
            dist.all_reduce(own)

    def parallel(self, model: nn.Module, leaves_idle: Callable[[], bool]) -> Parallel:
        """The model as one whose gradients DDP averages while they are made; it is to be used inside of `overheard`.
        Made anew where parameters were frozen, or others came. leaves_idle: whether a batch passes some of them by, for
        which DDP has to look in each step then.
        """
        seen: list[object] = [model, *(p for p in model.parameters()), *(p.requires_grad for p in model.parameters())]
        kept = self._parallel
        if kept is None or not hands.same(kept[0], seen):
            self._parallel = kept = None  # its hooks go with it
            statistics = sum(len([*m.buffers(recurse=False)]) for m in model.modules() if isinstance(m, BATCH_NORMS))
            moving = len([*model.buffers()]) > statistics  # those that may act in a step come from the first process
            idle = any(self.all_gather_object(leaves_idle()))
            with self._talking():
                kept = seen, Parallel(model, NOTE, sends_buffers=moving, idle=idle)
            self._parallel = kept
        return kept[1]

    def agreed(self, error: DivergedError, own: Tensor) -> DivergedError:
        """The error that all raise at the same step: of the first process whose own loss is not finite."""
        told = self.all_gather_object((not bool(own.isfinite()), str(error)))
        words = next((words for bad, words in told if bad), told[0][1])
        same = DivergedError(words)
        same.state = error.state
        return same

    # -- between steps ---------------------------------------------------------------------------------------------

    def all_gather_object(self, own: _Told) -> list[_Told]:
        """What each process has to say, in the order of their ranks."""
        found = [own] * self.world_size
        with self._talking():
            dist.all_gather_object(found, own)
        return found

    def broadcast_object(self, value: _Told | None = None) -> _Told:
        """What rank 0 says."""
        box = [value]
        with self._talking():
            dist.broadcast_object_list(box, src=0)
        return box[0]  # pyrefly: ignore[bad-return]

    def check_same(self, what: str, own: object) -> None:
        """Raises RanksError, in all of them, unless each process has the same."""
        told = self.all_gather_object(own)
        if other := [rank for rank, value in enumerate(told) if value != told[0]]:
            who = f"process {', '.join(map(str, other))} of {self.world_size}"
            raise RanksError(f"{who} has {what} other than process 0: it can't be one run")

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Puts rank 0's values into these tensors, everywhere."""
        with self._talking():
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def broadcast_buffers(self, *modules: nn.Module) -> None:
        """Has all go on from the buffers of rank 0, such as running statistics: they are judged and saved."""
        self.broadcast(buffer for module in modules for buffer in module.buffers())

    def check_weights(self, state: Mapping[str, Tensor]) -> None:
        """Raises RanksError unless these are the same everywhere, to the bit."""
        self.check_same("weights", digest(state))


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors by name."""
    found = hashlib.sha256()
    for name, tensor in state.items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
