"""Every write to a run folder goes through here, so that tests can stop, fail or record any single operation.

Errors leave as OSError; the caller knows what was being written, and turns them into words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from dltrain.errors import system

disk = os  # the system calls that change the disk, by the names that they have in `os`

_BLOCK = 1 << 20  # bytes
_DRAFT, _DOOMED, _OLD = ".tmp-", ".del-", ".old-"  # half written, half removed, about to be replaced


Content = bytes | Iterable[memoryview]  # of a file, whole or in parts


def write(contents: Mapping[Path, Content]) -> None:
    """New files, on the disk when this returns. They wait for it together: four take half as long as one by one."""
    with ExitStack() as stack:
        handles: list[int] = []
        for path, content in contents.items():
            handles.append(handle := disk.open(path, system.CREATE, 0o666))
            stack.callback(disk.close, handle)
            for block in (content,) if isinstance(content, bytes) else _blocks(content):
                _write(handle, block)
            system.hasten(handle)
        for handle in handles:
            disk.fsync(handle)


def replace(path: Path, content: Content, *, more_follows: bool = False) -> None:
    """Writes a file so that readers, also after a crash, see the old content or the new, never a part.

    Parts may be read from the old content while they are asked for. more_follows: a power failure may bring the old
    content back until another file of the folder has been replaced without it, which waits for the disk for both.
    """
    replace_all(path.parent, {path.name: content}, more_follows=more_follows)


def replace_all(folder: Path, contents: Mapping[str, Content], *, more_follows: bool = False) -> None:
    """Several files of a folder, each as `replace` does, in their order."""
    drafts = {folder / f"{_DRAFT}{name}-{os.getpid()}": content for name, content in contents.items()}
    try:
        for draft in drafts:
            _unlink(draft)  # left by a dead process of the same number
        write(drafts)
        for draft, name in zip(drafts, contents, strict=True):
            system.patiently(disk.replace, draft, folder / name)
        if not more_follows:
            sync(folder)
    except OSError:
        for draft in drafts:
            with suppress(OSError):
                _unlink(draft)
        raise


def write_over(path: Path, content: bytes) -> None:
    """Writes a small file of always the same size where it stands, and waits for no disk: 20 microseconds, where a file
    system that is told to put another in its place takes milliseconds. Who reads meanwhile may see some of each.
    """
    system.refuse_link(path)
    handle = disk.open(path, system.WRITE, 0o666)
    try:
        _write(handle, content)
    finally:
        disk.close(handle)


def write_folder(path: Path, contents: Mapping[str, Content], *, more_follows: bool = False) -> None:
    """A folder of files, written in their order: there as a whole or not at all, in the place of one that may be there
    already. more_follows: a new one may be gone after a power failure until another has been written beside it.
    """
    draft, old = path.with_name(f"{_DRAFT}{path.name}-{os.getpid()}"), path.with_name(f"{_OLD}{path.name}")
    try:
        remove(draft)
        disk.mkdir(draft)
        write({draft / name: content for name, content in contents.items()})
        sync(draft)
        if (
            replaces := path.exists()
        ):  # two folders can't change places in one operation: `clean` mends what a crash leaves
            remove(old)
            system.patiently(disk.replace, path, old)
        system.patiently(disk.replace, draft, path)
        if replaces or not more_follows:
            sync(path.parent)
        remove(old)
    except (OSError, MemoryError):  # parts may be copied as they are asked for
        clean(path.parent)
        raise


def remove(path: Path) -> None:
    """Removes a folder and all in it, first out of sight by one rename: half removed it never looks like a whole one.

    A link is removed, not what it names.
    """
    if not os.path.lexists(path):
        return
    doomed = path
    if not path.name.startswith((_DRAFT, _DOOMED)):
        doomed = path.with_name(f"{_DOOMED}{path.name}-{os.getpid()}")
        remove(doomed)
        system.patiently(disk.replace, path, doomed)
    _remove(doomed)


def _remove(path: Path) -> None:
    waiting = [(path, False)]  # a list of its own: folders may be nested more deeply than Python calls
    while waiting:
        path, emptied = waiting.pop()
        if emptied:
            system.patiently(disk.rmdir, path)
        elif system.leads_elsewhere(path) or not path.is_dir():
            _unlink(path)
        else:
            waiting += [(path, True), *((path / name, False) for name in reversed(os.listdir(path)))]


def clean(folder: Path) -> None:
    """Removes what an interrupted write left, as far as the disk allows; the caller holds the folder's lock."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(OSError):
            if path.name.startswith(_OLD) and not (whole := path.with_name(path.name.removeprefix(_OLD))).exists():
                system.patiently(disk.replace, path, whole)
            elif path.name.startswith((_DRAFT, _DOOMED, _OLD)):
                if path.name.startswith(_OLD):
                    sync(folder)  # its successor's name must last before it may go
                remove(path)


def sync(path: Path) -> None:
    """Makes a file's contents last, or the names in a folder: what was created, renamed or removed in it."""
    if not system.POSIX and path.is_dir():
        return  # no program can
    handle = disk.open(path, system.FLUSH)
    try:
        disk.fsync(handle)
    finally:
        disk.close(handle)


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError):
        system.patiently(disk.unlink, path)


def _blocks(parts: Iterable[memoryview]) -> Iterator[bytes | memoryview]:
    """Small parts together, since a write costs more than they do; large ones as they are."""
    waiting = bytearray()
    for part in parts:
        if waiting and len(waiting) + len(part) > _BLOCK:
            yield bytes(waiting)
            waiting.clear()
        if len(part) < _BLOCK:
            waiting += part
        else:
            yield part
    if waiting:
        yield bytes(waiting)


def _write(handle: int, content: bytes | memoryview) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[disk.write(handle, rest) :]


class Log:
    """A file that only grows. What the disk refused is kept and goes with the next part, so that a disk that was
    full for a while leaves neither a gap nor a line twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size if path.exists() else 0
        self._waiting = b""

    def write(self, content: bytes) -> None:
        """Adds bytes; they reach the operating system here, and the disk with `sync`."""
        self._waiting += content
        system.refuse_link(self.path)
        handle = disk.open(self.path, system.WRITE, 0o666)
        try:
            disk.lseek(handle, self._size, os.SEEK_SET)  # over the part that a failed attempt left
            _write(handle, self._waiting)
        finally:
            disk.close(handle)
        self._size, self._waiting = self._size + len(self._waiting), b""

    def sync(self) -> None:
        """Puts everything on the disk."""
        if self._waiting:
            self.write(b"")
        if self.path.is_file():
            sync(self.path)
