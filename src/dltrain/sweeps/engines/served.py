"""Jobs that another process of ours starts and watches, with which we speak over a socket: a line of JSON each way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from dltrain.errors import StorageError, system
from dltrain.runs.foreign import Values, node
from dltrain.sweeps.engines import Ended, Looked, how
from dltrain.sweeps.orders import Orders

_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from dltrain.sweeps.{0} import {1}; {1}({2})"
_MUTE = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # who reads the driver's must not wait for it
_DYING = 2.0  # seconds for a server to end by itself, once it has closed its socket
_MOST_DEATHS = 3  # of servers, one after another, without a job that ended between them


def python(module: str, function: str, argument: str, **options: object) -> subprocess.Popen[bytes]:
    """Another Python that imports from where this one does, and from nowhere else."""
    code = _START.format(module, function, argument)
    words = [sys.executable, "-P", "-c", code, json.dumps(sys.path)]
    return subprocess.Popen(words, start_new_session=True, **({"stdin": subprocess.DEVNULL} | options))  # pyrefly: ignore


class Lines:
    """Lines of JSON from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self._source, self._rest = source, b""

    def next(self) -> Values:
        """The next line; an empty mapping once the other end has closed."""
        while b"\n" not in self._rest:
            if not (more := self._source.recv(1 << 16)):
                return {}
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    @property
    def waiting(self) -> bool:
        return b"\n" in self._rest


class Served:
    """The engine of a server, the module with its `main`; a server that dies is replaced, and its jobs are given back.

    words: what the server is told as it starts; patience: seconds that it has to tidy up at the end.
    """

    def __init__(self, server: str, *words: str, patience: float = 0.0) -> None:
        self._name, self._words, self._patience = server, words, patience
        self._running: set[int] = set()
        self._deaths = 0
        self.room: int | None = None  # for how many jobs, as the server says
        self._why: str | None = None  # of what it has died, as far as it could say so
        self._begin()

    def brief(self, orders: Orders) -> None:
        self._orders = orders
        self._say(orders.as_json())

    def _begin(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            told = ", ".join([str(theirs.fileno()), *map(repr, self._words)])
            self._server = python(self._name, "main", told, pass_fds=[theirs.fileno()], **_MUTE)
        self._lines = Lines(self._socket)

    def _say(self, what: Values) -> None:
        with suppress(OSError):  # it has died, which the next read tells
            self._socket.sendall(json.dumps(what).encode() + b"\n")

    def answer(self, word: str) -> object:
        """What the server says of one thing; None where it has died."""
        with suppress(OSError):
            while said := self._lines.next():
                if word in said:
                    return said[word]
        return None

    def check(self, jobs: Sequence[Sequence[str]]) -> Looked:
        self._say({"check": [[*overrides] for overrides in jobs]})
        return Looked.of(self.answer("checked"))  # where it has died the jobs will say over what

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        environment = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
        self._running.add(number)
        self._say({"start": number, "overrides": [*overrides], "environment": environment, "until": until})

    def wait(self, seconds: float) -> list[Ended]:
        found: list[Ended] = []
        while not found or self._lines.waiting:
            self._socket.settimeout(seconds)
            try:
                said = self._lines.next()
            except TimeoutError:
                break
            except OSError:
                said = Values()
            finally:
                self._socket.settimeout(None)
            if not said:
                return found + self._lost()
            self.room = said.get("room", self.room)
            self._why = node(said.get("cluster")).get("refused") or self._why
            if "ended" in said:
                found.append(Ended(said["ended"], said["told"], said["code"], said["memory"]))
                self._running.discard(said["ended"])
        self._deaths = 0 if found else self._deaths
        return found

    def _lost(self) -> list[Ended]:
        """The server has died, and its jobs with it."""
        self._deaths += 1
        system.await_end(self._server.pid, _DYING)  # its own exit code says more than that of being killed
        code = self._end()
        if self._deaths >= _MOST_DEATHS:
            if self._why:
                raise StorageError(f"the cluster is lost: {self._why}")
            raise StorageError(
                f"the process that starts jobs has ended {self._deaths} times, and no job had (the last: {how(code)}); "
                "it may have too little memory, as where ulimit -v limits that"
            )
        lost = [Ended(number, code=None) for number in sorted(self._running)]
        self._running.clear()
        self._begin()
        self.brief(self._orders)
        return lost

    def signal(self, number: int, job: int | None = None) -> None:
        self._say({"signal": number, "job": job})

    def close(self) -> None:
        if self._patience:
            end = time.monotonic() + self._patience
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)  # it ends by itself, and closes its end
                while (left := end - time.monotonic()) > 0:
                    self._socket.settimeout(left)
                    if not self._socket.recv(1 << 16):
                        break
        self._end()

    def _end(self) -> int:
        """Kills it with all that it has started in its session, and on Linux the system kills the other children."""
        if self._server.returncode is None:  # else its number may be another's
            system.kill_group(self._server.pid)
        self._server.kill()
        self._socket.close()
        return self._server.wait()
