"""`dltrain watch`: what goes on below a folder, for a person who looks on. It reads, and touches no run.

A look at 1,000 runs asks each file for its size and time alone, and reads those that have changed; of a log, the lines
that are new.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from dltrain.errors import tables
from dltrain.errors.output import cut
from dltrain.parts import metrics
from dltrain.runs import foreign, jobs, key_roles, reading, seeds, sweep_table
from dltrain.runs.pulse import Pulse, duration, per_second, share
from dltrain.runs.reading import Run

_POINTS = 512  # of a curve that are kept: of more, every second one
_MOST_READ = 1 << 26  # bytes of one log at one look
_FILES = ("summary.json", "progress.json", "metrics.jsonl", "overrides.txt")
SIGNS, PLAIN_SIGNS = "▁▂▃▄▅▆▇█", "_.-=+*%#"  # of curves; for terminals that lack them
_CURVE = 16  # columns
_LONGEST = 200  # letters of what was typed, or of a reason
_LEAST, _LEAST_REASON = 12, 40  # columns of what was typed, of a reason
_BAD = ("failed", "diverged", "killed", "damaged")
_SPARE = ("rate", "took", "step", "ago", "loss", "curve", "what", "best", "left")  # left out first where room lacks


@dataclass
class _Curve:
    """The numbers of a log, thinned."""

    points: list[float] = field(default_factory=list)
    every: int = 1
    seen: int = 0

    def add(self, value: float) -> None:
        if self.seen % self.every == 0:
            self.points.append(value)
            if len(self.points) == _POINTS:
                self.points, self.every = self.points[::2], 2 * self.every
        self.seen += 1


@dataclass
class _Log:
    """What has been read of a run's log: how far, the curves of its monitor and its loss, the best validation."""

    monitor: str
    file: tuple[int, int] = (0, 0)  # its device and number
    read: int = 0
    own: _Curve = field(default_factory=_Curve)
    loss: _Curve = field(default_factory=_Curve)
    best: float | None = None
    rank: tuple[bool, float, float] = (True, 0.0, math.inf)

    def grown(self, path: Path) -> _Log:
        """With the lines that are new; one that was replaced or cut, as by a run that goes on, is read anew."""
        with suppress(OSError):
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) != self.file or status.st_size < self.read:
                self = _Log(self.monitor, file=(status.st_dev, status.st_ino))
            begin = self.read
            for line in foreign.lines(path, begin) if status.st_size > begin else ():
                self.read += len(line)
                with suppress(ValueError):
                    self._add(foreign.node(foreign.parse_json(line)))
                if self.read - begin > _MOST_READ:
                    break
        return self

    def _add(self, report: foreign.Values) -> None:
        if reading.is_number(loss := report.get("train/loss")):
            self.loss.add(float(loss))
        if reading.is_number(value := report.get(self.monitor)):
            self.own.add(float(value))
            rank = reading.rank(value, report.get("val/loss"), larger=metrics.larger_is_better(self.monitor))
            if rank < self.rank:
                self.best, self.rank = float(value), rank

    @property
    def curve(self) -> list[float]:
        """Of the monitor; of the loss as long as there is none."""
        return self.own.points if len(self.own.points) > 1 else self.loss.points


@dataclass
class _Seen:
    """A run as it was at the last look."""

    run: Run
    stamps: tuple[tuple[int, int] | None, ...]  # of its files
    log: _Log

    @property
    def ended(self) -> float:
        """When it wrote last: seconds since 1970."""
        return max((stamp[0] for stamp in self.stamps if stamp), default=0) / 1e9

    @property
    def best(self) -> float | None:
        """Of its monitor, so far."""
        return self.log.best if self.run.status == "running" else self.run.numbers.get(self.run.criterion)


@dataclass(frozen=True)
class Line:
    """What is shown on one line. kind: plain, head, good or bad."""

    text: str
    kind: str = "plain"


class Watcher:
    """Looks at all runs at or below a folder, again and again."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._seen: dict[Path, _Seen] = {}
        self._ended: list[Run] = []
        self._best: Run | None = None
        self._alike: list[Run] = []  # it, and those that differ from it in seed or fold alone

    def look(self) -> bool:
        """Reads what has changed. Returns whether something is in progress; a sweep that holds its folder may be
        between two jobs.
        """
        before = self._seen
        self._seen = {f: self._looked_at(before.get(f), f, sweep) for f, sweep in reading.walk(self._place)}
        sweeps = dict.fromkeys([self._place, *(seen.run.sweep or self._place for seen in self._seen.values())])
        return any(seen.run.status == "running" for seen in self._seen.values()) or any(map(reading.is_alive, sweeps))

    def _looked_at(self, seen: _Seen | None, folder: Path, sweep: Path | None) -> _Seen:
        stamps = tuple(jobs.stamp(folder / name) for name in _FILES)
        if seen is None or seen.stamps != stamps or seen.run.status == "running":
            run = reading.read(folder, sweep or reading.sweep_of(folder))
            log = seen.log if seen and seen.log.monitor == run.monitor else _Log(run.monitor)
            seen = _Seen(run, stamps, log)
        if seen.run.status == "running":
            seen.log = seen.log.grown(folder / "metrics.jsonl")
        return seen

    def page(self, columns: int, rows: int, *, signs: str = SIGNS) -> list[Line]:
        """What was seen, for a terminal of that size: sweeps, the best, what is in progress, what ended last."""
        seen = [*self._seen.values()]
        ids = dict(zip(self._seen, reading.short_ids([*self._seen]), strict=True))
        going = [s for s in seen if s.run.status == "running"]
        ended = sorted((s for s in seen if s.run.status != "running"), key=lambda s: -s.ended)
        counts = Counter(s.run.status for s in seen)
        told = [f"{counts[status]:,} {status.replace('_', ' ')}" for status in reading.STATUSES if counts[status]]
        head = f"{self._place}   {', '.join(told) or 'no run yet'}   {datetime.now():%H:%M:%S}"
        typed = _typed(seen)
        lines = [Line(head, "head"), *map(Line, self._sweeps(seen)), *map(Line, self._best_line(ids, typed))]
        room = max(3, rows - len(lines) - 8)  # of both tables: their heads and the lines between take the rest
        shown = going[: max(3, room - min(len(ended), max(3, room // 3)))]
        if shown:
            kinds = ["bad" if s.run.reason else "plain" for s in shown]  # it has been silent
            lines += [Line(""), *_told(_in_progress(shown, ids, typed, signs), kinds, columns)]
        if len(going) > len(shown):
            lines.append(Line(f"... and {len(going) - len(shown):,} more in progress"))
        if last := ended[: max(3, room - len(shown))]:
            kinds = ["bad" if s.run.status in _BAD else "good" for s in last]
            lines += [Line(""), *_told(_ended(last, ids, typed), kinds, columns)]
        return lines

    def _sweeps(self, seen: Sequence[_Seen]) -> list[str]:
        """A line for each sweep that is in progress, or is all that is looked at."""
        own: dict[Path, list[Run]] = {}
        for s in seen:
            if s.run.sweep and s.run.folder != self._place:
                own.setdefault(s.run.sweep, []).append(s.run)
        going = jobs.in_progress([run for runs in own.values() for run in runs])
        return [f"sweep {f.name}: {jobs.read(f, own[f])}" for f in own if f in going or [*own] == [self._place]]

    def _best_line(self, ids: dict[Path, str], typed: dict[Path, str]) -> list[str]:
        """The best of all that is no longer in progress, as `best` is everywhere; none where they can't be compared."""
        ended = [s.run for s in self._seen.values() if s.run.status != "running"]
        if len(ended) != len(self._ended) or any(a is not b for a, b in zip(ended, self._ended, strict=True)):
            problems = [reading.problem(run) for run in ended if run.criterion in run.numbers]
            alike = len(problems) > 1 and all(problem == problems[0] for problem in problems)
            self._ended, self._best = ended, seeds.best(ended) if alike else None
            self._alike = next((g for g in seeds.groups(ended) if self._best in g), []) if self._best else []
        if self._best is None:
            return []
        run = self._best
        value = metrics.text(run.monitor, run.numbers[run.criterion])
        if seeds.differ(self._alike):
            mean = sweep_table.mean_and_deviation(run.monitor, seeds.values(self._alike, run.criterion))
            value += f", mean of {len(self._alike)} runs ({seeds.words(self._alike)}) {mean}"
        return [cut(f"best so far: {ids[run.folder]}, {run.monitor} {value}   {typed[run.folder]}", _LONGEST)]


def _typed(seen: Sequence[_Seen]) -> dict[Path, str]:
    """The name of each run and what was typed for it, with the last word of each key where that is clear; of the jobs
    of a sweep, what not all of them have.
    """
    kinds: dict[Path, list[Run]] = {}
    keys = {key for s in seen for key in s.run.typed}
    names = tables.short(keys)
    for s in seen:
        kinds.setdefault(s.run.sweep or s.run.folder, []).append(s.run)
    found: dict[Path, str] = {}
    for runs in kinds.values():
        shared = set[str]() if len(runs) == 1 else set(runs[0].overrides).intersection(*(r.overrides for r in runs))
        for run in runs:
            own = {k: v for k, v in run.typed.items() if k not in key_roles.UNSEEN and f"{k}={v}" not in shared}
            short = [f"{names[key]}={own[key]}" for key in own]
            found[run.folder] = cut(" ".join([*[run.folder.parent.name] * (run.sweep is None), *short]), _LONGEST)
    return found


Columns = dict[str, list[str]]  # title -> a cell for each run


def _in_progress(shown: Sequence[_Seen], ids: dict[Path, str], typed: dict[Path, str], signs: str) -> Columns:
    words = [s.run.pulse for s in shown]

    def told(cell: Callable[[Pulse], str]) -> list[str]:
        return [cell(word) if word else "-" for word in words]

    return {
        "run": [ids[s.run.folder] for s in shown],
        "what": [typed[s.run.folder] for s in shown],
        "share": told(lambda word: share(word.share)),
        "step": told(lambda word: f"{word.step:,}/{word.total:,}"),
        "left": told(lambda word: "-" if word.left is None else duration(word.left)),
        "rate": told(lambda word: "-" if word.rate is None else f"{per_second(word.rate)}/s"),
        "loss": told(lambda word: "-" if word.loss is None else f"{word.loss:.4g}"),
        **_bests(shown),
        "curve": [curve(s.log.curve, _CURVE, signs=signs) for s in shown],
        "reason": [cut(s.run.reason, _LONGEST) for s in shown],
    }


def _ended(shown: Sequence[_Seen], ids: dict[Path, str], typed: dict[Path, str]) -> Columns:
    now = time.time()
    return {
        "run": [ids[s.run.folder] for s in shown],
        "what": [typed[s.run.folder] for s in shown],
        "status": [s.run.status.replace("_", " ") for s in shown],
        **_bests(shown),
        "took": ["-" if s.run.seconds is None else duration(s.run.seconds) for s in shown],
        "ago": [duration(max(0.0, now - s.ended)) for s in shown],
        "reason": [cut(s.run.reason or s.run.fault, _LONGEST) for s in shown],
    }


def _bests(shown: Sequence[_Seen]) -> Columns:
    """The best validation of each; the metric is named once where it is the same for all."""
    names = [reading.plain_name(s.run.monitor) for s in shown]
    several = len({*names} - {""}) > 1
    named = [f"{name} " * several for name in names]
    values = [metrics.text(s.run.monitor, s.best) for s in shown]
    title = "best" if several else f"best {max(names)}".strip()
    return {cut(title, 20): [v if v == "-" else cut(f"{n}{v}", 30) for n, v in zip(named, values, strict=True)]}


def _told(columns: Columns, kinds: Sequence[str], room: int) -> list[Line]:
    head, rule, *rows = _table(columns, room)
    return [Line(head), Line(rule), *map(Line, rows, kinds)]


def _table(columns: Columns, room: int) -> list[str]:
    """As many of the columns as there is room for, without those that hold nothing."""
    kept = {title: cells for title, cells in columns.items() if not {*cells} <= {"", "-"}}
    widths = {title: max(map(tables.width, [title, *cells])) + tables.GAP for title, cells in kept.items()}
    least = {"what": max(_LEAST, room // 5) + tables.GAP, "reason": min(_LEAST_REASON, room // 3) + tables.GAP}
    for spare in _SPARE:
        if sum(min(width, least.get(title, width)) for title, width in widths.items()) - tables.GAP <= room:
            break
        for title in [t for t in widths if t.partition(" ")[0] == spare]:
            del widths[title]
    for title in [t for t in ("reason", "what") if t in widths]:
        others = sum(min(w, least.get(t, w)) for t, w in widths.items() if t != title)
        kept[title] = [cut(cell, max(least[title] - tables.GAP, room - others)) for cell in kept[title]]
        least[title] = max(map(tables.width, kept[title])) + tables.GAP
    return tables.table([[*widths], *zip(*(kept[title] for title in widths), strict=True)])


def curve(values: Sequence[float], columns: int, *, signs: str = SIGNS) -> str:
    """Numbers as one line of signs, from the lowest to the highest: means of neighbours where there are more."""
    if len(values) < 2:
        return ""
    count = min(columns, len(values))
    bounds = [round(i * len(values) / count) for i in range(count + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    low, high = min(means), max(means)
    return "".join(signs[round((mean - low) / ((high - low) or 1.0) * (len(signs) - 1))] for mean in means)
