"""IDX, the file format of MNIST and its kin: arrays of bytes behind a short header, read whole or in pieces."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import torch
from torch import Tensor

from dltrain.errors import DataError, system

LARGEST = 4 << 30  # bytes; more than any set of this kind: a header that promises more is damaged or hostile
_ANY = 1 << 62
_CHUNK = 1 << 20  # bytes
_CHECKED, _TIGHTEST = 64 << 20, 50  # bytes; more of them for one that is packed than images have: MNIST has 5

_Content = gzip.GzipFile | BufferedReader


def read_idx(path: str | Path) -> Tensor:
    """The uint8 array of an IDX file, plain or gzip-compressed, in the shape that its header gives.

    Format: bytes 0, 0, 8 (unsigned bytes) and the number of dimensions, then one big-endian uint32 for each, then
    the data. A file that holds more or less than its header says is a DataError, found without reading further.
    """
    path = Path(path)
    with _opened(path) as (file, size, packed):
        shape, begin, body = _header(file, path, size, packed, largest=LARGEST)
        return torch.frombuffer(_read_exactly(file, path, begin, body), dtype=torch.uint8).view(shape)


def read_pieces(path: str | Path, *, bytes_each: int) -> Iterator[Tensor]:
    """The array of `read_idx` in pieces along its first dimension, of any size altogether."""
    path = Path(path)
    with _opened(path) as (file, size, packed):
        shape, begin, body = _header(file, path, size, packed, largest=_ANY)
        each = math.prod(shape[1:])
        step = max(1, bytes_each // each) * each
        for start in range(0, body, step):
            last = start + step >= body
            content = _read_exactly(file, path, begin + start, min(step, body - start), whole=last)
            yield torch.frombuffer(content, dtype=torch.uint8).view(-1, *shape[1:])


@contextmanager
def _opened(path: Path) -> Iterator[tuple[_Content, int | None, int]]:
    """The unpacked content of a file, its size, where that is known before it is read, and that of the file."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"  # by content: browsers unpack a file and keep its name
            raw.seek(0)
            size = os.fstat(raw.fileno()).st_size
            check_stored(raw, path)
            yield (gzip.GzipFile(fileobj=raw), None, size) if packed else (raw, size, size)
    except EOFError:
        raise DataError(f"{path}: truncated: the compressed data breaks off inside the header") from None
    except (OSError, zlib.error) as error:  # a damaged gzip stream is an OSError
        raise DataError(f"{path}: cannot be read: {error}") from error


def check_stored(file: BufferedReader, path: Path) -> None:
    """Raises DataError for a large file of which next to nothing is stored: it takes no room, but all the memory."""
    if system.is_hollow(file.fileno()):
        raise DataError(
            f"{path}: damaged: it is a hole, of whose {os.fstat(file.fileno()).st_size:,} bytes few are stored"
        )


def _header(
    file: _Content, path: Path, size: int | None, packed: int, *, largest: int
) -> tuple[tuple[int, ...], int, int]:
    """The shape, the bytes before the data, and the bytes of the data."""
    head = file.read(4)
    if head.lstrip().startswith(b"<"):
        raise DataError(f"{path}: this is a web page, not an IDX file; download it again")
    if len(head) < 4 or head[:3] != b"\0\0\x08" or not 1 <= head[3] <= 4:
        raise DataError(
            f"{path}: not an IDX file of unsigned bytes: it begins with {head.hex(' ') or 'nothing'} "
            "instead of 00 00 08 and 01 to 04 (the number of dimensions)"
        )
    packed_dims = file.read(4 * head[3])
    if len(packed_dims) < 4 * head[3]:
        raise DataError(f"{path}: truncated: the file ends inside its header")
    shape = struct.unpack(f">{head[3]}I", packed_dims)
    body, begin = math.prod(shape), 4 + len(packed_dims)
    if not 0 < body <= largest:
        raise DataError(f"{path}: the header gives the shape {list(shape)}, {body:,} bytes: the file is damaged")
    if size is None and body > max(_CHECKED, _TIGHTEST * packed):
        raise DataError(
            f"{path}: the header gives the shape {list(shape)}, {body:,} bytes, which no file of {packed:,} holds: "
            "the file is damaged, or unpack it yourself"
        )
    if size is not None and size != begin + body:
        raise DataError(f"{path}: expected {begin + body:,} bytes, got {size:,}")
    return shape, begin, body


def _read_exactly(file: _Content, path: Path, begin: int, body: int, *, whole: bool = True) -> bytearray:
    """The next `body` bytes; `whole` if nothing may follow them."""
    content, end = bytearray(), ""
    try:  # one byte too many is enough to know; it also makes gzip compare its checksum
        while chunk := file.read1(min(_CHUNK, body + whole - len(content))):
            content += chunk
    except EOFError:
        end = " before the compressed data broke off"
    if len(content) != body or end:
        got = f"{begin + len(content):,}{end}" if len(content) <= body else "more"
        raise DataError(f"{path}: expected {begin + body:,} bytes, got {got}")
    return content
