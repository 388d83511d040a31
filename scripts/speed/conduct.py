"""Runs contenders in turn, each in a process of its own that stays: A B C, A B C, so that a slow minute hits all."""

from __future__ import annotations

import json
import math
import os
import re
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from speed.contender import Entry
from speed.workloads import Workload

_SCRIPTS = Path(__file__).parents[1]
_PATIENCE = 900  # seconds for set-up with its compilation, or for a round
_SECONDS = 0.5  # a round trains again until so much time has gone by


@dataclass
class Result:
    """What a contender did: microseconds per step of each round, its last loss, and why it failed, if it did."""

    name: str
    kind: str
    microseconds: list[float] = field(default_factory=list)
    loss: float | None = None
    peak_mib: float | None = None
    trouble: str | None = None
    wrong_loss: bool = False

    @property
    def median(self) -> float | None:
        return median(self.microseconds) if self.microseconds else None

    def ratio(self, other: Result | None) -> float | None:
        """The median over rounds of this one's time by the other's in the same round."""
        if other is None or not self.microseconds or not other.microseconds:
            return None
        return median(a / b for a, b in zip(self.microseconds, other.microseconds, strict=False))


class Process:
    """A contender's process."""

    def __init__(self, entry: Entry, workload: Workload, folder: Path, device: str) -> None:
        self.own = folder / re.sub(r"\W+", "-", entry.name)
        self.own.mkdir()
        threads = str(workload.threads)
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        paths = [str(_SCRIPTS), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | dict.fromkeys(names, threads) | entry.environment
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        arguments = [json.dumps(asdict(entry)), str(folder), str(self.own), device]
        with (self.own / "log.txt").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "speed.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
            )
        self.answer()

    def answer(self) -> dict:
        """The next line; raises RuntimeError with the end of the log when there is none."""
        ready, _, _ = select.select([self.process.stdout], [], [], _PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            log = (self.own / "log.txt").read_text(errors="replace").strip().splitlines()
            reason = (log or ["it ended without a word"])[-1] if ready else f"no answer in {_PATIENCE} s"
            self.close()
            raise RuntimeError(reason[:300])
        return json.loads(line)

    def round(self, seconds: float) -> dict:
        """Has it train for so many seconds."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def race(
    workload: Workload,
    entries: Sequence[Entry],
    folder: Path,
    *,
    rounds: int,
    device: str = "cpu",
    say: Callable[[str], None] = print,
) -> list[Result]:
    """All contenders set up and warmed by one round that does not count, then `rounds` rounds in turn."""
    results = {e.name: Result(e.name, e.kind) for e in entries}
    running: dict[str, Process] = {}
    try:
        at_once = max(1, len(os.sched_getaffinity(0)) // workload.threads)
        with ThreadPoolExecutor(at_once) as pool:  # this part is not timed
            started = pool.map(lambda entry: _start(entry, workload, folder, device), entries)
            for entry, process in zip(entries, started, strict=True):
                if isinstance(process, Process):
                    running[entry.name] = process
                else:
                    _fail(results[entry.name], process, workload, say)
        for turn in range(rounds):
            for name, process in list(running.items()):
                try:
                    _note(results[name], process.round(_SECONDS), workload)
                except (RuntimeError, OSError) as error:
                    _fail(results[name], error, workload, say)
                    del running[name]
            say(f"{workload.name}: round {turn + 1} of {rounds} done")
    finally:
        for process in running.values():
            process.close()
    check_losses(list(results.values()), entries, workload)
    return list(results.values())


def _start(entry: Entry, workload: Workload, folder: Path, device: str) -> Process | Exception:
    try:
        process = Process(entry, workload, folder, device)
        process.round(0)
    except (RuntimeError, OSError) as error:
        return error
    return process


def _fail(result: Result, error: Exception, workload: Workload, say: Callable[[str], None]) -> None:
    result.trouble = str(error)
    say(f"{workload.name} {result.name}: failed: {error}")


def _note(result: Result, answer: dict, workload: Workload) -> None:
    result.microseconds.append(1e6 * answer["seconds"] / workload.steps)
    result.loss, result.peak_mib = answer["loss"], answer["peak_mib"]


def check_losses(results: list[Result], entries: Sequence[Entry], workload: Workload) -> None:
    """Marks those whose loss is not that of the others."""
    losses = [r.loss for r in results if r.loss is not None and math.isfinite(r.loss)]
    middle = median(losses) if losses else math.nan
    for result, entry in zip(results, entries, strict=True):
        if result.loss is not None:
            allowed = entry.slack * workload.tolerance * middle
            result.wrong_loss = not abs(result.loss - middle) <= allowed
