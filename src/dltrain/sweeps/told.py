"""What a person sees of a sweep while it lasts: one line that moves on a terminal, a line for each job elsewhere."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from dltrain.errors.output import cut, one_line, say
from dltrain.parts import metrics
from dltrain.runs import reading, seeds
from dltrain.runs.foreign import Values, is_number
from dltrain.runs.pulse import duration, share
from dltrain.runs.reading import Run

if TYPE_CHECKING:
    from tqdm import tqdm

_GOOD = ("done", "early_stopped", "pruned", "same")
_LONGEST = 1_000  # letters of what was typed for a job, and of what came of it
_NAMED = 10  # jobs
_REFRESH = 0.5  # seconds


class Told:
    """Tells of jobs as they end. total: how many there will be, where that is known."""

    def __init__(self, total: int | None, counts: Counter[str], *, moving: bool, lines: bool) -> None:
        self.total, self._lines = total, lines
        self._best: tuple[tuple[bool, float, float], str] | None = None
        self._next, self._begun, self._before = 0.0, time.monotonic(), _ended(counts)
        self._bar = _line() if moving else None

    def recall(self, lines: Iterable[Values]) -> None:
        """Has the line know what the ledger says of earlier commands."""
        for line in lines if self._bar is not None else ():
            self._judge(line["job"], line)

    def ended(self, number: int, overrides: Sequence[str], told: Values) -> None:
        """One job."""
        state, bad = told["state"], told["state"] not in _GOOD
        text = self._result(number, told)
        if bad or self._lines:
            words, text = (cut(t, _LONGEST) for t in (" ".join(overrides), told["reason"] if state == "same" else text))
            if self._bar is not None:
                self._bar.clear()
            say(f"[{number}] {words}: {text}", error=bad, flush=True)

    def _judge(self, number: int, told: Values) -> None:
        """Keeps the best."""
        name, value = reading.plain_name(str(told.get("monitor") or "")), told.get("value")
        if is_number(value) and told["state"] in _GOOD:
            rank = reading.rank(value, told.get("loss"), larger=metrics.larger_is_better(name))
            if self._best is None or rank < self._best[0]:
                self._best = rank, f"{name} {metrics.text(name, value)} [{number}]"

    def _result(self, number: int, told: Values) -> str:
        self._judge(number, told)
        monitor, value = str(told.get("monitor") or ""), told.get("value")
        if told["state"] not in _GOOD:
            return f"{told['state']}: {told.get('reason') or 'without a word'}"
        took = f" ({seconds:.1f} s)" if is_number(seconds := told.get("seconds")) else ""
        took = f", paused{took}" if told["state"] == "pruned" else took
        note = f", {told['note']}" if told.get("note") else ""
        return f"{f'{monitor} {value:.4g}' if is_number(value) else told['state']}{took}{note}"

    def tick(self, counts: Counter[str], running: int) -> None:
        """Moves the line on."""
        if self._bar is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _REFRESH
        ended, bad = _ended(counts), counts["failed"] + counts["diverged"]
        self._bar.set_description_str(_fitting(self._parts(ended, running, bad)), refresh=True)

    def _parts(self, ended: int, running: int, bad: int) -> Iterator[str]:
        """What the line says, the most important first."""
        yield f"{ended:,} of {self.total:,} jobs" if self.total else f"{ended:,} jobs"
        if running:
            yield f"{running} running"
        if bad:
            yield f"{bad:,} failed"
        if self.total and (new := ended - self._before) > 0:
            took = time.monotonic() - self._begun
            yield f"{duration(took / new * (self.total - ended))} left"
        if self._best:
            yield f"best {self._best[1]}"

    def close(self, counts: Counter[str]) -> None:
        """Ends the line."""
        if self._bar is not None:
            self._next = 0.0
            self.tick(counts, 0)
            self._bar.close()


def spared(jobs: Sequence[Run]) -> str:
    """What pruning came to: how many were trained to their end, and how much of all steps was."""
    done = sum(job.status in reading.ENDED for job in jobs)
    known = [(job.steps or 0, job.pulse.total) for job in jobs if job.pulse]
    steps, total = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0)
    part = f" ({share(steps / total)} of all steps were made)" if total else ""
    return (
        f"{done} of {len(jobs)} jobs were trained to their end{part}; a paused one goes on: dltrain resume FOLDER/JOB"
    )


def changed(jobs: Sequence[Run]) -> list[str]:
    """A note on jobs that had other data than those before them."""
    others = [job.folder.name for job in seeds.with_other_data(sorted(jobs, key=lambda job: int(job.folder.name)))]
    if not others:
        return []
    more = f" and {len(others) - _NAMED:,} more" * (len(others) > _NAMED)
    return [
        f"the data changed between the jobs: {', '.join(others[:_NAMED])}{more} had other rows than those before, and "
        "the numbers of both can't be compared"
    ]


def _ended(counts: Counter[str]) -> int:
    return sum(counts[state] for state in (*_GOOD, "failed", "diverged"))


def _fitting(parts: Iterable[str]) -> str:
    """As many parts as the terminal has room for, at least the first."""
    text, room = "", shutil.get_terminal_size().columns - 1
    for part in map(one_line, parts):
        if text and len(text) + 2 + len(part) > room:
            break
        text = f"{text}, {part}" if text else part
    return text


def _line() -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(bar_format="{desc}", mininterval=0, miniters=0)
