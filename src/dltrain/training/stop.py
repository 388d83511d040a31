"""Why a run should end before its last step: a signal, or the time it was given."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from dltrain.errors import system

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.data.loaders import Batch, Batches


class Interrupted(KeyboardInterrupt):
    """A signal, `reason`, ended a run or sweep, which is saved in `folder`."""

    def __init__(self, words: str, folder: Path, reason: str) -> None:
        super().__init__(words)
        self.folder, self.reason = folder, reason


class Stop:
    """Asked between steps: `stop()` is true once the run should save and end; `reason` then says why."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._started, self._limit = time.monotonic(), float("inf")

    def after(self, seconds: float | None) -> None:
        """Limits the wall-clock time, counted from when this was made; None lifts the limit."""
        self._limit = float("inf") if seconds is None else seconds

    def __call__(self) -> bool:
        return self.wanted()

    def wanted(self) -> bool:
        """Whether this process wants to end, whatever others do that share the run."""
        if self.reason is None and time.monotonic() - self._started >= self._limit:
            self.reason = "max_time"
        return self.reason is not None

    def by_any(self, left: bool) -> bool:
        """Whether any process has left its batches."""
        return left


class Leavable:
    """A loader whose batches are left between two of them, `left`, where this process wants to stop. Nothing is raised:
    each of several processes judges rows of its own, and all meet at the end of them.
    """

    def __init__(self, loader: Batches, stop: Stop, tell: Callable[[], None]) -> None:
        """tell: called between two batches."""
        self._loader, self._stop, self._tell, self.left = loader, stop, tell, False

    @property
    def weight(self) -> Tensor | None:
        """Of each row, where they count by it."""
        return getattr(self._loader, "weight", None)

    def epoch(self) -> Iterator[Batch]:
        for number, batch in enumerate(self._loader.epoch()):
            if number and self._stop.wanted():
                self.left = True
                return
            self._tell()
            yield batch


@contextmanager
def stop_on_signal(*, quiet: bool = False) -> Iterator[Stop]:
    """The first of `system.STOPS` asks for a stop; a second SIGINT leaves at once, by KeyboardInterrupt. A SIGHUP that
    is ignored, as under `nohup`, stays so. quiet: nothing is said.

    Only the main thread may take signals: elsewhere nothing changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.reason is None:
            stop.reason = signal.Signals(number).name
            if not quiet:
                with suppress(OSError):  # not print: the signal may have come in the middle of one
                    os.write(2, f"\n{stop.reason}: saving after this step; Ctrl-C leaves at once\n".encode())

    kept = {n for n in system.STOPS if n.name == "SIGHUP" and signal.getsignal(n) == signal.SIG_IGN}
    before = {number: signal.signal(number, handle) for number in system.STOPS if number not in kept}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
