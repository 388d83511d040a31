"""What a sweep keeps of itself: sweep.json, written before the first job, and jobs.jsonl, which only grows.

sweep.json says what was typed and all else that decides the jobs; `configs/` holds every YAML file as it was then.
jobs.jsonl has a line for each change of a job: its number with its overrides when it is queued, then its states. The
driver alone writes it. What happened within a job stands in the job's own folder.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dltrain.errors import ConfigError, StorageError
from dltrain.runs import foreign, reading, run_folder, storage
from dltrain.runs.foreign import Values, node
from dltrain.runs.jobs import lines

ENDED = ("done", "early_stopped", "pruned", "diverged", "failed", "same")  # nothing is left to do, unless asked for
_SYNC = 1.0  # seconds: a line reaches the operating system at once, and the disk with the next after so many


@dataclass
class Job:
    """One job as the ledger has it. `overrides` are let go when it has ended; its folder has them."""

    number: int
    state: str = "queued"
    overrides: tuple[str, ...] = ()
    identity: str = ""  # of its configuration, once that is composed
    attempts: int = 0  # how often a process for it has ended without a word
    rung: int = 0  # where it pauses next, of a sweep that prunes


class Ledger:
    """The jobs of a sweep folder, read once and then kept in step with jobs.jsonl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = storage.Log(folder / "jobs.jsonl")
        self._synced = time.monotonic()
        self.open: dict[int, Job] = {}  # jobs that have not ended, by number
        self.counts: Counter[str] = Counter()
        self._others: dict[int, str] = {}  # how jobs ended, but for those that are done
        self.known: dict[str, int] = {}  # identity -> the first job that has it
        self.next = 0  # the first number that is free
        self.last: tuple[str, ...] = ()  # the overrides of the job before it
        self._cut()
        for line in lines(folder):
            self._take(line)
        for number in _folders(folder):  # begun, and the line is lost: the power failed
            if number == self.next and (typed := _typed(folder / str(number))):
                self._take({"job": number, "state": "queued", "overrides": typed})

    def _cut(self) -> None:
        """Drops what a kill left of a last line, which the next would be joined to."""
        path = self.folder / "jobs.jsonl"
        if not path.is_file():
            return
        whole = sum(map(len, foreign.lines(path)))
        if whole != path.stat().st_size:
            storage.replace(path, (memoryview(line) for line in foreign.lines(path)))
            self._log = storage.Log(path)

    def _take(self, line: Values) -> None:
        number, state = line["job"], line["state"]
        job = self.open.pop(number, None)
        if number < self.next:
            self.counts[job.state if job else self._others.pop(number, "done")] -= 1
        job = job or Job(number)
        self.next = max(self.next, number + 1)
        job.state = state
        self.counts[state] += 1
        if isinstance(typed := line.get("overrides"), (list, tuple)):
            job.overrides = tuple(map(str, typed))
            self.last = job.overrides if number + 1 == self.next else self.last
        if isinstance(identity := line.get("identity"), str) and identity:
            job.identity = identity
            self.known.setdefault(identity, number)
        if isinstance(attempts := line.get("attempts"), int):
            job.attempts = attempts
        if type(rung := line.get("rung")) is int:
            job.rung = rung
        if state not in ENDED:
            self.open[number] = job
        elif state != "done":
            self._others[number] = state

    def write(self, number: int, state: str, **facts: object) -> None:
        """Adds a line, and takes it in. Raises StorageError."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        line: Values = {"job": number, "state": state, "time": now, **facts}
        try:
            self._log.write(json.dumps(line).encode() + b"\n")
            if time.monotonic() - self._synced > _SYNC:
                self.sync()
        except OSError as error:
            raise StorageError(f"{self._log.path} can't be written: {error.strerror}") from error
        self._take(line)

    def clear(self, number: int) -> None:
        """Removes what stands where a new job will: the folder of one whose line a power failure took, if that was
        another.
        """
        folder = self.folder / str(number)
        if os.path.lexists(folder) and _typed(folder) != self.open[number].overrides:
            try:
                storage.remove(folder)
            except OSError as error:
                raise StorageError(f"{folder} can't be removed: {error.strerror}") from error

    def sync(self) -> None:
        """Puts every line on the disk."""
        self._log.sync()
        self._synced = time.monotonic()

    def failed(self) -> dict[int, tuple[tuple[str, ...], str]]:
        """The jobs that have failed: their overrides, and of what."""
        typed: dict[int, tuple[str, ...]] = {}
        found: dict[int, tuple[tuple[str, ...], str]] = {}
        for line in lines(self.folder) if self.counts["failed"] else ():
            number = line["job"]
            if isinstance(words := line.get("overrides"), list):
                typed[number] = tuple(map(str, words))
            found.pop(number, None)  # it has been tried again
            if line["state"] == "failed":
                found[number] = typed.get(number, ()), str(line.get("reason") or "")
        return found

    def reopen(self, *states: str) -> None:
        """Queues the jobs again that ended in one of these states, and those whose folder is not what it was."""
        typed: dict[int, list[str]] = {}
        last: dict[int, str] = {}
        rungs: dict[int, int] = {}
        for line in lines(self.folder):
            last[line["job"]] = line["state"]
            if type(rung := line.get("rung")) is int:
                rungs[line["job"]] = rung
            if line["state"] == "queued":
                typed[line["job"]] = line.get("overrides") or []
        for number, state in sorted(last.items()):
            lost = state in ("done", "early_stopped") and not run_folder.complete(self.folder / str(number))
            if state in states or lost:
                facts: Values = {"rung": rungs[number]} if number in rungs else {}
                facts |= {"overrides": typed.get(number) or _typed(self.folder / str(number))}
                self.write(number, "queued", **facts)


def _folders(folder: Path) -> list[int]:
    with os.scandir(folder) as entries:
        return sorted(int(e.name) for e in entries if reading.is_job(e.name) and e.is_dir(follow_symlinks=False))


def _typed(folder: Path) -> tuple[str, ...]:
    return reading.Run(folder, "", "", {}).overrides


# -- sweep.json --------------------------------------------------------------------------------------------------

FORMAT = 2


def record(folder: Path) -> Values:
    """What sweep.json says; raises ConfigError where it is not that of a sweep that can go on."""
    path = folder / "sweep.json"
    found = node(run_folder.read_json(path))
    if found.get("format") != FORMAT and isinstance(found.get("overrides"), list):
        raise ConfigError(
            f"{folder} was begun by an older dltrain; its jobs go on one by one, as in dltrain resume {folder}/0, "
            "or type the command of the sweep again"
        )
    texts = found.get("overrides"), found.get("command")
    if found.get("format") != FORMAT or not all(_are_texts(text) for text in texts):
        raise ConfigError(f"{path} is not the record of a sweep")
    return found


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
