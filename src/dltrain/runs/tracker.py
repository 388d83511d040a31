"""Readers of a `Record`: metrics.jsonl, TensorBoard, and who follows a run. None of them stops it when it fails."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from dltrain.engine.records import Record
from dltrain.errors.output import say
from dltrain.parts import metrics
from dltrain.runs import foreign, progress, pulse, storage, tensorboard

_Made = TypeVar("_Made")


_DRAWN_EVERY = 1.0  # seconds between two times that TensorBoard gets its points, where reports come faster
_SOME = 32  # steps that the running loss is a mean of
_SELDOM, _SELDOM_ON_DEVICE = 0.5, 5.0  # seconds between two readings of it


class Tracker:
    """Writes each record everywhere, and tells in between how far the run is.

    `start` is the step that the run goes on from: what lies after it is dropped. losses: gives those of the steps since
    the last record; without it nothing is told. monitor: the metric that chooses the best epoch. name: what TensorBoard
    calls the run below its folder. `tell` is to be called as soon as the run's clock says `due`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        total_steps: int,
        start: int,
        bar: bool,
        events: bool,
        losses: Callable[[], Sequence[Tensor]] | None = None,
        monitor: str = "",
        name: str = "",
    ) -> None:
        self._folder, self._monitor, self._warned = folder, monitor, False
        last = self._try(lambda: _rewind(folder / "metrics.jsonl", start))
        self._metrics = storage.Log(folder / "metrics.jsonl")
        self._try(lambda: _rewind(folder / "diagnosis.jsonl", start))
        self._layers = storage.Log(folder / "diagnosis.jsonl")  # a file only where a run is diagnosed
        self._events: tensorboard.Events | None = None
        if events:
            place = tensorboard.place(folder, name)
            last = start if last is None else last
            self._try(lambda: tensorboard.rewind(place, start, last))
            self._events = tensorboard.Events(place, after=last)
        self._undrawn, self._drawn_at = list[tuple[float, Record]](), -math.inf
        self._losses, self._loss_due, self._numbers = losses, 0.0, dict[str, float]()
        self.due, self._word_due = math.inf if losses is None else 0.0, -1.0
        self._words = None if losses is None else pulse.Writer(folder, total=total_steps, start=start)
        self._shown = None if not (bar and losses) else progress.shown(total_steps, start, monitor)

    def tell(self, seconds: float, step: int) -> None:
        """How far it is after so many steps, by the run's clock; what a follower sees must not cost the run anything,
        so that this is done a few times a second at most, and progress.json is written every few seconds.
        """
        if self._undrawn:
            self._draw()
        if self._losses is None or self._words is None:
            return
        losses = self._losses()
        if losses and seconds >= self._loss_due:  # of a device this waits for the steps that it still has to do
            self._numbers["train/loss"] = float(torch.stack(list(losses[-_SOME:])).float().mean())
            self._loss_due = seconds + (_SELDOM if losses[0].is_cpu else _SELDOM_ON_DEVICE)
        word = self._words.now(step, self._numbers.get("train/loss"))
        if seconds >= self._word_due:
            if self._word_due > 0:  # else the first has just been written
                self._words.write(word)
            self._word_due = seconds + pulse.EVERY
        if self._shown:
            self._shown.show(word, self._numbers)
        self.due = seconds + (self._shown.every if self._shown else pulse.EVERY)

    def write(self, record: Record) -> None:
        """Adds one report. TensorBoard's points come within a second, those of short epochs together: one epoch's alone
        would take a tenth of the time that a small net takes to train it.
        """
        numbers = {name: value if math.isfinite(value) else None for name, value in record.metrics.items()}
        line = json.dumps({"step": record.step, "epoch": round(record.epoch, 4), **numbers})
        self._try(lambda: self._metrics.write(line.encode() + b"\n"))
        if self._events:
            self._undrawn.append((time.time(), record))
            if time.monotonic() - self._drawn_at >= _DRAWN_EVERY:
                self._draw()
        self._numbers |= record.metrics
        if (
            self._words
            and isinstance(self._shown, progress.Lines)
            and any(n.startswith("val/") for n in record.metrics)
        ):
            self._shown.validated(self._words.now(record.step, None), self._numbers)

    def _draw(self) -> None:
        """Writes the points of all reports that have come since the last time."""
        waiting, self._undrawn, self._drawn_at = self._undrawn, list[tuple[float, Record]](), time.monotonic()
        if self._events:
            points = [point for when, record in waiting for point in tensorboard.curves(record, when)]
            self._try(lambda: self._events.add(points))

    def diagnose(self, record: Record, look: Mapping[str, object], histograms: dict[str, Tensor]) -> None:
        """Adds a look into the net to diagnosis.jsonl, and its histograms to TensorBoard."""
        line = json.dumps({"step": record.step, "epoch": round(record.epoch, 4), **look})
        self._try(lambda: self._layers.write(line.encode() + b"\n"))
        if self._events:
            shown = [tensorboard.histogram(record.step, n, v) for n, v in histograms.items() if v.isfinite().all()]
            self._try(lambda: self._events.add(shown))

    def hparams(
        self, config: Mapping[str, float | str], summary: Mapping[str, Any], texts: Mapping[str, str] | None = None
    ) -> None:
        """Fills TensorBoard's HParams tab from this run's own event file: the status, every key, the final metrics; and
        its Text tab with texts by name. Final metrics are columns of that table, and no curves of one point.

        `SummaryWriter.add_hparams` would open a second run in a sub-folder for it, and its list of columns would stand
        for all runs of the tab: without one, TensorBoard gathers the columns from every run, those that differ first.
        A run that was stopped before its first report leaves at once, and has nothing to show.
        """
        if self._undrawn:
            self._draw()
        if not self._events or (summary["status"] == "stopped" and self._events.empty):
            return
        told = metrics.told(summary.get("test", {}), *summary.get("best", {}))
        first = self._monitor.removeprefix("val/")  # columns stand by their names, and only a few are shown at first
        results = {f"{'(test) ' if name == first else 'test/'}{name}": summary["test"][name] for name in told}
        finite = {name: float(value) for name, value in results.items() if math.isfinite(value)}
        shown = tensorboard.hparams({"status": summary["status"], **finite, **config})
        shown += [tensorboard.text(name, words) for name, words in (texts or {}).items() if words]
        self._try(lambda: self._events.add(shown))

    def sync(self) -> None:
        """Puts all that was written on the disk: no checkpoint may be ahead of its log."""
        if self._undrawn:
            self._draw()
        self._try(self._metrics.sync)
        self._try(self._layers.sync)
        if self._events:
            self._try(self._events.log.sync)

    def close(self, step: int | None = None) -> None:
        """Says the last word, after so many steps, and ends the bar."""
        if self._undrawn:
            self._draw()
        if self._words and step is not None:
            word = self._words.now(step, self._numbers.get("train/loss"))
            self._words.write(word)
            if self._shown:
                self._shown.close(word, self._numbers)

    def _try(self, work: Callable[[], _Made]) -> _Made | None:
        try:
            return work()
        except OSError as error:
            if not self._warned:
                text = f"logging to {self._folder} failed ({error.strerror}); training goes on, the log follows later"
                say(f"warning: {text}", error=True)
            self._warned = True
            return None


class Silent:
    """The face of a Tracker that writes and tells nothing: another process does."""

    due = math.inf

    def tell(self, seconds: float, step: int) -> None: ...

    def write(self, record: Record) -> None: ...

    def diagnose(self, record: Record, look: Mapping[str, object], histograms: dict[str, Tensor]) -> None: ...

    def hparams(
        self, config: Mapping[str, float | str], summary: Mapping[str, object], texts: Mapping[str, str] | None = None
    ) -> None: ...

    def sync(self) -> None: ...

    def close(self, step: int | None = None) -> None: ...


def _rewind(path: Path, start: int) -> int:
    """Keeps the lines of metrics.jsonl up to `start`; the run writes the later ones again. Returns the last's step."""
    if not path.is_file():
        return 0
    last = size = 0
    for line, step in _kept(path, start):
        last, size = step, size + len(line)
    if size != path.stat().st_size:  # a second pass, so that a long log is never whole in memory
        storage.replace(path, (memoryview(line) for line, _ in _kept(path, start)))
    return last


def _kept(path: Path, start: int) -> Iterator[tuple[bytes, int]]:
    """The lines up to a step, and the step of each."""
    for line in foreign.lines(path):
        if (step := _step(line)) is not None and step <= start:
            yield line, step


def _step(line: bytes) -> int | None:
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
        return step if isinstance(step, int) else None
    except (ValueError, KeyError, TypeError, RecursionError):  # of a run that was killed while writing
        return None
