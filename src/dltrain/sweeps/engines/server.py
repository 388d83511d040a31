"""A process that has imported what jobs need, and forks others that train them: they start at once, and die alone.

It speaks with the driver over a socket, a line of JSON each way, and so with its children. It has no thread, touches no
GPU and reads no table, so that a fork of it is as good as a new process. When the driver is gone it stops its jobs, and
when it is gone itself the system kills them: none is left behind, and none trains unseen.

A child trains one job at a time. Its first costs it 60 ms more than the others, half of them for pages of memory that
it no longer shares: so it takes the next job, too, unless the last one ended badly or code of the user's own had a part
in it.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from dltrain.config.composer import Composer
from dltrain.errors import DltrainError, streams
from dltrain.errors.output import warnings_in_words
from dltrain.runs.foreign import Values
from dltrain.runs.reading import ENDED
from dltrain.sweeps import job, process
from dltrain.sweeps.engines.served import Lines
from dltrain.sweeps.orders import Orders

_PATIENCE = 20.0  # seconds for jobs to save, once nobody waits for them
_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent ends
_LATE = ("dltrain.engine.assessment", "tensorboard.plugins.hparams.plugin_data_pb2")  # what jobs import on their way
_JOBS = 64  # that a process trains, one after another; code of the user's own gets a process for each
_LONGEST = 1 << 16  # bytes of what a job says at its end: what a pipe holds while nobody reads


def main(handle: int) -> None:
    """Serves the driver at the other end of an inherited socket until that closes it."""
    with socket.socket(fileno=handle) as driver:
        warm()
        lines = Lines(driver)
        if asked := lines.next():
            orders = Orders.of(asked)
            _Server(driver, lines, orders, Composer(orders.snapshot, quick=orders.quick)).serve()


def warm() -> None:
    """Imports what jobs need, and has them start with it: one thread, nothing for the garbage collector to look at."""
    gc.disable()
    import torch

    from dltrain.config import build, plan  # noqa: F401 - build keeps how many threads torch chose
    from dltrain.runs import run_folder, tensorboard
    from dltrain.training import experiment, overview  # noqa: F401

    torch.set_num_threads(1)
    for name in _LATE:
        import_module(name)
    tensorboard.scalar(0, "warm", 0.0)
    run_folder.environment([])
    gc.freeze()


@dataclass
class _Child:
    """A forked process. number: the job that it trains, None while it waits for the next."""

    socket: socket.socket
    environment: dict[str, str]
    number: int | None


class _Server:
    def __init__(self, driver: socket.socket, lines: Lines, orders: Orders, composer: Composer) -> None:
        self._driver, self._lines, self._orders, self._composer = driver, lines, orders, composer
        self._children: dict[int, _Child] = {}

    def serve(self) -> None:
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        nobody: list[int] = []
        while True:
            if self._lines.waiting:
                ready = [self._driver]
            else:
                theirs = [child.socket for child in self._children.values()]
                ready, _, _ = select.select([self._driver, woken, *theirs], nobody, nobody)
            for pid, child in [*self._children.items()]:
                if child.socket in ready:
                    self._hear(pid)
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if self._driver in ready:
                if not (asked := self._lines.next()):
                    return self._leave()
                self._do(asked)

    def _do(self, asked: Values) -> None:
        if "start" in asked:
            self._begin(asked["start"], asked["overrides"], asked.get("environment") or {}, asked.get("until"))
        elif "check" in asked:
            self._check(asked["check"])
        elif "signal" in asked:
            self._signal(asked["signal"], asked.get("job"))

    def _say(self, **what: object) -> None:
        with suppress(OSError):  # it is gone, which the next read tells
            self._driver.sendall(json.dumps(what).encode() + b"\n")

    def _begin(self, number: int, overrides: list[str], environment: dict[str, str], until: float | None) -> None:
        asked = json.dumps({"job": number, "overrides": overrides, "until": until}).encode() + b"\n"
        for child in self._children.values():
            if child.number is None and child.environment == environment:
                with suppress(OSError):  # it has died meanwhile
                    child.socket.sendall(asked)
                    child.number = number
                    return
        with suppress(DltrainError):  # which the job meets again, and notes
            job.composed(self._orders, overrides, self._composer)  # so that the next of its kind finds it done
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            for other in (self._driver, ours, *(child.socket for child in self._children.values())):
                other.close()
            os.environ.update(environment)
            _serve_jobs(self._orders, self._composer, theirs, parent)
        theirs.close()
        ours.sendall(asked)
        self._children[pid] = _Child(ours, environment, number)

    def _hear(self, pid: int) -> None:
        """Takes in what a child says: how its job ended, and whether it waits for another."""
        child = self._children[pid]
        try:
            said = child.socket.recv(_LONGEST)
        except OSError:
            said = b""
        if not said:
            return self._lost(pid)
        while not said.endswith(b"\n"):
            if not (more := child.socket.recv(_LONGEST)):
                return self._lost(pid)
            said += more
        told = json.loads(said)
        self._say(ended=child.number, **told)
        child.number = None
        if not told["waits"]:
            self._children.pop(pid).socket.close()
        return None

    def _lost(self, pid: int) -> None:
        """A child has closed its end: it dies, and says no more."""
        _, status, used = os.wait4(pid, 0)
        child = self._children.pop(pid)
        child.socket.close()
        if child.number is not None:
            code = os.waitstatus_to_exitcode(status)
            self._say(ended=child.number, code=code, memory=used.ru_maxrss * 1024, told={})

    def _check(self, jobs: list[list[str]]) -> None:
        """Has a fork look at jobs: it reads their data, and this process must not."""
        for overrides in jobs:
            with suppress(DltrainError):
                job.composed(self._orders, overrides, self._composer)
        told, tells = os.pipe()
        if (pid := os.fork()) == 0:
            with os.fdopen(tells, "wb") as out, suppress(BaseException), streams.unfailing(), warnings_in_words():
                signal.set_wakeup_fd(-1)
                out.write(json.dumps(job.check(self._orders, jobs, self._composer)._asdict()).encode())
            os._exit(0)
        os.close(tells)
        with os.fdopen(told, "rb") as source:
            nobody: list[int] = []
            while source not in select.select([source, self._driver], nobody, nobody)[0]:
                if not self._driver.recv(1, socket.MSG_PEEK):  # it has left
                    os.kill(pid, signal.SIGKILL)
            said = source.read()
        os.waitpid(pid, 0)
        self._say(checked=json.loads(said) if said else {})

    def _reap(self) -> None:
        """Lets go of children that have said all that they had to say."""
        with suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in self._children:
                    self._hear(found.si_pid)
                else:
                    os.waitpid(found.si_pid, 0)

    def _signal(self, number: int, which: int | None = None) -> None:
        for pid, child in self._children.items():
            if child.number is not None and which in (None, child.number):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _leave(self) -> None:
        """The driver is gone: jobs save, and end."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + _PATIENCE
        while any(child.number is not None for child in self._children.values()) and time.monotonic() < end:
            self._reap()
            time.sleep(0.02)
        self._signal(signal.SIGKILL)


def _serve_jobs(orders: Orders, composer: Composer, server: socket.socket, parent: int) -> None:
    """What a forked process does, which never returns: trains the jobs that it is told, until one of them ends badly or
    may have left something behind.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _end_with(parent)
        os.setpgid(0, 0)
        gc.enable()
        from dltrain.config.construct import data_kept

        lines = Lines(server)
        with data_kept():
            for left in reversed(range(1 if orders.allow else _JOBS)):
                if not (asked := lines.next()):
                    break
                number, overrides = asked["job"], asked["overrides"]
                output = process.write_to(Path(orders.folder) / str(number))
                told, code = process.run(orders, number, overrides, composer, asked["until"])
                process.drop_empty(output)
                waits = left > 0 and told["state"] in (*ENDED, "pruned")
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                said = {"told": told, "code": code, "memory": memory, "waits": waits}
                server.sendall(json.dumps(said).encode() + b"\n")
                if not waits:
                    break
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)  # no exit handlers: they are the server's


def _end_with(parent: int) -> None:
    """Has the system kill this process when the one that forked it ends, however that does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)
