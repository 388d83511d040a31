"""Where the jobs of a sweep run. An engine is told "job k of this sweep folder", and says how each ended."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dltrain.runs.foreign import Values, node
from dltrain.sweeps.orders import Orders


@dataclass(frozen=True)
class Ended:
    """The process of a job is gone. told: what it said of its end, empty where it could not say a word."""

    number: int
    told: Values = field(default_factory=dict)
    code: int | None = 0  # as of `subprocess`: negative is the signal that killed it; None: nobody knows
    memory: int = 0  # bytes that it took at most; 0 where that is not known


class Looked(NamedTuple):
    """What a look at the plans of jobs shows before any is trained: those that can't be, by their place, and why; and
    what a user should know of the others' data.
    """

    wrong: list[tuple[int, str]]
    notes: list[str]

    @classmethod
    def of(cls, said: object) -> Looked:
        """As a process has told it in JSON; of one that died nothing."""
        found = node(said)
        return cls([(i, text) for i, text in found.get("wrong", [])], [*found.get("notes", [])])


def how(code: int) -> str:
    """What an exit code says of the end of a process."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    return f"killed by {name}{' (by somebody, or for want of memory)' if name == 'SIGKILL' else ''}"


class Engine(Protocol):
    """Runs jobs, several at once."""

    @property
    def room(self) -> int | None:
        """How many at once it has room for now, where it knows that better than this machine."""
        ...

    def brief(self, orders: Orders) -> None:
        """Says what holds for all jobs, before the first."""
        ...

    def check(self, jobs: Sequence[Sequence[str]]) -> Looked:
        """Has a process look at the plans of jobs before any starts."""
        ...

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        """Begins a job, or goes on with it. until: a share of its steps, after which it is to pause."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """Jobs that have ended, as soon as there is one, or none after so many seconds."""
        ...

    def signal(self, number: int, job: int | None = None) -> None:
        """Sends a signal to a job, or to all."""
        ...

    def close(self) -> None:
        """Ends the engine; jobs that still run are killed."""
        ...
