"""How far a run is: progress.json, a few numbers that it writes anew every few seconds for who follows it.

Nothing waits for the disk there: after a power failure the file may say nothing.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dltrain.errors.output import cut
from dltrain.runs import foreign, storage

NAME = "progress.json"
EVERY = 3.0  # seconds between two words of a run
STALE = 120.0  # seconds without a word after which it is said
_MOST = 1 << 53  # steps
_SIZE = 1 << 10  # bytes of the file, most of them spaces
_LARGEST = 10_000


@dataclass(frozen=True)
class Pulse:
    """The last word of a run. `time` is in seconds since 1970 by the clock of `host`; `rate` in steps a second of the
    session, validations included, and `loss` of the last few steps; None where they are not known.
    """

    step: int
    total: int
    rate: float | None
    loss: float | None
    time: float
    host: str
    pid: int

    @property
    def share(self) -> float:
        """Of its steps, those that are done."""
        return self.step / self.total if self.total else 1.0

    @property
    def left(self) -> float | None:
        """Seconds to the last step at this rate."""
        return max(0, self.total - self.step) / self.rate if self.rate else None

    @property
    def age(self) -> float:
        """Seconds since then; a time to come is as doubtful as one long ago."""
        return abs(time.time() - self.time)

    @property
    def place(self) -> str:
        """`step 12,000 of 40,000 (30%)`."""
        return f"step {self.step:,} of {self.total:,} ({share(self.share)})"

    @property
    def told(self) -> str:
        """`step 12,000 of 40,000 (30%), 33.3 steps/s, 14 min left`, as far as it is known."""
        parts = [self.place]
        parts += [f"{per_second(self.rate)} steps/s"] if self.rate else []
        parts += [f"{duration(self.left)} left"] if self.left else []
        return ", ".join(parts)

    @property
    def stale(self) -> str:
        """`no word for 12 min` where that is so."""
        return f"no word for {duration(self.age)}" if self.age > STALE else ""

    @property
    def elsewhere(self) -> bool:
        """Whether another machine wrote it, whose locks may not be seen from here."""
        return self.host != _host()


def _host() -> str:
    return cut(socket.gethostname())


def read(folder: Path) -> Pulse | None:
    """The last word of a run; None where there is none that can be read."""
    try:
        found = foreign.node(foreign.parse_json(foreign.read(folder / NAME, _LARGEST)))
    except (OSError, ValueError):
        return None
    step, total, pid = (_whole(found.get(name)) for name in ("step", "total", "pid"))
    rate, loss, when = (v if foreign.is_number(v := found.get(name)) else None for name in ("rate", "loss", "time"))
    if step is None or total is None or when is None:
        return None
    rate = rate if rate is not None and rate > 1e-9 else None
    host = found.get("host")
    return Pulse(step, total, rate, loss, when, cut(host) if isinstance(host, str) else "?", pid or 0)


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < _MOST else None


def unheld(word: Pulse | None) -> tuple[str, str]:
    """The status of a run that has not ended and that no process here holds, and a reason."""
    if word is None or not word.elsewhere:
        return "killed", ""
    if not word.stale:
        return "running", ""
    return "killed", f"{word.stale}: killed, or on another host, {word.host}"


class Writer:
    """Makes and writes the words of a run that goes on from step `start`."""

    def __init__(self, folder: Path, *, total: int, start: int) -> None:
        self._path, self._total = folder / NAME, total
        self._host, self._pid = _host(), os.getpid()
        self._first, self._since = start, math.inf
        self.write(self.now(start, None))

    def now(self, step: int, loss: float | None) -> Pulse:
        """The word after so many steps. The first step is not counted in the rate: it may have compiled a program."""
        seconds, rate = time.perf_counter() - self._since, None
        if step > self._first and self._since == math.inf:
            self._first, self._since = step, time.perf_counter()
        elif step > self._first:
            rate = (step - self._first) / max(seconds, 1e-9)
        loss = loss if loss is not None and math.isfinite(loss) else None
        return Pulse(step, self._total, rate, loss, time.time(), self._host, self._pid)

    def write(self, pulse: Pulse) -> None:
        """Puts it in the folder; where the disk refuses it, the next may find room."""
        with suppress(OSError):
            storage.write_over(self._path, json.dumps(vars(pulse)).encode().ljust(_SIZE - 1) + b"\n")


def epoch(value: float) -> str:
    """As 23,490, or 2.33."""
    return f"{round(value, 2):,.9g}"


def share(part: float) -> str:
    """In per cent; 100 is all."""
    return f"{math.floor(100 * min(part, 1.0))}%"


def per_second(rate: float) -> str:
    """A number of steps."""
    return f"{rate:,.0f}" if 100 <= rate < 1e9 else f"{rate:.3g}"


def duration(seconds: float) -> str:
    """For a person: 12 s, 4 min, 2 h 5 min, 3 d 4 h."""
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 1 or not seconds else "1 s"
    minutes = seconds / 60
    if minutes < 59.5:
        return f"{minutes:.0f} min"
    hours, rest = divmod(round(minutes), 60)
    if hours < 24:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(round(minutes / 60), 24)
    if days > 1000:
        return "years"
    return f"{days} d {rest} h" if rest else f"{days} d"
