"""Where the processes of one run meet, and how each hears that another has failed, ended, or hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

import torch
import torch.distributed as dist

from dltrain.config.compose import Composed
from dltrain.config.nodes import Nodes
from dltrain.config.processes import LAUNCHER, Processes
from dltrain.config.settings import Settings
from dltrain.engine.ranks import Ranks
from dltrain.errors import (
    ConfigError,
    DataError,
    DivergedError,
    DltrainError,
    LostError,
    Quiet,
    RanksError,
    output,
    running,
    system,
)

_numbers = count()  # of a program's runs
_COMING = timedelta(minutes=10)  # within which all have started
_LONG = 30.0  # seconds after which one says that it waits
_PATIENCE = 3.0  # seconds within which who has failed says so, and others say that they wait in vain
_FAR = 10.0  # the same for one that nobody sees, on a machine of its own
_LATER = 0.5  # seconds after which others speak of what all may have found
_BEFORE = 1.0  # seconds that others go on after it, so that a launcher sees who was the first
_HEARD = 5.0  # seconds that the first stays, where it keeps the store, until others have heard why it ends


@contextmanager
def met(found: Processes) -> Iterator[Rendezvous]:
    """Inside, this process is one of several that train together.

    Of an error whoever meets it first speaks: it is said once, and the others raise Quiet, with its words and code.
    """
    meeting = Rendezvous(found)
    try:
        yield meeting
    except Quiet:
        raise
    except Exception as error:
        name = meeting.name_for(error)
        quiet = meeting.failed(error, name)
        meeting.end_who_hangs()
        if quiet:
            time.sleep(_BEFORE)
            raise quiet from error
        output.speak(name)
        raise
    finally:
        meeting.ear.rest()
    if dist.is_initialized():
        dist.destroy_process_group()


class Rendezvous:
    """Where they are told of each other: torch's store, which a launcher keeps, or else the first of them."""

    def __init__(self, found: Processes) -> None:
        self._found, self._others = found, {*range(found.world_size)} - {found.rank}
        self._keeper = None if _launcher_keeps(found) else 0
        numbers = {"rank": found.rank, "world_size": found.world_size}
        try:
            if found.rank != self._keeper:
                _wait_for_keeper(found)
            store, _, _ = next(dist.rendezvous(f"tcp://{found.host}:{found.port}", **numbers, timeout=_COMING))
        except (dist.DistError, OSError) as error:
            output.speak()
            raise LostError(_not_met(found, error)) from error
        self._lasting = dist.PrefixStore("dltrain", store)
        self._store = dist.PrefixStore(f"{found.restarts}.{next(_numbers)}", self._lasting)
        self._timeout, self._marks = _COMING, dict[int, running.Mark]()
        self._lost, self._hang, self._since = set[int](), set[int](), 0.0
        self.ear = _Ear(self._store, found.rank, self._others, self._marks)
        if self._keeper is not None and found.rank:  # else what it says is gone with it
            self.ear.start()

    def join(self, composed: Composed) -> Ranks:
        """The group of all, for a run. Raises ConfigError where its `trainer` is not as it should be."""
        nodes = Nodes(composed, (), torch=False)
        settings = nodes.knobs("trainer", Settings)
        nodes.mistakes.stop()
        assert settings is not None  # nothing is wrong with it
        return self.ranks(settings.rank_timeout)

    def ranks(self, timeout: float) -> Ranks:
        """The group of all, on whatever device. timeout: seconds that one waits for another."""
        self._timeout = timedelta(seconds=timeout)
        on_device = torch.cuda.is_available()
        if on_device:
            torch.cuda.set_device(self._found.local_rank % torch.cuda.device_count())
        try:
            self._wait_for_all()
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_device else "gloo",
                store=dist.PrefixStore("group", self._store),
                rank=self._found.rank,
                world_size=self._found.world_size,
                timeout=self._timeout,
            )
        except dist.DistError as error:
            raise LostError(self.who_is_lost(str(error))) from error
        return Ranks(store=self._lasting, lost=self.who_is_lost)

    def _wait_for_all(self) -> None:
        """Until all have found nothing wrong, so far. Raises LostError, and Quiet where one of them has."""
        size, end = self._found.world_size, time.monotonic() + self._timeout.total_seconds()
        _append(self._store, "here", f"{json.dumps([self._found.rank, running.mark()])}\n")
        while True:
            told = map(json.loads, self._store.get("here").decode().splitlines())
            self._marks.update((rank, (machine, number, since)) for rank, (machine, number, since) in told)
            if len(self._marks) == size:
                return
            if self._store.check(["failed"]):
                raise _quiet(self._store.get("failed").decode())
            if time.monotonic() > end:
                self._lost = self._others - self._marks.keys()
                who = ", ".join(map(str, sorted(self._lost)))
                raise LostError(f"process {who} of {size} has not come within {self._timeout.total_seconds():g} s")
            time.sleep(0.05 + size / 1000)

    def name_for(self, error: Exception) -> str:
        """Who has met an error, where that is not the same for all; of several machines, with the name of its own."""
        found = self._found
        typed = isinstance(error, ConfigError | DataError) and not found.rank and found.machines == 1
        if typed or isinstance(error, DivergedError | RanksError):
            return ""
        where = f" on {socket.gethostname()}" if found.machines > 1 else ""
        return f"process {found.rank} of {found.world_size}{where}"

    def failed(self, error: Exception, name: str) -> Quiet | None:
        """Tells the others of an error, which begins with a name. What to raise where one of them had told of one."""
        if self.ear.told:
            return _quiet(self.ear.told)
        is_ours = isinstance(error, DltrainError)
        words = ": ".join(word for word in (name, "" if is_ours else type(error).__name__, str(error)) if word)
        own = json.dumps([self._found.rank, error.exit_code if is_ours else 1, words])
        if self._found.rank and isinstance(error, ConfigError | DataError):
            time.sleep(_LATER)  # mostly all find the same mistake, and the first says it as one process would
        try:
            first = "" if self._keeper in self._lost else self._store.compare_set("failed", "", own).decode()
        except RuntimeError:  # nobody keeps the store any more
            first = self.ear.told
        if not first and isinstance(error, LostError):  # all have met it
            left = {self._found.rank, *self._others} - self._lost - {self._keeper}
            first = own if self._found.rank == min(left, default=0) else ""
            if not first:
                return Quiet(LostError.exit_code, words)
            time.sleep(_BEFORE)
        if first not in ("", own):
            return _quiet(first)
        _record(words, self._since or time.time())
        if self._keeper == self._found.rank:
            self._wait_for_ears()
        return None

    def _wait_for_ears(self) -> None:
        end = time.monotonic() + _HEARD
        while self._store.add("heard", 0) < len(self._others - self._lost) and time.monotonic() < end:
            time.sleep(0.05)

    def who_is_lost(self, text: str) -> str:
        """What to say where others do not answer. Raises Quiet where one of them has said why it ends, or a launcher
        does.
        """
        _stay()
        self._since = time.time()
        why, self._lost = self._look_around(late="imed out" in text)
        if not self._lost:
            return f"the processes of this run can't talk to each other any more: {output.cut(text, 200)}"
        who = f"process {', '.join(map(str, sorted(self._lost)))} of {self._found.world_size}"
        words = f"{who} {why}; all end, and `dltrain resume last` goes on from the last checkpoint"
        if why == _ENDED and LAUNCHER in os.environ:
            raise Quiet(LostError.exit_code, words)
        self._hang = self._lost if why != _ENDED else set[int]()
        return words

    def end_who_hangs(self) -> None:
        """Kills those of this machine that do not answer, since a launcher would wait half a minute for them."""
        if self._hang:
            _stay()
        for rank in self._hang & self._marks.keys():
            running.end(self._marks[rank])

    def _look_around(self, *, late: bool) -> tuple[str, set[int]]:
        """Why the talk has ended, and who is to blame for it, as soon as that is clear. late: it took too long."""
        begin, seconds = time.monotonic(), self._timeout.total_seconds()
        hangs = f"has not answered for {seconds:g} s: it hangs, or is slow"
        self.ear.listen_closely()
        while True:
            waiting, gone = self.ear.heard or (set[int](), set[int]())
            if self.ear.told:
                time.sleep(_BEFORE)
                raise _quiet(self.ear.told)
            if self.ear.broken is not None:
                return _ENDED, self.ear.broken | ({0} if self._keeper == 0 else set())
            missing, waited = self._others - waiting - gone, time.monotonic() - begin
            if self.ear.heard and not missing:
                return _ENDED, gone
            if waited > _PATIENCE and gone:
                return _ENDED, gone
            if (waited > _PATIENCE and late) or waited > max(seconds, _FAR):
                # Who keeps the store, and hangs, keeps all from hearing of others.
                return hangs, missing if self.ear.heard or self._keeper is None else {self._keeper}
            if waited > _FAR and (unseen := missing - self._seen(waiting)):
                return "has ended, or can't be reached", unseen
            time.sleep(0.05)

    def _seen(self, waiting: set[int]) -> set[int]:
        """Those on a machine of this process's, or of one that waits: it would see their end, so that they are busy."""
        machines = {self._marks[rank][0] for rank in {self._found.rank, *waiting} & self._marks.keys()} - {""}
        return {rank for rank, mark in self._marks.items() if mark[0] in machines}


class _Ear(threading.Thread):
    """Hears what others say in the store, where this process may be busy, or the store's keeper hang.

    told: why one of them ends. heard, once it listens closely: who waits for others, and who has ended. broken: who had
    ended when nobody kept the store any more.
    """

    def __init__(self, store: dist.Store, own: int, others: set[int], marks: Mapping[int, running.Mark]) -> None:
        super().__init__(daemon=True)
        self.told = ""
        self.heard: tuple[set[int], set[int]] | None = None
        self.broken: set[int] | None = None
        self._store, self._own, self._others, self._marks = store, own, others, marks
        self._closely, self._over, self._said = threading.Event(), threading.Event(), set[int]()

    def listen_closely(self) -> None:
        self._closely.set()
        if self.ident is None:
            self.start()

    def rest(self) -> None:
        """No call of torch's may be under way when the interpreter ends."""
        self._over.set()
        if self.is_alive():
            self.join(_BEFORE)

    def ended(self) -> set[int]:
        """Those that this process sees to have ended, on its machine."""
        return {rank for rank in self._others & self._marks.keys() if running.has_ended(self._marks[rank])}

    def run(self) -> None:
        try:
            while not self._over.wait(0.05 if self._closely.is_set() else 0.3):
                self._listen()
        except RuntimeError:
            self.broken = self.ended()

    def _listen(self) -> None:
        closely = self._closely.is_set()
        gone = self.ended() if closely else set[int]()  # before the store is asked: who has failed says so, then ends
        if not self.told and self._store.check(["failed"]):
            self.told = self._store.get("failed").decode()
            self._store.add("heard", 1)  # last: who keeps the store may end then
        if not closely:
            return
        if self.heard is None:
            _append(self._store, "waiting", f"{self._own} ")
        _append(self._store, "gone", "".join(f"{rank} " for rank in gone - self._said))
        self._said |= gone
        found = [{*map(int, self._store.get(key).split())} for key in ("waiting", "gone")]
        self.heard = found[0], found[1]


def _launcher_keeps(found: Processes) -> bool:
    """As torch's store has it: of a launcher that was given port 0 nothing is at the port that it tells."""
    port = os.environ.get("MASTER_PORT")
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and port == str(found.port)


def _wait_for_keeper(found: Processes) -> None:
    """Until who keeps the store answers, of which torch would say nothing, and then pages. Raises OSError."""
    begin, told, launcher = time.monotonic(), False, os.environ.get(LAUNCHER, "")
    while True:
        try:
            socket.create_connection((found.host, found.port), timeout=5).close()
            return
        except OSError as error:
            waited = time.monotonic() - begin
            if launcher.isdecimal() and system.parent() != int(launcher):
                raise OSError("who started it has ended") from error
            if waited > _COMING.total_seconds():
                raise
            if waited > _LONG and not told:
                told = True
                with output.voice_kept():
                    output.speak()
                    who = f"process {found.rank} of {found.world_size} waits for the first"
                    output.say(f"note: {who} at {found.host}, port {found.port}: {error}", error=True)
        time.sleep(0.1)


def _not_met(found: Processes, error: Exception) -> str:
    who, why = f"process {found.rank} of {found.world_size}", output.cut(str(error), 200)
    if "failed to listen" in why:
        why = why.rpartition("message: ")[2]
        return f"{who} can't wait for the others at port {found.port}: {why}; set MASTER_PORT to another, for all"
    return (
        f"{who} has waited in vain for the others, which meet at {found.host}, port {found.port}: {why}; start all, "
        "with the same MASTER_ADDR and MASTER_PORT, or one without"
    )


def _append(store: dist.Store, key: str, text: str) -> None:
    store.append(key, text)  # pyrefly: ignore[missing-attribute] - all but its stubs have it


_ENDED = "has ended"


def _stay() -> None:
    """A launcher has the others end by SIGTERM: this process ends by itself, and says why."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _record(words: str, since: float) -> None:
    """Tells torch's launcher, in the file that it gives each process, what was wrong and since when: in whole seconds,
    in which nothing that follows may have come before.
    """
    if (path := os.environ.get("TORCHELASTIC_ERROR_FILE")) and not os.path.exists(path):
        with suppress(OSError):
            Path(path).write_text(json.dumps({"message": words, "timestamp": int(since) - 1}), encoding="utf-8")


def _quiet(told: str) -> Quiet:
    _, code, words = json.loads(told)
    return Quiet(code, words)
