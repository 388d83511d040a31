"""The loop of a sweep: asks for jobs, gives them to an engine, enters in the ledger how each ended.

It holds no more than what runs and what is counted: a sweep of a hundred thousand jobs takes no more memory than one
of ten.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dltrain.config.composer import Composer
from dltrain.errors import BusyError, DltrainError, StorageError, system
from dltrain.parts import metrics
from dltrain.runs import identity, reading, run_folder
from dltrain.runs.foreign import Values, is_number, node
from dltrain.runs.reading import ENDED
from dltrain.sweeps import ledger
from dltrain.sweeps.engines import Ended, Engine, how
from dltrain.sweeps.halving import Halving
from dltrain.sweeps.job import told as job_of_run
from dltrain.sweeps.ledger import Job, Ledger
from dltrain.sweeps.reuse import Finished
from dltrain.sweeps.search import Trials
from dltrain.sweeps.slots import Slots
from dltrain.sweeps.told import Told
from dltrain.training.stop import Stop

_TICK = 0.2  # seconds between two looks at whether to stop
_ATTEMPTS = 2  # processes for a job that ends without a word, before it counts as failed
_KILL = 9  # SIGKILL, of which Windows has none
_FULL = StorageError.exit_code  # of a job that met a full disk: the next would, too


@dataclass
class Driver:
    """Takes a sweep as far as it goes, or until `stop`."""

    ledger: Ledger
    engine: Engine
    composer: Composer
    slots: Slots
    trials: Trials
    told: Told
    stop: Stop
    finished: Finished | None = None  # runs that are taken over
    pruning: Halving | None = None

    def __post_init__(self) -> None:
        self._waiting = sorted(self.ledger.open.values(), key=lambda job: job.number)
        self._running: dict[int, Job] = {}
        self._full: str | None = None
        self._proposed = self.trials.jobs(self.ledger.next, self.ledger.last)
        self._jobs = self._record().get("jobs")  # in all, as it is said there
        self.told.recall(ledger.lines(self.ledger.folder))

    def run(self) -> None:
        """Raises StorageError on a full disk: one that a job met once the others have ended, one of a line at once."""
        asked = False
        while True:
            stopping = self.stop() or self._full is not None
            if stopping and not asked:
                asked = True
                self.engine.signal(system.stop_signal(self.stop.reason))
            if not stopping:
                self._fill()
            if not self._running and (stopping or not self._waiting):
                break
            for ended in self.engine.wait(_TICK):
                self._take(ended)
            self.told.tick(self.ledger.counts, len(self._running))
        self.ledger.sync()
        if self._full is not None:
            raise StorageError(self._full)

    # -- what comes next -------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Starts jobs while there is room."""
        while self.slots.free(len(self._running)):
            job = self._next()
            if job is None:
                return
            self._start(job)

    def _next(self) -> Job | None:
        """A job that is in the ledger, unless somebody else still has its folder; else a new one, or a paused one that
        goes on.
        """
        for i, job in enumerate(self._waiting):
            if not reading.is_alive(self.ledger.folder / str(job.number)):
                return self._waiting.pop(i)
        if self.pruning and self._go_on(self.pruning.promoted()):
            return self._next()
        for typed in self._proposed:
            number = self.ledger.next
            if is_number(self._jobs) and number >= self._jobs:
                self._say_jobs(self.trials.total)
            known = self._identity(typed)
            if known and (same := self.ledger.known.get(known)) is not None:
                self._write(number, "same", overrides=typed, reason=f"as {same}")
                tell(self.trials, number, typed, {"state": "same"})
                self.told.ended(number, typed, {"state": "same", "reason": f"the same configuration as [{same}]"})
                continue
            self._write(number, "queued", overrides=typed, identity=known)
            self.ledger.clear(number)
            if not self._taken_over(self.ledger.open[number]):
                return self.ledger.open[number]
        self._say_jobs(self.ledger.next)
        if self.pruning and not self._running and self._go_on(self.pruning.due(self.ledger.open)):
            return self._next()
        return None

    def _say_jobs(self, jobs: int) -> None:
        """Says how many jobs there are in all: more than before are wanted, or the space has no more."""
        self.told.total = jobs
        if self._jobs not in (None, jobs) and (record := self._record()):
            self._jobs = jobs
            run_folder.write_json(self.ledger.folder / "sweep.json", record | {"jobs": jobs})

    def _record(self) -> Values:
        return node(reading.read_json(self.ledger.folder / "sweep.json")[0])

    def _go_on(self, jobs: Sequence[tuple[int, int]]) -> bool:
        """Queues jobs that were paused, each on its way to a rung; whether there are any."""
        for number, rung in jobs:
            assert self.pruning is not None
            self._write(number, "queued", overrides=self.pruning.typed(number), rung=rung)
            self._waiting.append(self.ledger.open[number])
        return bool(jobs)

    def _write(self, number: int, state: str, **facts: object) -> None:
        """Adds a line to the ledger, and has the pruning know."""
        self.ledger.write(number, state, **facts)
        if self.pruning:
            self.pruning.take({"job": number, "state": state, **facts})

    def _taken_over(self, job: Job) -> bool:
        """Whether a finished run stands in the job's place."""
        folder = self.ledger.folder / str(job.number)
        if self.finished is None or not job.identity or folder.exists():
            return False
        source = self.finished.take(self.composer(job.overrides).values, job.overrides, folder)
        if source is not None:
            told = job_of_run(reading.read(folder)) | {"reason": f"taken from {source}", "note": f"taken from {source}"}
            self._write(job.number, told["state"], **_facts(told))
            self.told.ended(job.number, job.overrides, told)
            tell(self.trials, job.number, job.overrides, told)
        return source is not None

    def _identity(self, typed: Sequence[str]) -> str:
        """What is equal for two jobs of a sweep that are one; empty for one that can't be composed."""
        try:
            made = self.composer(typed)
        except DltrainError:
            return ""
        return "" if made.mistakes else identity.digest(made.values)[:32]

    def _start(self, job: Job) -> None:
        by = f"process {os.getpid()} on {socket.gethostname()}"
        until = self.pruning.until(job.rung) if self.pruning else None
        rung = {"rung": job.rung} if self.pruning else {}
        self._write(job.number, "running", by=by, attempts=job.attempts, overrides=job.overrides, **rung)
        self._running[job.number] = job
        self.engine.start(job.number, job.overrides, gpu=self.slots.take(job.number), until=until)

    # -- what came of it -------------------------------------------------------------------------------------------

    def _take(self, ended: Ended) -> None:
        job = self._running.pop(ended.number)
        self.slots.give_back(job.number, memory=ended.memory)
        told = _in_words(ended)
        if ended.code == _FULL:
            self._full = str(told["reason"])
        silenced = self.stop() and not ended.told  # by the signal, before it could save or say so
        again = _can_go_on(ended, told) or silenced
        if again and (self.stop() or self._full is not None or told.get("reason") == "max_time"):
            self._write(job.number, "stopped", overrides=job.overrides, **_facts(told))
            return
        if again and job.attempts + 1 < _ATTEMPTS:
            attempts = job.attempts + (ended.code is not None)  # a server that dies is no fault of the job's
            self._write(job.number, "queued", overrides=job.overrides, attempts=attempts, **_facts(told))
            self._waiting.append(self.ledger.open[job.number])
            return
        rung = {"rung": job.rung} if told["state"] == "pruned" else {}
        self._write(job.number, told["state"], **_facts(told), **rung)
        self.told.ended(job.number, job.overrides, told)
        tell(self.trials, job.number, job.overrides, told | rung)


def recall(trials: Trials, lines: Iterable[Values]) -> None:
    """Has the search know what the ledger says of earlier commands."""
    typed: dict[int, tuple[str, ...]] = {}
    seen = 0
    for line in lines:
        job = line["job"]
        if isinstance(found := line.get("overrides"), list):
            typed[job] = tuple(map(str, found))
        if job >= seen and job in typed:
            seen = job + 1
            trials.known(job, typed[job])
        if line["state"] in ledger.ENDED and job in typed:
            tell(trials, job, typed.pop(job), line)


def tell(trials: Trials, number: int, typed: tuple[str, ...], told: Values) -> None:
    """Has the search know how a job ended, or what it has come to where it is paused."""
    value, name = told.get("value"), reading.plain_name(str(told.get("monitor") or ""))
    paused = told["state"] == "pruned"
    found = value if is_number(value) and (paused or told["state"] in ENDED) else None
    rung = told.get("rung") if paused else None
    trials.ended(number, typed, found, told["state"], larger=metrics.larger_is_better(name), rung=rung)


def _facts(told: Values) -> Values:
    return {
        key: told[key] for key in ("reason", "monitor", "value", "loss", "seconds") if told.get(key) not in (None, "")
    }


def _can_go_on(ended: Ended, told: Values) -> bool:
    """Whether the process ended by what came from outside: the job goes on where it is."""
    killed = ended.code is None or ended.code == -_KILL
    return killed or told["state"] == "stopped" or ended.code in (_FULL, BusyError.exit_code)


def _in_words(ended: Ended) -> Values:
    if ended.told:
        return ended.told
    if ended.code is None:
        return {"state": "failed", "reason": "its process was lost"}
    its = "its process " * (ended.code >= 0)
    return {"state": "failed", "reason": f"{its}{how(ended.code)}; see output.txt"}
