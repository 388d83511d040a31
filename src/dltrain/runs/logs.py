"""Readers of a `Record`: a progress bar, metrics.jsonl and TensorBoard. None of them stops a run when it fails."""

from __future__ import annotations

import io
import json
import math
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from torch import Tensor, nn

from dltrain.engine.records import Record, mean
from dltrain.errors.output import say
from dltrain.runs import foreign, storage

if TYPE_CHECKING:
    from tqdm import tqdm

_AT_THE_END = ("test/", "val/best_")  # what the tags of the final numbers begin with
_PICTURES = ".pictures"  # the ending of their event file
_POINTS = 20  # at most this many points of the step-wise loss per report: their writing costs 30 microseconds each


_Made = TypeVar("_Made")


class Tracker:
    """Writes each record everywhere. `start` is the step that the run goes on from: what lies after it is dropped."""

    def __init__(self, folder: Path, *, total_steps: int, start: int, bar: bool, tensorboard: bool) -> None:
        self._folder, self._warned = folder, False
        last = self._try(lambda: _rewind(folder / "metrics.jsonl", start))
        self._metrics = storage.Log(folder / "metrics.jsonl")
        self._try(lambda: _rewind(folder / "diagnosis.jsonl", start))
        self._layers = storage.Log(folder / "diagnosis.jsonl")  # a file only where a run is diagnosed
        self._events: _Events | None = None
        if tensorboard:
            self._try(lambda: _rewind_events(folder, start, start if last is None else last))
            self._events = _Events(folder)
        self._bar = _bar(total_steps, start) if bar and sys.stderr.isatty() else None

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
            self._try(lambda: self._events.add(_curves(record)))
        if self._bar:
            self._bar.set_postfix_str(_short(record.metrics), refresh=False)

    def diagnose(self, record: Record, look: Mapping[str, object], histograms: dict[str, Tensor]) -> None:
        """Adds a look into the net to diagnosis.jsonl, and its histograms to TensorBoard."""
        line = json.dumps({"step": record.step, "epoch": round(record.epoch, 4), **look})
        self._try(lambda: self._layers.write(line.encode() + b"\n"))
        if self._events:
            points = [(record.step, _histogram(n, v)) for n, v in histograms.items() if v.isfinite().all()]
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

        test, best = _AT_THE_END
        results = {f"{test}{name}": value for name, value in summary.get("test", {}).items()}
        results |= {f"{best}{n}": v for n, v in summary.get("best", {}).items() if n not in ("train_loss", "step")}
        finite = {name: float(value) for name, value in results.items() if math.isfinite(value)}
        _, *session = hparams({"status": summary["status"], **config}, {})
        plugin = [(0, proto) for proto in session]
        points = [(summary.get("steps", 0), _scalar(name, value)) for name, value in finite.items()]
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
    kept: list[bytes] = []
    last = 0
    for line in foreign.lines(path):
        if (step := _step(line)) is not None and step <= start:
            kept.append(line)
            last = step
    if len(content := b"".join(kept)) != path.stat().st_size:
        storage.replace(path, content)
    return last


def _step(line: bytes) -> int | None:
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
        return step if isinstance(step, int) else None
    except (ValueError, KeyError, TypeError, RecursionError):  # of a run that was killed while writing
        return None


# -- TensorBoard -------------------------------------------------------------------------------------------------


class _Events:
    """An event file of this process's own, written through the same seam as everything else.

    `SummaryWriter` would write from a thread, whose errors come late or hang, and lose at a kill what it had queued.
    """

    def __init__(self, folder: Path, ending: str = "") -> None:
        name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}{ending}"
        self.log = storage.Log(folder / name)
        self._start: bytes | None = _event(file_version="brain.Event:2")

    @property
    def empty(self) -> bool:
        """Whether nothing has been added."""
        return self._start is not None

    def add(self, points: list[tuple[int, object]], graph: bytes | None = None) -> None:
        """Appends (step, Summary) pairs, and a graph."""
        first, self._start = [self._start] if self._start else [], None
        first += [_event(graph_def=graph)] if graph else []
        self.log.write(_framed([*first, *(_event(step=step, summary=summary) for step, summary in points)]))


def _event(**fields: object) -> bytes:
    return _message("event", "Event")(wall_time=time.time(), **fields).SerializeToString()


@cache
def _message(file: str, name: str) -> Any:
    """A class of TensorBoard's, which protobuf makes when its module is imported."""
    with warnings.catch_warnings(action="ignore"):  # of tensorboard's own dependencies
        return getattr(import_module(f"tensorboard.compat.proto.{file}_pb2"), name)


def _framed(events: list[bytes]) -> bytes:
    """Serialised events as a TFRecord file holds them: length and checksums around each."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    for event in events:
        writer.write(event)
    return buffer.getvalue()


def _scalar(name: str, value: float) -> object:
    with warnings.catch_warnings(action="ignore"):
        from torch.utils.tensorboard.summary import scalar

    return scalar(name, value, new_style=True)


def _histogram(name: str, values: Tensor) -> object:
    with warnings.catch_warnings(action="ignore"):
        from torch.utils.tensorboard.summary import histogram

    return histogram(name, values.float().cpu().numpy().reshape(-1), bins=40)


def _curves(record: Record) -> list[tuple[int, object]]:
    points: list[tuple[int, object]] = [(record.step, _scalar(name, value)) for name, value in record.metrics.items()]
    first = record.step - len(record.losses)
    for part in range(0, len(record.losses), width := math.ceil(len(record.losses) / _POINTS)):
        losses, rows = record.losses[part : part + width], record.rows[part : part + width]
        points.append((first + part + len(losses), _scalar("train/loss_by_step", mean(losses, rows))))
    return points


def _rewind_events(folder: Path, start: int, last: int) -> None:
    """Leaves in the event files of earlier processes what came with the reports up to step `last`, each replaced as a
    whole: the points by step of a later report may lie before `start`, and come again with it. Pictures stay up to
    `start`.

    TensorBoard's own way, a purge mark, leaves the doubled points in place (seen with 2.21).
    """
    old = sorted(folder.glob("events.out.tfevents.*"))
    if not old:
        return
    with warnings.catch_warnings(action="ignore"):
        from google.protobuf.message import DecodeError
        from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    read = _message("event", "Event").FromString
    for file in old:
        until = start if file.name.endswith(_PICTURES) else last
        kept: list[tuple[bytes, bool]] = []  # and whether it has a summary
        with suppress(DecodeError, MemoryError, OverflowError):  # up to what is damaged: no event, or of no length
            for record in RawEventFileLoader(str(file)).Load():
                if _belongs(event := read(record), until):
                    kept.append((record, event.HasField("summary")))
        if not any(shows for _, shows in kept):
            storage.disk.unlink(file)
        elif (content := _framed([record for record, _ in kept])) != file.read_bytes():
            storage.replace(file, content)


def write_pictures(folder: Path, step: int, pictures: dict[str, bytes], graph: bytes | None = None) -> None:
    """Image files (PNG, GIF) and a net's graph as an event file of their own, in place of an earlier one.

    Raises OSError.
    """
    old = sorted(folder.glob(f"events.out.tfevents.*{_PICTURES}"))
    events = _Events(folder, _PICTURES)
    events.add([(step, _image(f"pictures/{name}", content)) for name, content in pictures.items()], graph)
    events.log.sync()
    for file in old:
        storage.disk.unlink(file)


def _image(name: str, content: bytes) -> object:
    """TensorBoard shows the file as it is, moving ones too."""
    from PIL import Image

    summary = _message("summary", "Summary")
    width, height = Image.open(io.BytesIO(content)).size
    picture = summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
    return summary(value=[summary.Value(tag=name, image=picture)])


def graph(model: nn.Module, x: Tensor) -> bytes | None:
    """The net's operations for TensorBoard's graph tab, traced with the inputs x; None where it can't be traced."""
    with warnings.catch_warnings(action="ignore"):  # of tracing itself, which torch calls old
        from torch.utils.tensorboard._pytorch_graph import graph as trace

        try:
            return trace(model, x)[0].SerializeToString()
        except Exception:  # a net with branches, say
            return None


def _belongs(event: Any, until: int) -> bool:
    """Whether an event stays; what `hparams` adds is written anew at the end."""
    values = event.summary.value
    ends = any(v.metadata.plugin_data.plugin_name == "hparams" or v.tag.startswith(_AT_THE_END) for v in values)
    return event.step <= until and not ends


# -- the bar -----------------------------------------------------------------------------------------------------


def _bar(total: int, start: int) -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1)


def _short(metrics: dict[str, float]) -> str:
    """Loss, validation metric, learning rate and throughput, for the bar."""
    parts = [f"loss {metrics['train/loss']:.4g}"]
    parts += [f"{n.removeprefix('val/')} {metrics[n]:.4g}" for n in ("val/accuracy", "val/rmse") if n in metrics]
    return ", ".join([*parts, f"lr {metrics['train/lr']:.2g}", f"{metrics['train/samples_per_s']:,.0f} samples/s"])
