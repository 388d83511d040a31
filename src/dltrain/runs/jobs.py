"""How far a sweep is: what its ledger and the folders of its jobs say, without trust.

sweep.json may have their number, jobs.jsonl a line for each change of a job's state; an older sweep has neither.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dltrain.errors.output import cut
from dltrain.runs import foreign, reading
from dltrain.runs.pulse import duration
from dltrain.runs.reading import Run

STATES = ("queued", *reading.STATUSES, "same")
_OPEN = ("queued", "running", "killed", "stopped", "damaged")  # there is something left to do
_MOST = 1_000_000  # jobs
_LONGEST = 500  # letters of what is said of a job that is gone
_MOST_TIMES = 1_000  # that a job pauses, or is tried again
MOST_LOST = 10_000  # jobs whose lines a power failure may take


@dataclass(frozen=True)
class Jobs:
    """The jobs of a sweep: how many there are in all, None where that is not known; how many are in each state; and
    seconds until all are done, as those that are took, None where nothing is running.
    """

    total: int | None
    states: Counter[str]
    left: float | None

    @property
    def ended(self) -> int:
        """How many will not be trained again."""
        return sum(n for state, n in self.states.items() if state not in _OPEN)

    @property
    def unfinished(self) -> bool:
        """Whether some will be."""
        return any(self.states[state] for state in _OPEN) or self.ended < (self.total or 1)

    def __str__(self) -> str:
        told = [state for state in STATES if self.states[state] and state != "queued"]
        words = {state: f"{self.states[state]:,} {state.replace('_', ' ')}" for state in told}
        ended = ", ".join(words[state] for state in told if state not in _OPEN)
        of = "" if self.total is None else f" of {self.total:,}"
        jobs = "job" if (self.total or self.ended) == 1 else "jobs"
        parts = [f"{self.ended:,}{of} {jobs} ended{f' ({ended})' if ended else ''}"]
        parts += [words[state] for state in told if state in _OPEN]
        parts += [f"about {duration(self.left)} left"] if self.left is not None else []
        return ", ".join(parts)


def read(folder: Path, runs: Sequence[Run]) -> Jobs:
    """How far a sweep is, given those of its runs that have a folder."""
    known = reading.node(reading.read_json(folder / "sweep.json")[0]).get("jobs")
    states = dict(_ledger(folder, stamp(folder / "jobs.jsonl")))
    there = {int(run.folder.name): run for run in runs}
    states |= {n: "queued" for n, state in states.items() if state in reading.ENDED and n not in there}  # trained again
    for number, run in there.items():
        state = states.get(number)
        if run.paused and state in ("running", "stopped"):  # and its sweep did not live to say so
            states[number] = "queued"
        elif state == "queued" and run.status != "running":  # it is to be trained, whatever came of it before
            continue
        elif state in (None, *_OPEN, "pruned"):  # the run itself knows better, also where the ledger's keeper died
            states[number] = run.status
    queued = known - len(states) if type(known) is int and len(states) <= known <= _MOST else None
    counts = Counter(states.values())
    waiting = counts["queued"] + (queued or 0)
    return Jobs(len(states) + queued if queued is not None else None, counts, _left(runs, waiting))


def gone(folder: Path, runs: Sequence[Run]) -> list[str]:
    """Jobs that failed, diverged or were pruned, and whose folder somebody has removed: number, state, reason."""
    last: dict[int, foreign.Values] = {}
    with suppress(OSError):
        last |= {line["job"]: line for line in lines(folder) if line["state"] in STATES}
    there = {int(run.folder.name) for run in runs}
    bad = ("failed", "diverged", "pruned")
    left = sorted(number for number, line in last.items() if line["state"] in bad and number not in there)
    said = (f"[{n}] {last[n]['state']}{f': {why}' if (why := last[n].get('reason')) else ''}" for n in left)
    return [cut(line, _LONGEST) for line in said]


def in_progress(runs: Iterable[Run]) -> list[Path]:
    """The sweeps of these runs that go on: a job is being trained, or somebody holds the sweep's own folder."""
    sweeps = {run.sweep: False for run in runs if run.sweep}
    sweeps |= {run.sweep: True for run in runs if run.sweep and run.status == "running"}
    return [sweep for sweep, running in sweeps.items() if running or reading.is_alive(sweep)]


def stamp(path: Path) -> tuple[int, int] | None:
    """When a file was written last (ns), and its size: what tells whether it has changed. None where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def lines(folder: Path) -> Iterator[foreign.Values]:
    """The lines of jobs.jsonl in a folder that are ones; none where there is no such file. Raises OSError.

    Jobs are begun in the order of their numbers, each with a line: a number far above that of the lines is none.
    Whatever else a line has that no sweep writes is left out of it: who reads may keep it.
    """
    path = folder / "jobs.jsonl"
    for i, text in enumerate(foreign.lines(path) if path.is_file() else ()):
        try:
            line = foreign.node(foreign.parse_json(text) if len(text) <= foreign.LARGEST_WORD else None)
        except ValueError:
            continue
        line = {key: value for key, value in line.items() if _may_be(key, value)}
        number = line.get("job")
        if type(number) is int and 0 <= number < i + MOST_LOST and isinstance(line.get("state"), str):
            yield line


def _may_be(key: str, value: object) -> bool:
    """Whether a sweep may have written such a value."""
    if key in ("rung", "attempts"):
        return type(value) is int and 0 <= value < _MOST_TIMES
    if isinstance(value, list):  # overrides
        return len(value) <= foreign.MOST_TYPED and all(isinstance(text, str) for text in value)
    return not isinstance(value, dict)


@lru_cache(maxsize=16)
def _ledger(folder: Path, _stamp: object) -> dict[int, str]:
    """The last state of each job."""
    found: dict[int, str] = {}
    with suppress(OSError):
        for line in lines(folder):
            if line["job"] < _MOST and line["state"] in STATES:
                found[line["job"]] = line["state"]
    return found


def _left(runs: Sequence[Run], waiting: int) -> float | None:
    running = [run for run in runs if run.status == "running"]
    took = [run.seconds or 0.0 for run in runs if run.status not in _OPEN]
    if not running or (waiting and not took):
        return None
    mean = sum(took) / len(took) if took else 0.0
    now = [run.pulse.left if run.pulse and run.pulse.left is not None else mean for run in running]
    return max(max(now), (waiting * mean + sum(now)) / len(running))
