"""What differs between Linux, macOS and Windows: no other module knows a name that one of them lacks.

It was tried on Linux. The ways of the others are tested there with what they lack hidden, and what they have imitated.
"""

from __future__ import annotations

import errno
import importlib
import math
import os
import re
import signal
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any


def _module(name: str) -> Any:
    """A module that some systems lack."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")
POSIX = _fcntl is not None  # else a folder can't be opened, and what anybody has open is not moved, replaced or removed

# -- files ------------------------------------------------------------------------------------------------------

# Bytes as they are, for this process alone; a link is not followed, and a pipe not waited for.
_ALWAYS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_PLAIN = _ALWAYS | _NO_LINK | getattr(os, "O_NONBLOCK", 0)
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _ALWAYS
WRITE = os.O_WRONLY | os.O_CREAT | _PLAIN
_NOT_PLAIN = "it is not a plain file"
FLUSH = _ALWAYS | (os.O_RDONLY if POSIX else os.O_RDWR)  # what was not opened for writing can't be flushed there


def hasten(handle: int) -> None:
    """Has the system begin to put on the disk what was written to a file, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def plain_file(path: Path) -> BufferedReader:
    """A plain file, open for reading. Raises OSError for anything else, also for a link, and never waits."""
    before = None if _NO_LINK else _lstat_no_link(path)
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EINVAL, _NOT_PLAIN, str(path))
    handle = os.open(path, os.O_RDONLY | _PLAIN)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or not (before is None or os.path.samestat(before, status)):
        os.close(handle)
        raise OSError(errno.EINVAL, _NOT_PLAIN, str(path))
    return os.fdopen(handle, "rb")


def refuse_link(path: Path) -> None:
    """Raises OSError for a link, where opening itself would not."""
    if not _NO_LINK and os.path.lexists(path):
        _lstat_no_link(path)


def _lstat_no_link(path: Path) -> os.stat_result:
    status = os.lstat(path)
    if is_link(status):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return status


def is_link(status: os.stat_result) -> bool:
    """Whether what `lstat` told of leads elsewhere: a symbolic link, or a junction of Windows."""
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) == _JUNCTION


_JUNCTION = 0xA0000003  # stat.IO_REPARSE_TAG_MOUNT_POINT, where stat has it


def leads_elsewhere(path: Path) -> bool:
    """The same of a path; of one that is not there, no."""
    try:
        return is_link(os.lstat(path))
    except OSError:
        return False


def is_hollow(handle: int) -> bool:
    """Whether of a large file next to nothing is stored: a hole, which would be read as zeros.

    False where the system does not say. What a file system compresses it may store as few blocks, but none is a hole.
    """
    status, seek = os.fstat(handle), getattr(os, "SEEK_DATA", None)
    few = getattr(status, "st_blocks", status.st_size) * 512 < status.st_size // _LEAST_STORED
    if seek is None or not few or status.st_size < _LARGE:
        return False
    end, stored = 0, 0
    for _ in range(_PIECES):
        try:
            begin = os.lseek(handle, end, seek)
            end = os.lseek(handle, begin, os.SEEK_HOLE)
        except OSError:  # there is no more
            break
        stored += end - begin
    os.lseek(handle, 0, os.SEEK_SET)
    return stored < status.st_size // _LEAST_STORED


_LARGE, _LEAST_STORED, _PIECES = 64 << 20, 100, 1000  # bytes; one in so many is stored; pieces that are looked at


def cache_home() -> Path:
    """Where programs keep what they can make again, each in a folder of its own."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    named = Path(os.environ.get("XDG_CACHE_HOME") or "")
    if named.is_absolute():  # another one the standard of freedesktop.org has passed over
        return named
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def not_own(folder: Path) -> str:
    """Why a folder is not the user's alone, as far as the system has such rights: link, file, owner, mode; else ""."""
    status, user = os.lstat(folder), getattr(os, "geteuid", None)
    if is_link(status) or not stat.S_ISDIR(status.st_mode):
        return "link" if is_link(status) else "file"
    if user is None or status.st_uid != user():
        return "owner" if user else ""
    return "mode" if status.st_mode & 0o077 else ""


def patiently(change: Callable[..., object], *paths: Path) -> None:
    """Moves or removes. Where what is open can't be, it may soon be closed: a reader, or a scanner, had it."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            change(*paths)
            return
        except PermissionError:
            if POSIX or time.monotonic() > end:
                raise
            time.sleep(0.02)


_PATIENCE = 1.0  # seconds

# -- locks ------------------------------------------------------------------------------------------------------
# All vanish with their process. `lockf` rather than `flock`, on which the library filelock rests: it is freed even
# where a forked child lives on. Elsewhere a byte is locked that no file has, since what is locked can't be read.

_FAR = 1 << 30  # the byte
_ASKED = "hhqqi" if sys.platform == "linux" else "qqihhi"  # struct flock: there type first, elsewhere fourth
_TYPE = 0 if sys.platform == "linux" else 3


def open_lock(path: Path) -> int:
    """The handle of a lock file, which is made where there is none; raises OSError for a link, and never waits."""
    refuse_link(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o666)


def lock(handle: int) -> bool:
    """Takes a lock; False where another process has it. It lasts until the handle is closed."""
    if POSIX:
        try:
            _fcntl.lockf(handle, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            return True
        except OSError:
            return False
    end = time.monotonic() + _PATIENCE / 4  # who only asks has it for a moment
    while not _lock_far(handle):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def wait_for_lock(handle: int) -> None:
    """Takes a lock as soon as nobody else has it, also no other thread."""
    if POSIX:
        _fcntl.flock(handle, _fcntl.LOCK_EX)
        return
    while not _lock_far(handle):
        time.sleep(0.1)


def is_free(path: Path) -> bool:
    """Whether nobody has the lock that `wait_for_lock` takes, also no other thread."""
    try:
        handle = open_lock(path)
    except OSError:
        return False
    try:
        if not POSIX:
            return _lock_far(handle)
        _fcntl.flock(handle, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def hold(folder: int, *, alone: bool) -> bool:
    """Takes the lock of an open folder, alone or beside others; False where others have it. Not all disks know any."""
    try:
        _fcntl.flock(folder, (_fcntl.LOCK_EX if alone else _fcntl.LOCK_SH) | _fcntl.LOCK_NB)
        return True
    except OSError as error:
        return not isinstance(error, BlockingIOError)


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock; on POSIX this only asks, and nobody is kept from taking it."""
    try:
        with plain_file(path) as file:
            if POSIX:
                asked = [0] * len(_ASKED)
                asked[_TYPE] = _fcntl.F_WRLCK
                told = _fcntl.fcntl(file.fileno(), _fcntl.F_GETLK, struct.pack(_ASKED, *asked))
                return struct.unpack(_ASKED, told)[_TYPE] != _fcntl.F_UNLCK
            return not _lock_far(file.fileno())  # let go as it is closed
    except OSError:
        return False


def _lock_far(handle: int) -> bool:
    place = os.lseek(handle, 0, os.SEEK_CUR)
    try:
        os.lseek(handle, _FAR, os.SEEK_SET)
        _msvcrt.locking(handle, _msvcrt.LK_NBLCK, 1)
        return True
    except OSError:
        return False
    finally:
        os.lseek(handle, place, os.SEEK_SET)


# -- processes --------------------------------------------------------------------------------------------------

STOPS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)  # those that ask for a stop; SIGHUP is a terminal that closes, SIGBREAK Ctrl-Break of Windows
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGBREAK")
    if hasattr(signal, name)
)
parent = getattr(os, "getppid", os.getpid)  # who started this process; once that has gone another, but not on Windows


def stop_signal(name: str | None) -> int:
    """The signal that processes get which are to save and end; one of `STOPS` where it is named."""
    return next((number for number in STOPS if number.name == name), signal.SIGTERM)


def await_end(child: int, seconds: float) -> None:
    """Waits so long for the end of a child, whose number stays its own, where the system can do that."""
    end = time.monotonic() + seconds
    if wait := getattr(os, "waitid", None):
        with suppress(ChildProcessError):  # this process was started to let none of its own wait for it
            while wait(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None and time.monotonic() < end:
                time.sleep(0.01)


def kill_group(leader: int) -> None:
    """Kills the processes of a group, where the system has groups."""
    if kill := getattr(os, "killpg", None):
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of dead processes
            kill(leader, signal.SIGKILL)


@contextmanager
def without(name: str) -> Iterator[None]:
    """While it lasts, a variable of the environment is not there."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def processors() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor() -> tuple[str, int]:
    """Its maker and its family, by its own names: ("AuthenticAMD", 26); ("", 0) where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        import platform

        text = platform.processor()  # of Windows: AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD
    maker = re.search(r"AuthenticAMD|GenuineIntel", text)
    family = re.search(r"cpu family\s*:\s*(\d+)|Family (\d+)", text)
    return (maker[0] if maker else "", int(family[1] or family[2]) if family else 0)


def free_memory() -> float:
    """Bytes that this process could have now, by its machine and its control groups; infinite where nothing says so."""
    free = [math.inf]
    with suppress(OSError):
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        free += [int(found[1]) * 1024] if found else []
    for limit, used, facts in _memory_limits():
        with suppress(OSError, ValueError):  # files that are kept in memory give way
            kept = re.findall(r"^(?:total_)?(?:in)?active_file (\d+)", facts.read_text(encoding="ascii"), re.MULTILINE)
            free.append(limit - int(used.read_text(encoding="ascii")) + sum(map(int, kept[-2:])))
    return max(0, min(free))


@cache
def _memory_limits() -> list[tuple[int, Path, Path]]:
    """Limits in bytes, with the files that say what is used of them."""
    found: list[tuple[int, Path, Path]] = []
    for folder in control_groups("memory"):
        for limit, used in ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"):
            with suppress(OSError, ValueError):  # `max` is none, and so is what no machine has
                if (most := int((folder / limit).read_text(encoding="ascii"))) < 2**60:
                    found.append((most, folder / used, folder / "memory.stat"))
    return found


_CGROUP, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@cache
def control_groups(controller: str) -> list[Path]:
    """The folders of Linux's control groups, of both versions, whose limits hold for this process, its own first.

    controller: cpu, memory.
    """
    found: list[Path] = []
    with suppress(OSError, ValueError):
        for line in _OWN_GROUPS.read_text(encoding="utf-8", errors="replace").splitlines():
            _, names, place = line.split(":", 2)
            if names and controller not in names.split(","):
                continue
            top = _CGROUP / controller if names else _CGROUP
            own = top if ".." in place else top / place.lstrip("/")  # what a container can't see is not there
            found += [each for each in (own, *own.parents) if each.is_relative_to(top) and each.is_dir()]
    return found


_GPUS = Path("/proc/driver/nvidia/gpus")
_LISTING = (  # by its whole path: nothing is run that lies in some folder of the user's
    [Path(os.environ.get("SystemRoot", r"C:\Windows"), "System32", "nvidia-smi.exe")]  # noqa: SIM112
    if os.name == "nt"
    else [Path("/usr/lib/wsl/lib/nvidia-smi"), Path("/usr/bin/nvidia-smi")]
)
_SOON = 5.0  # seconds


@cache
def nvidia_gpus() -> int:
    """How many of NVIDIA's GPUs the driver lists. CUDA is not initialised."""
    with suppress(OSError):
        return len([*_GPUS.iterdir()])
    import subprocess

    for program in _LISTING:
        with suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run([program, "-L"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SOON)
            return len(re.findall(rb"^GPU \d+:", told.stdout, re.MULTILINE))
    return 0


# -- terminals --------------------------------------------------------------------------------------------------


def wait_for_room(handle: int) -> None:
    """Waits until a stream, which somebody made non-blocking, takes more. Windows has no such streams."""
    import select

    none: list[int] = []
    select.select(none, [handle], none)


def encoding(stream: object, number: int) -> str:
    """How letters are written to a standard stream as bytes. Python writes to a console of Windows in letters, and so
    has no say about its bytes.
    """
    if _msvcrt is not None and os.isatty(number):
        import ctypes

        kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009 - of Windows alone
        return f"cp{kernel.GetConsoleOutputCP()}"
    return getattr(stream, "encoding", None) or "utf-8"
