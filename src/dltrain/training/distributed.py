"""How several processes meet for one run, which of them speaks, and how all end when one does."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist

from dltrain.config.plan import Plan
from dltrain.config.processes import LAUNCHED, LAUNCHER, Processes
from dltrain.data.randomness import mix
from dltrain.engine.ranks import Ranks
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import (
    ConfigError,
    DataError,
    DivergedError,
    DltrainError,
    LostError,
    Quiet,
    RanksError,
    output,
    system,
)
from dltrain.training import resuming
from dltrain.training.stop import Stop

_Made = TypeVar("_Made")
_PATIENCE = 3.0  # seconds within which who has failed says so, and others say that they wait in vain
_LATER = 0.5  # seconds after which others speak of what all may have found
_BEFORE = 1.0  # seconds that others go on after it, so that a launcher sees who was the first
_RUN = "run"  # the key of the run's folder in torch's store


@contextmanager
def joined(found: Processes | None, timeout: float) -> Iterator[Ranks | None]:
    """Inside, this process is one of several that train together; None where it is alone.

    Of an error whoever meets it first speaks: it is said once, and the others raise Quiet, with its words and code.
    timeout: seconds that one waits for another.
    """
    if found is None:
        yield None
        return
    meeting = _Meeting(found, timeout)
    try:
        yield meeting.ranks()
    except Quiet:
        raise
    except Exception as error:
        name = "" if isinstance(error, DivergedError | RanksError) else f"process {found.rank} of {found.world_size}"
        if quiet := meeting.failed(error, name):
            time.sleep(_BEFORE)
            raise quiet from error
        output.speak(name)
        raise
    dist.destroy_process_group()


class _Meeting:
    """Where they are told of each other: torch's store, which a launcher keeps, or else the first of them."""

    def __init__(self, found: Processes, timeout: float) -> None:
        self.found, self._timeout = found, timedelta(seconds=timeout)
        numbers = {"rank": found.rank, "world_size": found.world_size}
        store, _, _ = next(dist.rendezvous(f"tcp://{found.host}:{found.port}", **numbers, timeout=self._timeout))
        self._lasting = dist.PrefixStore("dltrain", store)
        self._store = dist.PrefixStore(str(found.restarts), self._lasting)

    def ranks(self) -> Ranks:
        """The group of all, on whatever device."""
        on_device = torch.cuda.is_available()
        if on_device:
            torch.cuda.set_device(self.found.local_rank % torch.cuda.device_count())
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_device else "gloo",
            store=dist.PrefixStore("group", self._store),
            rank=self.found.rank,
            world_size=self.found.world_size,
            timeout=self._timeout,
        )
        return Ranks(store=self._lasting, lost=self.who_is_lost)

    def failed(self, error: Exception, name: str) -> Quiet | None:
        """Tells the others of an error, which begins with a name. What to raise where one of them had told of one."""
        is_ours = isinstance(error, DltrainError)
        words = ": ".join(word for word in (name, "" if is_ours else type(error).__name__, str(error)) if word)
        own = json.dumps([self.found.rank, error.exit_code if is_ours else 1, words])
        if self.found.rank and isinstance(error, ConfigError | DataError):
            time.sleep(_LATER)  # mostly all find the same mistake, and the first says it as one process would
        try:
            first = self._store.compare_set("failed", "", own).decode()
        except RuntimeError:  # nobody keeps the store any more: the first has gone, where it is the one that did
            speaks = self.found.rank == int(isinstance(error, LostError))
            return None if speaks else Quiet(LostError.exit_code, words)
        return None if first == own else _quiet(first)

    def who_is_lost(self, text: str) -> str:
        """What to say where others do not answer. Raises Quiet where one of them has said why it ends, or a launcher
        does.
        """
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which a launcher has the others end: this one does
        own, size, end = self.found.rank, self.found.world_size, time.monotonic() + _PATIENCE
        missing = [rank for rank in range(size) if rank != own]
        with suppress(RuntimeError):
            self._store.set(f"waiting/{own}", "1")
            while missing and time.monotonic() < end:
                if self._store.check(["failed"]):
                    time.sleep(_BEFORE)
                    raise _quiet(self._store.get("failed").decode())
                missing = [rank for rank in missing if not self._store.check([f"waiting/{rank}"])]
                time.sleep(0.05)
        if not missing:
            return f"the processes of this run can't talk to each other any more: {output.cut(text, 200)}"
        names = ", ".join(map(str, missing))
        late = "imed out" in text
        why = f"has not answered for {self._timeout.total_seconds():g} s: it hangs, or is slow" if late else "has ended"
        words = f"process {names} of {size} {why}; all end, and `dltrain resume last` goes on from the last checkpoint"
        if not late and LAUNCHER in os.environ:
            raise Quiet(LostError.exit_code, words)
        return words


def _quiet(told: str) -> Quiet:
    _, code, words = json.loads(told)
    return Quiet(code, words)


def remember(ranks: Ranks | None, folder: Path) -> None:
    """Keeps which run it is, for processes that a launcher starts in the place of these."""
    if ranks is not None and ranks.rank == 0 and ranks.store is not None:
        ranks.store.set(_RUN, str(folder.absolute()))


def begun(ranks: Ranks | None) -> str | None:
    """Which run goes on in processes that were started in the place of others: their folder; None where these had made
    none; `auto` where no launcher has kept it, as where a job is queued again.
    """
    if ranks is None or ranks.store is None:
        return None
    store, unknown = ranks.store, None if LAUNCHED in os.environ else "auto"
    return on_rank_zero(ranks, lambda: store.get(_RUN).decode() if store.check([_RUN]) else unknown)


def on_rank_zero(ranks: Ranks | None, work: Callable[[], _Made]) -> _Made:
    """What work of rank 0 gives, which the others do not do; they wait for it."""
    if ranks is None:
        return work()
    return ranks.broadcast_object(work() if ranks.rank == 0 else None)


def begin(ranks: Ranks, plan: Plan, trainer: Trainer, *, resumed: bool) -> None:
    """Has all processes begin with the same weights, on the same data, and each with random numbers of its own."""
    ranks.check_same("data", plan.fingerprint)
    ranks.check_same("a configuration", resuming.digest(plan.config))
    model = trainer.model
    ranks.broadcast([*model.parameters(), *model.buffers()])  # on another machine last digits may have differed
    ranks.check_weights(model.state_dict())
    if ranks.rank and not resumed:
        seed_everything(mix(plan.seed, ranks.rank))


class SharedStop(Stop):
    """Asked between steps of several processes: true for all after the same step, whoever was to stop."""

    def __init__(self, own: Stop, ranks: Ranks, due: Callable[[], bool]) -> None:
        """due: whether it is time for a checkpoint, by the clock of the first."""
        super().__init__()
        self._own, self._ranks = own, ranks
        by = os.environ.get(LAUNCHER, "")  # who may have gone already
        self._launcher = (int(by) if by.isdecimal() else system.parent()) if LAUNCHED in os.environ else None
        ranks.wish = lambda: (self.wanted(), ranks.rank == 0 and due())

    def wanted(self) -> bool:
        """As it does where its launcher has gone, which would start none anew."""
        if self._launcher is not None and system.parent() != self._launcher:
            self._own.reason = self._own.reason or "SIGTERM"
        return self._own()

    def by_any(self, left: bool) -> bool:
        if any_left := any(self._ranks.all_gather_object(left)):
            self._agree()
        return any_left

    def _agree(self) -> None:
        """All stop, for the reason of the first that has one; to be called by all."""
        if self.reason is None:
            reasons = self._ranks.all_gather_object(self._own.reason)
            self.reason = next(filter(None, reasons), "SIGTERM")

    def __call__(self) -> bool:
        if self._ranks.heard[0]:
            self._agree()
        return self.reason is not None
