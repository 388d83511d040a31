"""Jobs on this machine: forked from a warm server on Linux, each a Python of its own elsewhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from dltrain.errors import StorageError
from dltrain.runs.foreign import Values
from dltrain.sweeps.engines import Ended, Engine
from dltrain.sweeps.orders import Orders

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from dltrain.sweeps.{0} import {1}; {1}({2})"
_MUTE = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # who reads the driver's must not wait for it
_MOST_DEATHS = 3  # of servers, one after another, without a job that ended between them


def local() -> Engine:
    """The engine that this system allows. It imports what jobs need while it waits for orders."""
    return Forks() if sys.platform == "linux" else Processes()


@contextmanager
def started() -> Iterator[Engine]:
    """The engine while it is needed."""
    engine = local()
    try:
        yield engine
    finally:
        engine.close()


def _python(module: str, function: str, argument: str, **options: object) -> subprocess.Popen[bytes]:
    """Another Python that imports from where this one does, and from nowhere else."""
    code = _START.format(module, function, argument)
    words = [sys.executable, "-P", "-c", code, json.dumps(sys.path)]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, **options)  # pyrefly: ignore


def look(
    orders: Orders, jobs: Sequence[Sequence[str]], *, timed: bool = False
) -> tuple[list[tuple[int, str]], float | None]:
    """What a Python of its own says of jobs: which have no plan, and why; seconds that the first takes, if `timed`."""
    words = {"orders": orders.as_json(), "jobs": [[*overrides] for overrides in jobs], "timed": timed}
    out = _python("process", "look", repr(json.dumps(words)), stdout=subprocess.PIPE).communicate()[0].splitlines()
    found: Values = {}
    with suppress(ValueError):
        found = json.loads(out[-1]) if out else {}
    return [(i, text) for i, text in found.get("wrong", [])], found.get("seconds")


class Forks:
    """A server process that forks a job each time; a server that dies is replaced, and its jobs are given back."""

    def __init__(self) -> None:
        self._running: set[int] = set()
        self._deaths = 0
        self._begin()

    def brief(self, orders: Orders) -> None:
        self._orders = orders
        self._say(orders.as_json())

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._server = _python("engines.server", "main", str(theirs.fileno()), pass_fds=[theirs.fileno()], **_MUTE)
        self._rest = b""

    def _say(self, what: Values) -> None:
        with suppress(OSError):  # it has died, which the next read tells
            self._socket.sendall(json.dumps(what).encode() + b"\n")

    def check(self, jobs: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
        self._say({"check": [[*overrides] for overrides in jobs]})
        while b"\n" not in self._rest or b'"checked"' not in self._rest:
            if not (more := self._socket.recv(1 << 16)):
                return []  # it has died: the jobs will say over what
            self._rest += more
        *lines, self._rest = self._rest.split(b"\n")
        return next(
            ([(i, text) for i, text in said["checked"]] for line in lines if "checked" in (said := json.loads(line))),
            [],
        )

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        self._running.add(number)
        self._say({"start": number, "overrides": [*overrides], "environment": environment, "until": until})

    def wait(self, seconds: float) -> list[Ended]:
        if b"\n" not in self._rest:
            self._socket.settimeout(seconds)
            try:
                more = self._socket.recv(1 << 16)
            except TimeoutError:
                return []
            except OSError:
                more = b""
            finally:
                self._socket.settimeout(None)
            if not more:
                return self._lost()
            self._rest += more
        *lines, self._rest = self._rest.split(b"\n")
        ended = [said for line in lines if "ended" in (said := json.loads(line))]
        self._deaths = 0 if ended else self._deaths
        self._running -= {said["ended"] for said in ended}
        return [Ended(said["ended"], said["told"], said["code"], said["memory"]) for said in ended]

    def _lost(self) -> list[Ended]:
        """The server has died, and its jobs with it."""
        self._deaths += 1
        code = self._server.wait()
        self._socket.close()
        if self._deaths >= _MOST_DEATHS:
            raise StorageError(f"the process that starts jobs has ended {self._deaths} times (exit code {code})")
        lost = [Ended(number, code=None) for number in sorted(self._running)]
        self._running.clear()
        self._begin()
        self.brief(self._orders)
        return lost

    def signal(self, number: int, job: int | None = None) -> None:
        self._say({"signal": number, "job": job})

    def close(self) -> None:
        self._server.kill()  # and the system its children
        self._server.wait()
        self._socket.close()


class Processes:
    """A new Python for each job: where a system can't fork a process that has imported torch."""

    def __init__(self) -> None:
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def brief(self, orders: Orders) -> None:
        self._orders = orders

    def check(self, jobs: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
        return look(self._orders, jobs)[0]

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        environment = {**os.environ} if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
        job = {"orders": self._orders.as_json(), "number": number, "overrides": [*overrides], "until": until}
        self._running[number] = _python(
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
