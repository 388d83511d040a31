"""A job in a Python of its own, beside the process that a cluster runs for it, and that knows when it must give way.

A machine of the cluster imports this file alone; what it needs more of dltrain the job's own Python imports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dltrain.runs.foreign import Values, node
from dltrain.sweeps.engines import Ended
from dltrain.sweeps.orders import Orders

_PATIENCE = 20.0  # seconds for a job to save, once nobody waits for it
_CODE = (  # the signal before a limit of time reaches every process of a job of SLURM's, and is submitit's
    "import signal, sys, json; signal.signal(signal.SIGUSR2, signal.SIG_IGN); sys.path[:] = json.loads(sys.argv[1]); "
    "from dltrain.sweeps.engines.apart import begin; begin(sys.argv[2])"
)


@dataclass
class Apart:
    """What a cluster is given: one job of the sweep in a folder, and from where Python imports."""

    paths: list[str]
    place: str  # in which it was typed
    asked: str  # JSON, of `process.alone`

    @classmethod
    def of(cls, orders: Orders, number: int, overrides: Sequence[str], until: float | None) -> Apart:
        asked = {"orders": orders.as_json(), "number": number, "overrides": [*overrides], "until": until}
        return cls([*sys.path], os.getcwd(), json.dumps(asked))

    def __post_init__(self) -> None:
        self._pid = 0

    def train(self, *signals: int, **environment: str) -> Values:
        """Waits for its end; returns what it told, and its exit code. At one of the signals it saves, and ends."""
        stopped: list[int] = []

        def stop(number: int, _frame: FrameType | None) -> None:
            stopped.append(number)
            self._stop()

        before = {number: signal.signal(number, stop) for number in signals}
        words = [sys.executable, "-P", "-c", _CODE, json.dumps(self.paths), self.asked]
        try:
            with tempfile.TemporaryFile() as out:
                process = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=out, cwd=self.place, env={**os.environ, **environment}
                )
                self._pid = process.pid
                if stopped:
                    self._stop()
                while process.poll() is None:
                    time.sleep(0.05)
                out.seek(0)
                lines = out.read().strip().splitlines()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        told: Values = {}
        with suppress(ValueError):
            told = node(json.loads(lines[-1])) if lines else {}
        return {"told": told, "code": process.returncode}

    def _stop(self) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def saved(self) -> None:
        """Has it save, and waits until it has ended; within a handler, while `train` waits, too."""
        self._stop()
        if self._pid:
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)


def begin(asked: str) -> None:
    """What the Python of a job does."""
    threading.Thread(target=_end_with, args=[os.dup(0)], daemon=True).start()
    from dltrain.sweeps.process import alone

    alone(asked)


def _end_with(pipe: int) -> None:
    """Stops this process when the one beside it has ended, which holds the other end of a pipe."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)


def ended(number: int, said: Values, folder: Path, *, stopping: bool, otherwise: str, code: int | None) -> Ended:
    """How a job has ended, by what `Apart` said, else by its folder; where that is silent, too, it failed `otherwise`,
    which counts as this exit code.
    """
    from dltrain.runs import reading
    from dltrain.sweeps import job

    told, left = node(said.get("told")), said.get("code")
    if left == -signal.SIGTERM or (not said and stopping):
        return Ended(number, {"state": "stopped", "reason": "SIGTERM"}, -signal.SIGTERM)
    if said and isinstance(left, int):
        return Ended(number, told, left)
    run = reading.read(folder / str(number))
    if run.status not in ("running", "killed", "damaged"):
        return Ended(number, job.told(run), None if run.status == "stopped" else 0)
    return Ended(number, {"state": "failed", "reason": otherwise}, code)
