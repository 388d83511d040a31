"""TensorBoard's event files, written through the same seam as everything else."""

from __future__ import annotations

import io
import math
import os
import socket
import struct
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dltrain.engine.records import Record, mean
from dltrain.errors import system
from dltrain.runs import storage

AT_THE_END = ("test/", "val/best_")  # what the tags of the final numbers begin with
_FRAME = 16  # bytes around a record: its length and two checksums
_PICTURES = ".pictures"  # the ending of their event file
_POINTS = 20  # at most this many points of the step-wise loss per report: their writing costs 30 microseconds each


class Events:
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


def scalar(name: str, value: float) -> object:
    with warnings.catch_warnings(action="ignore"):
        from torch.utils.tensorboard import summary

    return summary.scalar(name, value, new_style=True)


def histogram(name: str, values: Tensor) -> object:
    with warnings.catch_warnings(action="ignore"):
        from torch.utils.tensorboard import summary

    return summary.histogram(name, values.float().cpu().numpy().reshape(-1), bins=40)


def curves(record: Record) -> list[tuple[int, object]]:
    points: list[tuple[int, object]] = [(record.step, scalar(name, value)) for name, value in record.metrics.items()]
    first = record.step - len(record.losses)
    for part in range(0, len(record.losses), width := math.ceil(len(record.losses) / _POINTS)):
        losses, rows = record.losses[part : part + width], record.rows[part : part + width]
        points.append((first + part + len(losses), scalar("train/loss_by_step", mean(losses, rows))))
    return points


def rewind(folder: Path, start: int, last: int) -> None:
    """Leaves in the event files of earlier processes what came with the reports up to step `last`, each replaced as a
    whole: the points by step of a later report may lie before `start`, and come again with it. Pictures stay up to
    `start`.

    TensorBoard's own way, a purge mark, leaves the doubled points in place (seen with 2.21).
    """
    for file in sorted(folder.glob("events.out.tfevents.*")):
        until = start if file.name.endswith(_PICTURES) else last
        size, shows = 0, False
        for record, event in _kept(file, until):
            size, shows = size + len(record) + _FRAME, shows or event.HasField("summary")
        if not shows:
            system.patiently(storage.disk.unlink, file)
        elif size != file.stat().st_size:  # a second pass, so that a long file is never whole in memory
            storage.replace(file, (memoryview(_framed([record])) for record, _ in _kept(file, until)))


def _kept(file: Path, until: int) -> Iterator[tuple[bytes, Any]]:
    """The records of an event file that stay, and the event that each is, up to what is damaged."""
    with warnings.catch_warnings(action="ignore"):
        from google.protobuf.message import DecodeError
    read = _message("event", "Event").FromString
    with suppress(DecodeError):
        for record in _records(file):
            if _belongs(event := read(record), until):
                yield record, event


def _records(file: Path) -> Iterator[bytes]:
    """What `_framed` was given, one by one: TensorBoard's own reader holds the file."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    with system.plain_file(file) as source:
        left = os.fstat(source.fileno()).st_size
        while len(head := source.read(12)) == 12:
            length, checksum = struct.unpack("<QI", head)
            left -= length + _FRAME
            if left < 0 or checksum != masked_crc32c(head[:8]):
                return
            record = source.read(length)
            if source.read(4) != struct.pack("<I", masked_crc32c(record)):
                return
            yield record


def write_pictures(folder: Path, step: int, pictures: dict[str, bytes], graph: bytes | None = None) -> None:
    """Image files (PNG, GIF) and a net's graph as an event file of their own, in place of an earlier one.

    Raises OSError.
    """
    old = sorted(folder.glob(f"events.out.tfevents.*{_PICTURES}"))
    events = Events(folder, _PICTURES)
    events.add([(step, _image(f"pictures/{name}", content)) for name, content in pictures.items()], graph)
    events.log.sync()
    for file in old:
        system.patiently(storage.disk.unlink, file)


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
        try:
            from torch.utils.tensorboard._pytorch_graph import graph as trace

            return trace(model, x)[0].SerializeToString()
        except Exception:  # a net with branches, say, or another torch
            return None


def _belongs(event: Any, until: int) -> bool:
    """Whether an event stays; what `hparams` adds is written anew at the end."""
    values = event.summary.value
    ends = any(v.metadata.plugin_data.plugin_name == "hparams" or v.tag.startswith(AT_THE_END) for v in values)
    return event.step <= until and not ends
