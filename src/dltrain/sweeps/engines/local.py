"""Jobs on this machine: forked from a warm server on Linux, each a Python of its own elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from dltrain.runs.foreign import Values
from dltrain.sweeps.engines import Ended, Engine, Looked
from dltrain.sweeps.engines.served import Served, python
from dltrain.sweeps.orders import Orders


def local() -> Engine:
    """The engine that this system allows. It imports what jobs need while it waits for orders."""
    return Served("engines.server") if sys.platform == "linux" else Processes()


@contextmanager
def started() -> Iterator[Engine]:
    """The engine while it is needed."""
    engine = local()
    try:
        yield engine
    finally:
        engine.close()


def look(orders: Orders, jobs: Sequence[Sequence[str]], *, timed: bool = False) -> tuple[Looked, float | None]:
    """What a Python of its own says of jobs, and the seconds that the first takes, if `timed`."""
    words = {"orders": orders.as_json(), "jobs": [[*overrides] for overrides in jobs], "timed": timed}
    process = python("process", "look", "sys.stdin.read()", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out = process.communicate(json.dumps(words).encode())[0].splitlines()  # an argument may not be as long
    found: Values = {}
    with suppress(ValueError):
        found = json.loads(out[-1]) if out else {}
    return Looked.of(found), found.get("seconds")


class Processes:
    """A new Python for each job: where a system can't fork a process that has imported torch."""

    room: int | None = None

    def __init__(self) -> None:
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def brief(self, orders: Orders) -> None:
        self._orders = orders

    def check(self, jobs: Sequence[Sequence[str]]) -> Looked:
        return look(self._orders, jobs)[0]

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        environment = {**os.environ} if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
        job = {"orders": self._orders.as_json(), "number": number, "overrides": [*overrides], "until": until}
        self._running[number] = python(
            "process", "alone", repr(json.dumps(job)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )

    def wait(self, seconds: float) -> list[Ended]:
        end = time.monotonic() + seconds
        while not (over := [n for n, process in self._running.items() if process.poll() is not None]):
            if time.monotonic() >= end:
                return []
            time.sleep(0.02)
        return [self._ended(number) for number in over]

    def _ended(self, number: int) -> Ended:
        process = self._running.pop(number)
        out = process.communicate()[0].strip().splitlines()
        told: Values = {}
        with suppress(ValueError):
            told = json.loads(out[-1]) if out else {}
        return Ended(number, told if isinstance(told, dict) else {}, process.returncode)

    def signal(self, number: int, job: int | None = None) -> None:
        for n, process in self._running.items():
            if job in (None, n):
                with suppress(ProcessLookupError):
                    process.send_signal(number if os.name == "posix" else signal.SIGTERM)

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
