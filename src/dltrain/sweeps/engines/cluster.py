"""Jobs on a cluster, by submitit: SLURM where there is one, else processes of this machine.

The sweep's folder is on a file system that all machines share. A job of the cluster is given that folder and a number.
It trains in a process of its own, so that a limit of time or another user's turn ends no step in its middle: that
process saves, the cluster starts the job again, and it goes on. What submitit writes is in `cluster/` of the sweep's
folder, for each command in a folder whose name nobody can know before: submitit runs what it finds there.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.errors import ConfigError
from dltrain.runs import reading, run_folder
from dltrain.runs.foreign import Values, node
from dltrain.sweeps.engines import Ended, Engine, Looked
from dltrain.sweeps.engines.apart import Apart, ended
from dltrain.sweeps.orders import Orders

if TYPE_CHECKING:
    from submitit import AutoExecutor, Job
    from submitit.core.utils import DelayedSubmission

_USUAL: Values = {"name": "dltrain", "timeout_min": 240}
_REQUEUED = 1000  # times that a job may meet its limit of time, and go on
_AGAIN = 5.0  # seconds after which jobs are asked again to stop
_ONE = ("nodes", "tasks_per_node")


class Task:
    """What submitit runs for a job. end: the file that is to say how it ended."""

    def __init__(self, job: Apart, end: str) -> None:
        self.job, self.end = job, end

    def __call__(self) -> None:
        run_folder.write_json(Path(self.end), self.job.train(signal.SIGTERM))

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit where the job must give way: it saves, and is what is to be started again."""
        from submitit.core.utils import DelayedSubmission

        self.job.saved()
        return DelayedSubmission(Task(Apart(self.job.paths, self.job.place, self.job.asked), self.end))


def submitted(given: Values, near: Engine, *, device: str) -> Engine:
    """The engine of `sweep.engine=submitit`; raises ConfigError where it can't be as asked."""
    if os.name != "posix" or find_spec("submitit") is None:
        raise ConfigError("sweep.engine=submitit needs submitit: pip install 'dltrain[slurm]'")
    given = {**_USUAL, **given}
    for key in _ONE:
        if given.get(key, 1) != 1:
            raise ConfigError(f"sweep.cluster.{key}={given[key]}: a job is one process; give it GPUs by gpus_per_node")
    with tempfile.TemporaryDirectory() as folder:
        _executor(Path(folder), given)
    return Cluster(given, near, looks=device in ("auto", "cpu") and not given.get("gpus_per_node"))


def _executor(folder: Path, given: Values) -> AutoExecutor:
    from submitit import AutoExecutor

    parameters = {**given}
    cluster = parameters.pop("cluster", None)
    try:
        executor = AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=_REQUEUED)
        executor.update_parameters(**parameters)
    except (NameError, AssertionError, ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(f"sweep.cluster: {str(error).splitlines()[0]}") from error
    return executor


class Cluster:
    """Submits jobs, and looks now and then whether they have ended. near: the engine of this machine, which looks at
    plans before the first job, if this machine has what jobs want.
    """

    room: int | None = None

    def __init__(self, given: Values, near: Engine, *, looks: bool) -> None:
        self._given, self._near, self._looks = given, near, looks
        self._running: dict[int, tuple[Job[None], Path]] = {}
        self._over: list[Ended] = []
        self._held: list[tuple[int, Sequence[str], float | None]] = []  # the cluster would take no more beside others
        self._asked = 0.0  # when jobs were asked to stop

    def brief(self, orders: Orders) -> None:
        self._orders = orders
        self._near.brief(orders)
        self._place = Path(orders.folder) / "cluster" / secrets.token_hex(8)
        self._executor = _executor(self._place, self._given)

    def check(self, jobs: Sequence[Sequence[str]]) -> Looked:
        return self._near.check(jobs) if self._looks else Looked([], [])

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        from submitit.core.utils import FailedJobError

        self._near.close()  # it has looked at what there was to look at
        end = self._place / f"{number}-{secrets.token_hex(4)}.json"
        task = Task(Apart.of(self._orders, number, overrides, until), str(end))
        try:
            self._running[number] = self._executor.submit(task), end
        except (FailedJobError, OSError, subprocess.SubprocessError) as error:
            if self._running:
                return self._held.append((number, overrides, until))
            reason = f"the cluster did not take it: {str(error).strip().splitlines()[-1]}"
            self._over.append(Ended(number, {"state": "failed", "reason": reason}, 1))
        return None

    def wait(self, seconds: float) -> list[Ended]:
        end = time.monotonic() + seconds
        while not (found := [n for n, (job, _) in self._running.items() if job.done()]) and not self._over:
            if self._asked and time.monotonic() - self._asked > _AGAIN:
                self.signal(signal.SIGTERM)
            if time.monotonic() >= end:
                return []
            time.sleep(min(seconds, 0.05 + 0.002 * len(self._running)))
        over = [*self._over, *map(self._ended, found)]
        self._over.clear()
        held = [*self._held]
        self._held.clear()
        for number, overrides, until in held:
            if self._asked:
                over.append(Ended(number, {"state": "stopped", "reason": "SIGTERM"}, None))
            else:
                self.start(number, overrides, until=until)
        return over

    def _ended(self, number: int) -> Ended:
        task, end = self._running.pop(number)
        return ended(
            number,
            node(reading.read_json(end)[0]),
            Path(self._orders.folder),
            stopping=bool(self._asked),
            otherwise=f"its job {task.job_id} on the cluster ended as {task.state}; see {task.paths.stderr}",
            code=-signal.SIGKILL,
        )

    def signal(self, number: int, job: int | None = None) -> None:
        """Has jobs save and end, whatever the signal."""
        self._asked = time.monotonic()
        for which, (task, _) in self._running.items():
            if job in (None, which):
                if type(task).__name__ == "LocalJob":  # to cancel it would kill it after a second
                    with suppress(ProcessLookupError):
                        os.kill(int(task.job_id), signal.SIGTERM)
                else:
                    task.cancel(check=False)

    def close(self) -> None:
        self._near.close()
        if self._running:
            self.signal(signal.SIGTERM)
