"""Readers of a `Record`: a progress bar, metrics.jsonl and TensorBoard. None of them stops a run when it fails."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from dltrain.engine.records import Record
from dltrain.errors.output import say
from dltrain.runs import foreign, progress, storage, tensorboard

_Made = TypeVar("_Made")


class Tracker:
    """Writes each record everywhere. `start` is the step that the run goes on from: what lies after it is dropped."""

    def __init__(self, folder: Path, *, total_steps: int, start: int, bar: bool, events: bool) -> None:
        self._folder, self._warned = folder, False
        last = self._try(lambda: _rewind(folder / "metrics.jsonl", start))
        self._metrics = storage.Log(folder / "metrics.jsonl")
        self._try(lambda: _rewind(folder / "diagnosis.jsonl", start))
        self._layers = storage.Log(folder / "diagnosis.jsonl")  # a file only where a run is diagnosed
        self._events: tensorboard.Events | None = None
        if events:
            self._try(lambda: tensorboard.rewind(folder, start, start if last is None else last))
            self._events = tensorboard.Events(folder)
        self._bar = progress.bar(total_steps, start) if bar and progress.is_seen() else None

    @property
    def progress(self) -> Callable[[], object] | None:
        """What the loop calls after each step, or None."""
        return self._bar.update if self._bar else None

    def write(self, record: Record) -> None:
        """Adds one report."""
        numbers = {name: value if math.isfinite(value) else None for name, value in record.metrics.items()}
        line = json.dumps({"step": record.step, "epoch": round(record.epoch, 4), **numbers})
        self._try(lambda: self._metrics.write(line.encode() + b"\n"))
        if self._events:
            self._try(lambda: self._events.add(tensorboard.curves(record)))
        if self._bar:
            self._bar.set_postfix_str(progress.short(record.metrics), refresh=False)

    def diagnose(self, record: Record, look: Mapping[str, object], histograms: dict[str, Tensor]) -> None:
        """Adds a look into the net to diagnosis.jsonl, and its histograms to TensorBoard."""
        line = json.dumps({"step": record.step, "epoch": round(record.epoch, 4), **look})
        self._try(lambda: self._layers.write(line.encode() + b"\n"))
        if self._events:
            points = [(record.step, tensorboard.histogram(n, v)) for n, v in histograms.items() if v.isfinite().all()]
            self._try(lambda: self._events.add(points))

    def hparams(self, config: Mapping[str, object], summary: Mapping[str, Any]) -> None:
        """Fills TensorBoard's HParams tab from this run's own event file: the status, every key, the final metrics.

        `SummaryWriter.add_hparams` would open a second run in a sub-folder for it, and its list of columns would stand
        for all runs of the tab: without one, TensorBoard gathers the columns from every run, those that differ first.
        A run that was stopped before its first report leaves at once, and has nothing to show.
        """
        if not self._events or (summary["status"] == "stopped" and self._events.empty):
            return
        with warnings.catch_warnings(action="ignore"):  # of tensorboard's own dependencies
            from torch.utils.tensorboard.summary import hparams

        test, best = tensorboard.AT_THE_END
        results = {f"{test}{name}": value for name, value in summary.get("test", {}).items()}
        results |= {f"{best}{n}": v for n, v in summary.get("best", {}).items() if n not in ("train_loss", "step")}
        finite = {name: float(value) for name, value in results.items() if math.isfinite(value)}
        _, *session = hparams({"status": summary["status"], **config}, {})
        plugin = [(0, proto) for proto in session]
        points = [(summary.get("steps", 0), tensorboard.scalar(name, value)) for name, value in finite.items()]
        self._try(lambda: self._events.add([*plugin, *points]))

    def sync(self) -> None:
        """Puts all that was written on the disk: no checkpoint may be ahead of its log."""
        self._try(self._metrics.sync)
        self._try(self._layers.sync)
        if self._events:
            self._try(self._events.log.sync)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar:
            self._bar.close()

    def _try(self, work: Callable[[], _Made]) -> _Made | None:
        try:
            return work()
        except OSError as error:
            if not self._warned:
                text = f"logging to {self._folder} failed ({error.strerror}); training goes on, the log follows later"
                say(f"warning: {text}", error=True)
            self._warned = True
            return None


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
