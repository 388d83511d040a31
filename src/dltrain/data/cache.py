"""What is made of large files once, and kept in a folder of the user's own: entries, each a folder of plain files.

An entry is written beside its place by one process at a time, is on the disk before it gets its name, and holds JSON,
Parquet and raw numbers, no pickle. The folder is used only while nobody else may look into it.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dltrain.errors import ConfigError, StorageError, system

Facts = dict[str, object]  # of an entry, as JSON has them

PLACE, LIMIT = "DLTRAIN_CACHE", "DLTRAIN_CACHE_GB"
_GIGABYTES = 50.0
_FACTS, _DRAFT = "entry.json", ".tmp-"
_LARGEST = 1 << 26  # bytes of facts
_BLOCKS, _BLOCK = 16, 1 << 16  # of a file that are looked at, and their bytes


@dataclass(frozen=True)
class Entry:
    """One that is kept: its folder, and what was noted when it was made."""

    folder: Path
    facts: Facts

    @property
    def used(self) -> float:
        """When it was last asked for, in seconds since 1970; 0 of one that went."""
        with suppress(FileNotFoundError):
            return (self.folder / _FACTS).stat().st_mtime
        return 0

    @property
    def size(self) -> int:
        """Bytes of its files; 0 of one that went."""
        with suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0


def place() -> Path:
    """The folder of all entries, whether or not it is there."""
    named = os.environ.get(PLACE)
    return Path(named).expanduser().absolute() if named else system.cache_home() / "dltrain"


def obtain(name: str, make: Callable[[Path], Facts], *, fresh: Callable[[Facts], bool] = lambda facts: True) -> Entry:
    """The entry of a name, as it is kept; where it is not, or no longer `fresh`, as `make` writes it into a folder.

    Of several processes one makes it while the others wait. Raises StorageError where the disk refuses, and leaves
    nothing then.
    """
    _limit()  # a mistake in it is said before the work
    with _faults_told():
        top = _own(place())
        if (found := _found(top / name)) and fresh(found.facts):
            with suppress(FileNotFoundError):  # it went just now
                os.utime(found.folder / _FACTS)
                return found
        with _locked(_lock(top / name)):
            if (found := _found(top / name)) and fresh(found.facts):
                return found
            return _made(top, name, make)


@contextmanager
def held(
    name: str, make: Callable[[Path], Facts], *, fresh: Callable[[Facts], bool] = lambda facts: True
) -> Iterator[Entry]:
    """What `obtain` gives, which nobody removes while this lasts; one that goes before is made anew."""
    with ExitStack() as stack:
        entry = obtain(name, make, fresh=fresh)
        if not _is_held(entry, stack):
            entry = obtain(name, make, fresh=fresh)
            _is_held(entry, stack)
        yield entry
        with suppress(FileNotFoundError):  # reading may take long
            os.utime(entry.folder / _FACTS)


def _is_held(entry: Entry, stack: ExitStack) -> bool:
    with suppress(FileNotFoundError):
        return stack.enter_context(_folder_held(entry.folder)) and _found(entry.folder) is not None
    return False


def note(entry: Entry, facts: Facts) -> Entry:
    """The entry with other facts. Raises StorageError where the disk refuses."""
    draft = entry.folder / f"{_DRAFT}{os.getpid()}"
    with _faults_told():
        _write(draft, json.dumps(facts).encode())
        system.patiently(os.replace, draft, entry.folder / _FACTS)
    return Entry(entry.folder, facts)


def listed(facts: Facts, key: str) -> list[object]:
    """The list that was noted under a key; an empty one where none was."""
    found = facts.get(key)
    return found if isinstance(found, list) else []


def entries() -> list[Entry]:
    """All that are kept, those first that were not asked for the longest. Raises StorageError as `obtain` does."""
    top = place()
    _check_own(top)
    paths = [path for path in top.iterdir() if not path.name.startswith(_DRAFT)] if top.is_dir() else []
    found = map(_found, paths)
    return sorted((entry for entry in found if entry), key=lambda entry: entry.used)


def remove(gone: Sequence[Entry]) -> int:
    """Removes entries that are not in use, and what was left by processes that were killed; tells how many went.

    Who has one mapped into memory goes on reading it.
    """
    count = sum(_removed(entry) for entry in gone)
    for draft in place().glob(f"{_DRAFT}*"):
        if system.is_free(_lock(draft)):
            _drop(draft)
    return count


def keep_within_limit(asked: Entry) -> None:
    """Those that were not asked for the longest go until all together are within the limit.

    The one that is asked for stays, and so does what was asked for just before, of which it may be made.
    """
    limit, found = _limit(), entries()
    sizes = {entry.folder: entry.size for entry in found}
    total = sum(sizes.values())
    for entry in found:
        if total > limit and entry.folder != asked.folder and not _is_recent(entry):
            total -= sizes[entry.folder] * remove([entry])


@contextmanager
def _folder_held(folder: Path, *, alone: bool = False) -> Iterator[bool]:
    """Tells whether a folder could be held. Where there are no such locks what is open is not removed."""
    if not system.POSIX:
        yield True
        return
    handle = os.open(folder, system.FLUSH)
    try:
        yield system.hold(handle, alone=alone)
    finally:
        os.close(handle)


def _removed(entry: Entry) -> bool:
    with suppress(FileNotFoundError), _folder_held(entry.folder, alone=True) as free:
        if free:
            _drop(entry.folder)
        return free
    return True  # another process was first


def _own(top: Path) -> Path:
    """The folder, made where there is none; raises StorageError for one that others could have written to."""
    _check_own(top)
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_own(top)
    return top


def _check_own(top: Path) -> None:
    """Raises StorageError for what is in the place of the folder and is not used; nothing may be there."""
    try:
        why = system.not_own(top)
    except (FileNotFoundError, NotADirectoryError):
        return
    if why:
        raise StorageError(f"{top}: {_NOT_OWN[why].format(shlex.quote(str(top)))}: {PLACE}=FOLDER")


_NOT_OWN = {
    "link": "it is a link, and none is used as a cache\nName the folder itself",
    "file": "a file is where what is kept of large tables would be\nMove it away, or name another folder",
    "owner": "the folder is another user's, so it is not used as a cache\nName another folder",
    "mode": "others may read or change what is kept there, so it is not used\nMake it yours alone: chmod 700 {0}; "
    "or name another folder",
}


@contextmanager
def _faults_told() -> Iterator[None]:
    """Raises StorageError for what the system refuses, with a cure."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(
            f"{error.filename or place()}: it went while it was needed for what is kept of a large table\n"
            "Start again: what is kept is then made anew"
        ) from error
    except OSError as error:
        cure = _CURES.get(error.errno or 0, "Name a folder that you may write to")
        raise StorageError(
            f"{place()}: what is kept of a large table can't be written there: {error.strerror or error}\n"
            f"{cure}: {PLACE}=FOLDER"
        ) from error


_ROOM = "Free some room (`dltrain clean --cache` shows what is kept), or name another folder"
_CURES = {
    errno.ENOSPC: _ROOM,
    getattr(errno, "EDQUOT", errno.ENOSPC): _ROOM,
    errno.EFBIG: "Allow larger files (`ulimit -f unlimited`), or name a folder on a disk that takes them",
}


def _found(folder: Path) -> Entry | None:
    """The entry in a folder, unless it is not one as the present program writes it; a link is none."""
    if system.leads_elsewhere(folder):
        return None
    try:
        with system.plain_file(folder / _FACTS) as file:
            facts = json.loads(file.read(_LARGEST))
        there = {
            path.name: path.stat().st_size for path in folder.iterdir() if not path.name.startswith((_FACTS, _DRAFT))
        }
    except (OSError, ValueError, RecursionError):
        return None
    return Entry(folder, facts) if isinstance(facts, dict) and facts.get("sizes") == there else None


def _made(top: Path, name: str, make: Callable[[Path], Facts]) -> Entry:
    draft = top / f"{_DRAFT}{name}"
    _drop(draft)  # left by a process that was killed
    try:
        draft.mkdir(mode=0o700)
        facts = make(draft)
        facts["sizes"] = {path.name: path.stat().st_size for path in draft.iterdir()}
        _write(draft / _FACTS, json.dumps(facts).encode())
        for path in [*draft.iterdir(), draft]:
            _sync(path)
        _drop(top / name)
        system.patiently(os.replace, draft, top / name)
        _sync(top)
    finally:
        _drop(draft)
    return Entry(top / name, facts)


def _drop(folder: Path) -> None:
    """Removes a folder with what is in it, first out of sight: half removed it is no entry. A link goes itself."""
    if system.leads_elsewhere(folder) or folder.is_file():
        folder.unlink(missing_ok=True)
        return
    with suppress(OSError):
        (folder / _FACTS).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _limit() -> float:
    """Bytes that all entries may take together."""
    typed = os.environ.get(LIMIT) or f"{_GIGABYTES}"
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", typed):
        raise ConfigError(f"{LIMIT}={typed[:40]}: write how many gigabytes may be kept, such as {LIMIT}=20")
    return float(typed) * 1e9


def _is_recent(entry: Entry) -> bool:
    """Whether a run may be about to open it."""
    return time.time() - entry.used < 60


def _lock(folder: Path) -> Path:
    """The lock of an entry or its draft, one of few which stay: who waits for a file that goes has no lock.

    Entries of one kind may be made for one of another, but not the other way round: so the kinds share none.
    """
    kind = folder.name.removeprefix(_DRAFT).partition("-")[0]
    return folder.with_name(f".lock-{kind}-{folder.name[-2:]}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = system.open_lock(path)
    try:
        system.wait_for_lock(handle)
        yield
    finally:
        os.close(handle)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    if not system.POSIX and path.is_dir():
        return
    handle = os.open(path, system.FLUSH)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- what an entry was made of ---------------------------------------------------------------------------------------


def named(kind: str, *decisive: object) -> str:
    """The name of an entry that all of these decide, and the program that makes it."""
    text = json.dumps([*decisive, _program()], default=str, sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@functools.cache
def _program() -> list[str]:
    """What makes entries: another program may make others of the same files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return [digest.hexdigest(), *(version(name) for name in ("numpy", "polars", "torch"))]


def state(path: Path) -> list[str | int]:
    """What tells whether a file is the same: place, size, some blocks of it, and its time and number on the disk.

    Of one that was only touched, or put back, the last two are others.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        for i in range(_BLOCKS):
            file.seek(max(0, status.st_size - _BLOCK) * i // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return [os.path.realpath(path), status.st_size, digest.hexdigest(), status.st_mtime_ns, status.st_ino]


def content(path: Path) -> str:
    """SHA-256 of a file, of which every byte is read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
