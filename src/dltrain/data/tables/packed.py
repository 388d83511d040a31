"""Compressed files as streams: unpacked as they are read, never onto the disk, and no further than a table goes.

Nothing that a header says of sizes is believed: what comes out is counted.
"""

from __future__ import annotations

import bz2
import importlib
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from gzip import GzipFile
from io import BufferedReader, FileIO, RawIOBase
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol

from dltrain.data.tables.files import ending
from dltrain.data.tables.table import listed
from dltrain.errors import DataError

_STEP = 1 << 18  # bytes
_CHECKED, _TIGHTEST = 1 << 30, 200  # bytes that may come out of any file; beyond them so many for each byte of it
_DICTIONARY = 256 << 20  # bytes that xz may keep: its presets keep 64 MiB at the most
_DIRECTORY = 1 << 22  # bytes of names in a zip

_PACKINGS = {  # what a file begins with -> how it is packed
    rb"\x1f\x8b": "gz",
    rb"BZh[1-9](1AY&SY|\x17\x72\x45\x38\x50\x90)": "bz2",
    rb"\xfd7zXZ\x00": "xz",
    rb"\x28\xb5\x2f\xfd": "zst",
    rb"PK(\x03\x04|\x05\x06)": "zip",
}
_UNPACK, _SHEET = "unpack it, and name the file that comes out", "save its sheet as CSV, UTF-8"
_WANTED = "write the wanted table as CSV or Parquet"
_OTHERS = (  # what a file begins with -> what it is, what to do
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook", _SHEET),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed by lz4", _UNPACK),
    (b"ARROW1", "an Arrow (Feather) file", "write it as Parquet: polars.read_ipc(FILE).write_parquet('table.parquet')"),
    (b"SQLite format 3\0", "a database", _WANTED),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _WANTED),
)


@contextmanager
def unpacked(source: Path | BinaryIO, name: Path) -> Iterator[tuple[BufferedReader, str]]:
    """What a file or an open stream holds, and the ending that tells how it is written.

    It may be plain, .gz, .zst, .bz2, .xz, or .zip with one file, told by its first bytes. Raises DataError for what is
    something else or damaged, there or as it is read, and where more comes out than a table has.
    """
    with ExitStack() as opened:
        raw = opened.enter_context(source.open("rb") if isinstance(source, Path) else _buffered(source))
        packing = _packing(raw.peek(16))
        if packing is None:
            _refuse_others(raw, name)
            yield raw, ending(name)
            return
        if packing != "zip":
            read, kind = _READERS[packing](raw, name).read, ending(name)
        elif isinstance(source, Path):
            read, kind = _only_member(opened.enter_context(_archive(source)), name)
        else:
            raise DataError(f"{name}: a zip archive can't be read from a pipe; name the file itself")
        size = source.stat().st_size if isinstance(source, Path) else 0
        content = _buffered(_Counted(read, name, max(_CHECKED, _TIGHTEST * size)))
        _refuse_others(content, name, inside=True)
        yield content, kind


def _buffered(stream: RawIOBase | BinaryIO) -> BufferedReader:
    if isinstance(stream, BufferedReader):
        return stream
    return BufferedReader(stream, _STEP)  # pyrefly: ignore - its stub asks for a class of its own


def _packing(head: bytes) -> str | None:
    return next((kind for begin, kind in _PACKINGS.items() if re.match(begin, head)), None)


def _refuse_others(content: BufferedReader, name: Path, *, inside: bool = False) -> None:
    """Raises DataError for what begins as another kind of file does; `inside`: and for what may not be packed."""
    head = content.peek(512)
    for begin, what, advice in _OTHERS:
        if head.startswith(begin):
            raise DataError(f"{name}: is {what}, which is not read; {advice}")
    if head[257:262] == b"ustar":
        raise DataError(f"{name}: is a tar archive, which is made for several files; {_UNPACK}")
    if inside and (head.startswith(b"PAR1") or _packing(head)):
        what = "a Parquet file that was packed" if head.startswith(b"PAR1") else "packed more than once"
        raise DataError(f"{name}: is {what}; {_UNPACK}")


class _Counted(RawIOBase):
    """A stream of what comes out of a packed file, of which `most` bytes are believed to be a table."""

    def __init__(self, read: Callable[[int], bytes], name: Path, most: int) -> None:
        self._read, self._name, self._left, self._most = read, name, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyrefly: ignore[bad-override] - any buffer has these
        try:
            part = self._read(len(buffer))
        except EOFError:
            raise DataError(f"{self._name}: cut off: the compressed data breaks off before its end") from None
        except _DAMAGE as error:
            raise DataError(f"{self._name}: damaged: {error}") from None
        self._left -= len(part)
        if self._left < 0:
            raise DataError(
                f"{self._name}: unpacks to more than {self._most / 2**30:,.0f} GB, {_TIGHTEST} times its size, as no "
                "table does; if it is one, unpack it yourself"
            )
        buffer[: len(part)] = part
        return len(part)


_DAMAGE = (OSError, ValueError, NotImplementedError, zlib.error, lzma.LZMAError, struct.error, zipfile.BadZipFile)


# -- gz, bz2, xz, zst ----------------------------------------------------------------------------------------------


class _Decompressor(Protocol):
    """What bz2, lzma and zstd have for a stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Streams:
    """The compressed streams of a file, one after another, `read` a bounded part at a time."""

    def __init__(
        self, file: BufferedReader, make: Callable[[], _Decompressor], damage: type[Exception] = OSError
    ) -> None:
        self._file, self._make, self._damage, self._stream = file, make, damage, make()

    def read(self, size: int) -> bytes:
        made = b""
        while not made:
            given = b""
            if self._stream.eof:
                given = self._stream.unused_data.lstrip(b"\0") or self._file.read(_STEP).lstrip(b"\0")
                if not given:  # else another stream follows, maybe after the zeros that xz allows
                    return b""
                self._stream = self._make()
            elif self._stream.needs_input and not (given := self._file.read(_STEP)):
                raise EOFError
            try:
                made = self._stream.decompress(given, size)
            except self._damage as error:
                raise ValueError(error) from None
        return made


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _DICTIONARY)


def _zst(file: BufferedReader, name: Path) -> _Streams:
    zstd = _zstd(name)
    return _Streams(file, zstd.ZstdDecompressor, zstd.ZstdError)  # which refuses to keep more than 128 MiB


def _zstd(name: Path) -> ModuleType:
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    raise DataError(f"{name}: to read .zst, pip install 'dltrain[zstd]' (Python 3.14 needs nothing), or {_UNPACK}")


_READERS: dict[str, Callable[[BufferedReader, Path], GzipFile | _Streams]] = {
    "gz": lambda file, name: GzipFile(fileobj=file),
    "bz2": lambda file, name: _Streams(file, bz2.BZ2Decompressor),
    "xz": lambda file, name: _Streams(file, _xz, lzma.LZMAError),
    "zst": _zst,
}


# -- zip -----------------------------------------------------------------------------------------------------------


class _Directory(BufferedReader):
    """A zip of whose list of names no more is read at once than a sound one has."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _DIRECTORY:
            raise ValueError(f"its list of files takes {size:,} bytes")
        return super().read(size)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with _Directory(FileIO(path)) as file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGE as error:
            raise DataError(f"{path}: damaged: it begins like a zip archive, but {error}") from None
        with archive:
            yield archive


def _only_member(archive: zipfile.ZipFile, path: Path) -> tuple[Callable[[int], bytes], str]:
    """What reads the one file of an archive, and its ending. What macOS adds does not count."""
    names = [info.filename for info in archive.infolist()]
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise DataError(f"{path}: is a workbook or a document, which is not read; {_SHEET}")
    members = [i for i in archive.infolist() if not (i.is_dir() or i.filename.startswith("__MACOSX/"))]
    if len(members) != 1:
        what = f"{len(members):,} files ({listed([i.filename for i in members], 4)})" if members else "no file"
        raise DataError(f"{path}: an archive of {what}; one is read from a zip: unpack it, and name what is meant")
    (member,) = members
    parts = re.split(r"[/\\]", member.orig_filename)
    if ".." in parts or not parts[0] or re.match("[A-Za-z]:", parts[0]):
        raise DataError(f"{path}: its file is called {listed([member.orig_filename])}, outside of where it is unpacked")
    if member.flag_bits & 1:
        raise DataError(f"{path}: is encrypted; {_UNPACK}")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can't be read bit by bit
        raise DataError(f"{path}: is packed by a method that is not read; {_UNPACK}")
    try:
        return archive.open(member).read, Path(member.filename).suffix.lower()
    except _DAMAGE as error:
        raise DataError(f"{path}: damaged: {error}") from None
