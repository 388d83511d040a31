"""TensorBoard's event files, written through the same seam as everything else."""

from __future__ import annotations

import io
import math
import os
import re
import socket
import struct
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache, reduce
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dltrain.errors import system
from dltrain.runs import layout, storage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dltrain.engine.records import Record

VIEW = "view/"  # before the tags of what is no number: TensorBoard sorts by tags, and numbers come first
_WRITTEN_ANEW = ("hparams", "text")  # plugins whose events are written at the end
_AT_THE_END = ("test/", "val/best_")  # what tags begin with that were written then, before HParams had these numbers
_FRAME = 16  # bytes around a record: its length and two checksums
_FILES = "events.out.tfevents.*"
_PICTURES = ".pictures"  # the ending of their event file
_POINTS = 20  # at most this many points of the step-wise loss per report: a file of all would grow by 75 bytes a step
_AT_ONCE = 128  # bytes of a checksum that are looked up together
_SUM = struct.Struct("<I")


def place(folder: Path, name: str = "") -> Path:
    """Where the event files of a run folder stand, by whose path TensorBoard calls the run: where there are some, else
    in its folder of that name, or in the run folder itself.
    """
    there = sorted(file.parent for pattern in (_FILES, f"*=*/{_FILES}") for file in folder.glob(pattern))
    own = [path for path in there if path == folder or re.fullmatch(layout.EVENTS, path.name)]
    found = own[0] if own else folder / name
    return folder if found != folder and system.leads_elsewhere(found) else found


def rename(folder: Path, name: str) -> None:
    """Has TensorBoard call the run of a folder so, as one that was copied there. Raises OSError."""
    source, target = place(folder), folder / name
    files = sorted(source.glob(_FILES)) if source != target else []
    if files and not target.is_dir():
        storage.disk.mkdir(target)
    for file in files:
        system.patiently(storage.disk.replace, file, target / file.name)
    if files and source != folder:
        system.patiently(storage.disk.rmdir, source)


class Events:
    """An event file of this process's own, written through the same seam as everything else.

    `SummaryWriter` would write from a thread, whose errors come late or hang, and lose at a kill what it had queued.
    after: the last step of earlier ones. The mark of a start has a TensorBoard that runs meanwhile drop what it had
    read beyond, and which comes again; it needs the mark of the first process, too.
    """

    def __init__(self, folder: Path, ending: str = "", *, after: int | None = None) -> None:
        name = f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}{ending}"
        self.log = storage.Log(folder / name)
        self._start = [_event(file_version="brain.Event:2")]
        if after is not None:
            self._start.append(_event(session_log={"status": 1}, step=after + 1))

    @property
    def empty(self) -> bool:
        """Whether nothing has been added."""
        return bool(self._start)

    def add(self, events: list[bytes]) -> None:
        """Appends serialised events."""
        first, self._start = self._start, list[bytes]()
        try:
            self.log.write(_framed([*first, *events]))
        except FileNotFoundError:  # the first of a folder of their own
            if not re.fullmatch(layout.EVENTS, self.log.path.parent.name):
                raise
            storage.disk.mkdir(self.log.path.parent)
            self.log.write(b"")


def _event(**fields: object) -> bytes:
    return _message("compat.proto.event_pb2", "Event")(wall_time=time.time(), **fields).SerializeToString()


@cache
def _message(file: str, name: str) -> Any:
    """A class of TensorBoard's, which protobuf makes when its module is imported."""
    with warnings.catch_warnings(action="ignore"):  # of tensorboard's own dependencies
        return getattr(import_module(f"tensorboard.{file}"), name)


def _framed(events: list[bytes]) -> bytes:
    """Serialised events as a TFRecord file holds them: length and checksums around each."""
    sums = _checksums(events)
    return b"".join(_head(len(event)) + event + _SUM.pack(end) for event, end in zip(events, sums, strict=True))


@lru_cache(maxsize=1024)
def _head(length: int) -> bytes:
    """What stands before an event of so many bytes."""
    packed = struct.pack("<Q", length)
    return packed + _SUM.pack(*_checksums([packed]))


def _checksums(texts: list[bytes]) -> list[int]:
    """The masked CRC-32C of each, of 4 bytes or more, as tensorboard's `masked_crc32c`, whose import takes 45 ms, and
    which takes 9 microseconds for a point where 30 take 40 here.

    A sum is linear: what a byte adds to it depends on how many bytes come after it, and all are looked up at once.
    """
    table, sizes = _sum_table(), np.array([len(text) for text in texts])
    firsts = (sizes - 4) % _AT_ONCE + 4  # bytes of the first block; all others are whole
    counts = (sizes - firsts) // _AT_ONCE + 1
    lengths = np.full(counts.sum(), _AT_ONCE)
    lengths[counts.cumsum() - counts] = firsts
    ends = lengths.cumsum()
    content = np.frombuffer(b"".join(texts), np.uint8).copy()
    content[(sizes.cumsum() - sizes)[:, None] + np.arange(4)] ^= 255  # what a sum begins with
    after = np.repeat(ends, lengths) - np.arange(1, len(content) + 1)
    parts = np.bitwise_xor.reduceat(table[after, content], ends - lengths).tolist()
    if len(parts) > len(texts):
        left = iter(parts)
        parts = [reduce(_moved_on, islice(left, count)) for count in counts.tolist()]
    return [_mask(part) for part in parts]


def _moved_on(sums: int, part: int) -> int:
    """A sum after one more block, which by itself adds a part."""
    table = _sum_table()
    for k in range(4):
        part ^= int(table[_AT_ONCE - 1 - k, sums >> 8 * k & 255])
    return part


def _mask(sums: int) -> int:
    sums ^= 0xFFFFFFFF
    return ((sums >> 15 | sums << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _sum_table() -> np.ndarray:
    """uint32 [_AT_ONCE + 3, 256]: what each byte adds to a checksum, by the number of bytes that come after it."""
    table = np.empty((_AT_ONCE + 3, 256), np.uint32)
    table[0] = np.arange(256)
    for _ in range(8):
        table[0] = table[0] >> 1 ^ (table[0] & 1) * np.uint32(0x82F63B78)
    for k in range(1, len(table)):
        table[k] = table[0][table[k - 1] & 255] ^ table[k - 1] >> 8
    return table


def scalar(step: int, name: str, value: float, when: float | None = None) -> bytes:
    """A number as an event; when: by the clock, in seconds since 1970."""
    return _scalars(name)(step, value, when or time.time())


@lru_cache(maxsize=256)
def _scalars(name: str) -> Callable[[int, float, float], bytes]:
    """Makes events as `torch.utils.tensorboard` does, from one that is filled in anew."""
    tensor = {"dtype": 1, "float_val": [0.0]}  # of float32
    value = {"tag": name, "tensor": tensor, "metadata": {"plugin_data": {"plugin_name": "scalars"}}}
    event = _message("compat.proto.event_pb2", "Event")(summary={"value": [value]})
    numbers = event.summary.value[0].tensor.float_val

    def filled(step: int, value: float, when: float) -> bytes:
        event.wall_time, event.step, numbers[0] = when, step, value
        return event.SerializeToString()

    return filled


def histogram(step: int, name: str, values: Tensor) -> bytes:
    """Values of any shape as an event."""
    with warnings.catch_warnings(action="ignore"):
        from torch.utils.tensorboard import summary

    return _event(
        step=step, summary=summary.histogram(f"{VIEW}{name}", values.float().cpu().numpy().reshape(-1), bins=40)
    )


def hparams(values: Mapping[str, float | str]) -> list[bytes]:
    """What the HParams tab shows of a run, as events: a start that has the values, and an end.

    As `torch.utils.tensorboard` makes them, whose import takes 40 ms; without its list of columns.
    """
    start = {key: {f"{'string' if isinstance(v, str) else 'number'}_value": v} for key, v in values.items()}
    shown = {
        "session_start_info": {"hparams": start},
        "session_end_info": {"status": 1},  # of success
    }
    events = []
    for name, content in shown.items():
        message = _message("plugins.hparams.plugin_data_pb2", "HParamsPluginData")(**{name: content})
        plugin = {"plugin_name": "hparams", "content": message.SerializeToString()}
        value = {"tag": f"_hparams_/{name}", "metadata": {"plugin_data": plugin}}
        events.append(_event(summary={"value": [value]}))
    return events


def text(name: str, told: str) -> bytes:
    """Lines for the Text tab as they stand: it takes Markdown, of which indented lines are code and nothing else."""
    quoted = "\n".join(f"    {line}" for line in told.split("\n")).encode()
    tensor = {"dtype": 7, "string_val": [quoted], "tensor_shape": {"dim": [{"size": 1}]}}  # of strings
    value = {"tag": f"run/{name}", "tensor": tensor, "metadata": {"plugin_data": {"plugin_name": "text"}}}
    return _event(summary={"value": [value]})


def curves(record: Record, when: float) -> list[bytes]:
    """A record's numbers, and at most `_POINTS` of the losses of its steps, as events of this time."""
    events = [_scalars(name)(record.step, value, when) for name, value in record.metrics.items()]
    n = len(record.losses)
    first, width = record.step - n, math.ceil(n / _POINTS)
    starts, rows = np.arange(0, n, width), record.rows.numpy()
    sums = np.add.reduceat(record.losses.double().numpy() * rows, starts) / np.add.reduceat(rows, starts)
    ends, add = np.minimum(starts + width, n).tolist(), _scalars("train/loss_by_step")
    return events + [add(first + end, value, when) for end, value in zip(ends, sums.tolist(), strict=True)]


def rewind(folder: Path, start: int, last: int) -> None:
    """Leaves in the event files of earlier processes what came with the reports up to step `last`, each replaced as a
    whole: the points by step of a later report may lie before `start`, and come again with it. Pictures stay up to
    `start`.

    The mark of a start alone leaves the doubled points in the files, for whoever reads them later.
    """
    storage.clean(folder)  # a draft counts as an event file, too
    for file in sorted(folder.glob(_FILES)):
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
    read = _message("compat.proto.event_pb2", "Event").FromString
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

    folder: of a run or a sweep. Raises OSError.
    """
    beside = place(folder)
    old, events = sorted(beside.glob(f"{_FILES}{_PICTURES}")), Events(beside, _PICTURES)
    shown = [_event(step=step, summary=_image(f"{VIEW}{name}", content)) for name, content in pictures.items()]
    events.add([_event(graph_def=graph), *shown] if graph else shown)
    events.log.sync()
    for file in old:
        system.patiently(storage.disk.unlink, file)


def _image(name: str, content: bytes) -> object:
    """TensorBoard shows the file as it is, moving ones too."""
    from PIL import Image

    summary = _message("compat.proto.summary_pb2", "Summary")
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
    """Whether an event stays; what `hparams` and `text` add is written anew at the end."""
    values = event.summary.value
    ends = any(v.metadata.plugin_data.plugin_name in _WRITTEN_ANEW or v.tag.startswith(_AT_THE_END) for v in values)
    return event.step <= until and not ends
