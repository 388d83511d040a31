"""Training in processes that are to be killed or signalled; `nursery` starts each within milliseconds."""

import mmap
import multiprocessing.forkserver
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from nursery import NOWHERE, command, go_on, new_folder, plan_of, rank
from outcomes import outcome

from dltrain.training import experiment

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["nursery_warm"])


class Case:
    """A kind of run, and what it gives undisturbed."""

    def __init__(self, root: Path, name: str) -> None:
        self.name, self.root, self.plan = name, root, plan_of(name)
        outcomes = []
        for _ in range(2):  # the first one also warms up
            folder, begin = self.new(), time.perf_counter()
            experiment.train(self.plan, folder)
            self.seconds = time.perf_counter() - begin
            outcomes.append(outcome(folder))
        self.expected = outcomes[0]
        assert outcomes[1] == self.expected

    def new(self) -> Path:
        return new_folder(self.plan, self.root)


class Child:
    """A process that goes on with the run of a case, or does a command in a folder, alone or as one of several that
    share a run (`shares`: see `nursery.rank`); `place` is what it is doing.
    """

    def __init__(self, first: Case | list[str], folder: Path, shares: tuple[dict[str, str], str] | None = None) -> None:
        file = folder.with_suffix(".place") if shares is None else Path(f"{shares[1]}.place")
        file.write_bytes(bytes([NOWHERE]))
        with file.open("r+b") as opened:
            self._shown = mmap.mmap(opened.fileno(), 1)
        target, what = (go_on, first.name) if isinstance(first, Case) else (rank if shares else command, first)
        self._process = SERVER.Process(target=target, args=(what, str(folder), str(file), *(shares or ())))
        self._process.start()
        self.pid = self._process.pid

    @property
    def place(self) -> int:
        return self._shown[0]

    def over(self) -> bool:
        return not self._process.is_alive()

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the process, unless it has ended, or to it and its workers."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def ended(self, seconds: float = 60) -> int:
        """Waits; gives the exit code, negative for a signal."""
        self._process.join(seconds)
        if (code := self._process.exitcode) is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"the run did not end within {seconds} seconds")
        self._process.close()
        return code
