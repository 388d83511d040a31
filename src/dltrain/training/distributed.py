"""What several processes of one run do together, and which of them does what is done once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dltrain.config.plan import Plan
from dltrain.config.processes import LAUNCHED, LAUNCHER
from dltrain.data.randomness import mix
from dltrain.engine.ranks import Ranks
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import system
from dltrain.training import resuming
from dltrain.training.stop import Stop

_Made = TypeVar("_Made")
_RUN = "run"  # the key of the run's folder in torch's store


def remember_run(ranks: Ranks | None, folder: Path) -> None:
    """Keeps which run it is, for processes that a launcher starts in the place of these."""
    if ranks is not None and ranks.rank == 0 and ranks.store is not None:
        ranks.store.set(_RUN, str(folder.absolute()))


def remembered_run(ranks: Ranks | None) -> str | None:
    """The run of processes in whose place these were started: its folder; None where they had made none; `auto` where
    no launcher has kept it, as where a job is queued again.
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


def start_alike(ranks: Ranks, plan: Plan, trainer: Trainer, *, resumed: bool) -> None:
    """Has all begin with rank 0's weights, and each with random numbers of its own. Raises RanksError where data or
    configuration differ.
    """
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
        """due: whether it is time for a checkpoint, by rank 0's clock."""
        super().__init__()
        self._own, self._ranks = own, ranks
        by = os.environ.get(LAUNCHER, "")  # who may have gone already
        self._launcher = (int(by) if by.isdecimal() else system.parent()) if LAUNCHED in os.environ else None
        ranks.wish = lambda: (self.wanted(), ranks.rank == 0 and due())

    def wanted(self) -> bool:
        """The same; also where its launcher has gone, which would start none anew."""
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
