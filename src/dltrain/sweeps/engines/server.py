"""A process that has imported what jobs need, and forks one for each: they start in milliseconds, and die alone.

It speaks with the driver over a socket, a line of JSON each way. It has no thread, touches no GPU and reads no data, so
that a fork of it is as good as a new process. When the driver is gone it stops its jobs, and when it is gone itself
the system kills them: none is left behind, and none trains unseen.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dltrain.config.composer import Composer
from dltrain.errors import DltrainError, streams
from dltrain.errors.output import warnings_in_words
from dltrain.runs.foreign import Values, node
from dltrain.sweeps import job, process
from dltrain.sweeps.job import Orders
from dltrain.sweeps.slots import visible_gpus

_PATIENCE = 20.0  # seconds for jobs to save, once nobody waits for them
_PDEATHSIG = 1  # of Linux's prctl: the signal that a process gets when its parent ends
_WITHOUT_THREADS = ("sklearn_sets", "toy", "images")  # sources of data that start none while they read
_MANY = 30  # jobs, for which it pays to make forks cheap first
_LARGE, _COLLAPSE = 1 << 21, 25  # bytes of a large page; Linux's MADV_COLLAPSE
_LONGEST = 1 << 16  # bytes of what a job says at its end: what a pipe holds while nobody reads


def main(handle: int) -> None:
    """Serves the driver at the other end of an inherited socket until that closes it."""
    with socket.socket(fileno=handle) as driver:
        warm()
        from dltrain.config.construct import data_kept

        lines = _Lines(driver)
        if (asked := lines.next()) and not asked.get("quit"):
            orders = Orders.of(asked)
            with data_kept():
                _Server(driver, lines, orders, Composer(orders.snapshot)).serve()


def warm() -> None:
    """Imports what jobs need, and has them start with it: one thread, nothing for the garbage collector to look at."""
    gc.disable()
    import torch

    from dltrain.config import build, plan  # noqa: F401 - build keeps how many threads torch chose
    from dltrain.runs import run_folder, tensorboard
    from dltrain.training import experiment, overview  # noqa: F401

    torch.set_num_threads(1)
    tensorboard.scalar(0, "warm", 0.0)
    run_folder.environment([])
    gc.freeze()


def _use_large_pages() -> None:
    """Has the system keep what this process holds in pages of 2 MiB, where it can: to fork it then takes 5 ms, not 20.

    It takes half a second.
    """
    system = ctypes.CDLL(None)
    system.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        place, rights, *_, inode = line.split(maxsplit=5)[:5]
        first, _, end = place.partition("-")
        begin, length = -(-int(first, 16) // _LARGE) * _LARGE, 0
        length = int(end, 16) // _LARGE * _LARGE - begin
        if rights == "rw-p" and inode == "0" and length > 0:
            system.madvise(begin, length, _COLLAPSE)  # an older system refuses, and all stays as it is


class _Lines:
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


@dataclass
class _Child:
    number: int
    told: int  # the pipe on which it says how it ended


class _Server:
    def __init__(self, driver: socket.socket, lines: _Lines, orders: Orders, composer: Composer) -> None:
        self._driver, self._lines, self._orders, self._composer = driver, lines, orders, composer
        self._children: dict[int, _Child] = {}
        self._prepared = False

    def serve(self) -> None:
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._say(ready=True)
        nobody: list[int] = []
        while True:
            if self._lines.waiting:
                ready = [self._driver]
            else:
                ready, _, _ = select.select([self._driver, woken], nobody, nobody)
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if self._driver in ready:
                if not (asked := self._lines.next()):
                    return self._leave()
                if asked.get("quit"):
                    return None
                self._do(asked)

    def _prepare(self, overrides: list[str]) -> None:
        """Makes the plan of a job, if its data are numbers that dltrain's own sources read without threads, and jobs
        compute with one thread: what is looked up and read for it, all jobs find done.
        """
        self._prepared = True
        with suppress(DltrainError, OSError):
            made = job.composed(self._orders, overrides, self._composer)
            source = node(made.values.get("data")).get("_target_")
            plain = any(str(source).startswith(f"dltrain.data.{name}.") for name in _WITHOUT_THREADS)
            if plain and self._orders.threads == 1 and not visible_gpus():
                job.plan_of(self._orders, made)
        gc.freeze()
        if self._orders.jobs >= _MANY:
            _use_large_pages()

    def _do(self, asked: Values) -> None:
        if "start" in asked:
            self._begin(asked["start"], asked["overrides"], asked.get("environment") or {})
        elif "check" in asked:
            self._check(asked["check"])
        elif "signal" in asked:
            self._signal(asked["signal"], asked.get("job"))

    def _say(self, **what: object) -> None:
        with suppress(OSError):  # it is gone, which the next read tells
            self._driver.sendall(json.dumps(what).encode() + b"\n")

    def _begin(self, number: int, overrides: list[str], environment: dict[str, str]) -> None:
        if not self._prepared:
            self._prepare(overrides)
        with suppress(DltrainError):  # which the job meets again, and notes
            job.composed(self._orders, overrides, self._composer)  # so that the next of its kind finds it done
        told, tells = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(told)
            _as_a_job(self._orders, number, overrides, self._composer, environment, tells, parent, self._driver)
        os.close(tells)
        self._children[pid] = _Child(number, told)
        self._say(started=number, pid=pid)

    def _check(self, jobs: list[list[str]]) -> None:
        """Has a fork look at jobs: it reads their data, and this process must not."""
        self._prepare(jobs[0])
        for overrides in jobs:
            with suppress(DltrainError):
                job.composed(self._orders, overrides, self._composer)
        told, tells = os.pipe()
        if (pid := os.fork()) == 0:
            with os.fdopen(tells, "wb") as out, suppress(BaseException), streams.unfailing(), warnings_in_words():
                signal.set_wakeup_fd(-1)
                out.write(json.dumps(job.check(self._orders, jobs, self._composer)).encode())
            os._exit(0)
        os.close(tells)
        with os.fdopen(told, "rb") as source:
            said = source.read()
        os.waitpid(pid, 0)
        self._say(checked=json.loads(said) if said else [])

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._children.pop(pid)
            said = os.read(child.told, _LONGEST)
            os.close(child.told)
            code = os.waitstatus_to_exitcode(status)
            self._say(
                ended=child.number, code=code, memory=used.ru_maxrss * 1024, told=json.loads(said) if said else {}
            )

    def _signal(self, number: int, which: int | None = None) -> None:
        for pid, child in self._children.items():
            if which in (None, child.number):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _leave(self) -> None:
        """The driver is gone: jobs save, and end."""
        self._signal(signal.SIGTERM)
        end = time.monotonic() + _PATIENCE
        while self._children and time.monotonic() < end:
            self._reap()
            time.sleep(0.02)
        self._signal(signal.SIGKILL)


def _as_a_job(
    orders: Orders,
    number: int,
    overrides: list[str],
    composer: Composer,
    environment: dict[str, str],
    tells: int,
    parent: int,
    driver: socket.socket,
) -> None:
    """What the forked process does; it never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        driver.close()
        _end_with(parent)
        os.setpgid(0, 0)
        os.environ.update(environment)
        process.write_to(Path(orders.folder) / str(number))
        gc.enable()
        said, code = process.run(orders, number, overrides, composer)
        os.write(tells, json.dumps(said).encode()[:_LONGEST])
        process.drop_empty(Path(orders.folder) / str(number) / "output.txt")
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
