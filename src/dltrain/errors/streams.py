"""Standard streams that never stop work: what can't be shown is spelled, what can't be written is lost."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from dltrain.errors import StorageError, system

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_SPELLED = {"─": "-", "±": "+-", "→": "->", "…": "..."}  # what tables are drawn with


def make_unfailing() -> None:
    """From here on no text for standard output or error raises: a sign that the terminal can't show is spelled out,
    and what a closed stream, a full disk, a reader that has gone or a lost terminal refuses is dropped.

    `print`, `tqdm`, `logging` and `warnings` all write there. A stream that somebody else put in its place stays.
    """
    closed = {}
    for number in range(3):  # a closed one would be the number of the next file that is opened, a checkpoint say
        try:
            os.fstat(number)
        except OSError as error:
            closed[number] = OSError(error.errno, "it is closed")
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open, as the process's own does
    if sys.stdout is sys.__stdout__:
        sys.stdout = _unfailing(sys.stdout, 1, closed.get(1))
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unfailing(sys.stderr, 2, closed.get(2))


@contextmanager
def unfailing() -> Iterator[None]:
    """The same for a while."""
    before = sys.stdin, sys.stdout, sys.stderr
    make_unfailing()
    own = [stream for stream in (sys.stdout, sys.stderr) if stream not in before]
    try:
        yield
    finally:
        for stream in own:
            with suppress(ValueError):  # somebody closed it
                stream.flush()
        sys.stdin, sys.stdout, sys.stderr = before


def delivered() -> bool:
    """Whether all of standard output has been taken; False where its reader has gone, as `head` does.

    For those whose whole work is what they print. Raises StorageError where some of it is lost: the disk is full, say,
    or the stream was closed before the start.
    """
    sys.stdout.flush()
    fault = getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "fault", None)
    if fault is None or fault.errno == errno.EPIPE:
        return fault is None
    raise StorageError(f"standard output can't be written, and is not complete: {fault.strerror}") from fault


class _Raw(io.FileIO):
    """A file descriptor that takes all it is given. `fault` is what was wrong with it at first."""

    fault: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:  # it was made non-blocking by another program
                system.wait_for_room(self.fileno())
            return written
        except OSError as error:
            self.fault = self.fault or error
            return memoryview(data).nbytes


def _unfailing(stream: TextIO | None, number: int, fault: OSError | None) -> TextIO:
    if stream is not None:
        stream.flush()
    codecs.register_error("dltrain.spell", _spell)
    raw = _Raw(number, "w", closefd=False)
    raw.fault = fault
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=system.encoding(stream, number),
        errors="dltrain.spell",
        line_buffering=number == 2 or raw.isatty(),
        write_through=getattr(stream, "write_through", False),
    )


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_SPELLED.get(s, s.encode("ascii", "backslashreplace").decode()) for s in signs), error.end
