"""A stand-in for a system that is not Linux: what it lacks is hidden from dltrain, and its habits are imitated.

`DLTRAIN_TEST_SYSTEM=other pytest -p other_system`, with tests/ on Python's path, runs any tests under it. Names of `os`
and `signal` that Windows lacks are not there for dltrain, nor are modules like fcntl. Files are opened as text unless
O_BINARY is given, a folder can't be opened, a link is followed, what is open can't be moved, replaced or removed, only
`replace` writes over a file, what was opened for reading can't be flushed, bytes are locked by `msvcrt`, nothing forks.
"""

import builtins
import errno
import fcntl
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import types
from contextlib import contextmanager

EVERYWHERE = {  # names that Linux, macOS and Windows have; one that is missing is to be looked up in Python's manual
    "os": {
        *("DirEntry", "PathLike", "SEEK_CUR", "SEEK_END", "SEEK_SET", "W_OK", "X_OK", "access", "close", "cpu_count"),
        *("devnull", "environ", "fdopen", "fsencode", "fspath", "fstat", "fsync", "getcwd", "getpid", "isatty"),
        *("linesep", "listdir", "lseek", "lstat", "makedirs", "mkdir", "name", "path", "read", "remove", "replace"),
        *("rmdir", "scandir", "sep", "set_inheritable", "stat", "stat_result", "strerror", "unlink", "utime", "write"),
        *("walk", "dup", "dup2", "_exit", "readlink"),
        *("fsdecode", "open", "O_APPEND", "O_CREAT", "O_EXCL", "O_RDONLY", "O_RDWR", "O_TRUNC", "O_WRONLY"),
    },
    "signal": {"SIGINT", "SIGTERM", "SIG_DFL", "SIG_IGN", "Signals", "getsignal", "signal", "default_int_handler"},
    "socket": {"SHUT_WR", "create_connection", "gethostname", "socket", "socketpair"},
    "time": {"monotonic", "perf_counter", "sleep", "time", "time_ns"},
}
POSIX_ALONE = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")

_BINARY, _NOINHERIT = 1 << 29, 1 << 28
_real = types.SimpleNamespace(**{n: getattr(os, n) for n in ("open", "replace", "rename", "unlink", "remove", "rmdir")})


class _Hidden(types.ModuleType):
    """A module as dltrain sees it: names that are everywhere, and those given."""

    def __init__(self, module, **own):
        super().__init__(module.__name__)
        self.__dict__.update({"_module": module, "_own": own})

    def __getattr__(self, name):
        own, module = self.__dict__["_own"], self.__dict__["_module"]
        if name in own:
            return own[name]
        if name not in EVERYWHERE[module.__name__]:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(module, name)


def _refused(path):
    return PermissionError(errno.EACCES, "The process cannot access the file: it is used by another process", str(path))


def _check_closed(path):
    """Nothing at a path, or below it, may be open."""
    if isinstance(path, int):
        return
    whole = os.path.realpath(os.path.dirname(os.fsdecode(path)) or ".") + "/" + os.path.basename(os.fsdecode(path))
    for number in os.listdir("/proc/self/fd"):
        try:
            opened = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if opened == whole or opened.startswith(f"{whole}/"):
            raise _refused(path)


def _closed_first(name):
    def change(*paths, **knobs):
        if not knobs:
            for path in paths:
                _check_closed(path)
            if name == "rename" and os.path.lexists(paths[1]):
                raise FileExistsError(errno.EEXIST, "it is there already", str(paths[1]))
        return getattr(_real, name)(*paths, **knobs)

    return change


def _for_reading(handle):
    return fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def _open(path, flags, mode=0o777, **knobs):
    assert not knobs, "no dir_fd"
    text = not flags & _BINARY and os.fspath(path) != os.devnull
    assert not text, f"{path} is opened as text: without O_BINARY each line's end changes"
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return _real.open(path, flags & ~(_BINARY | _NOINHERIT), mode)


def _fsync(handle):
    if _for_reading(handle):
        raise OSError(errno.EBADF, "Bad file descriptor")
    os.fsync(handle)


def _locking(handle, mode, size):
    """A lock of an open file, which another handle meets also in this process, and which keeps no reader out."""
    import struct

    kind = {2: fcntl.F_WRLCK, 0: fcntl.F_UNLCK}[mode]
    place = os.lseek(handle, 0, os.SEEK_CUR)
    asked = struct.pack("hhqqi", kind, os.SEEK_SET, place, size, 0)
    try:  # a handle for reading may lock, too, which Linux does not allow
        again = os.open(f"/proc/self/fd/{handle}", os.O_RDWR) if _for_reading(handle) else handle
        try:
            fcntl.fcntl(again, fcntl.F_OFD_SETLK, asked)
        finally:
            if again != handle:
                os.close(again)
    except OSError as error:
        raise PermissionError(errno.EACCES, "Permission denied") from error


def _no_fork(*_):
    raise AssertionError("nothing forks here")


@contextmanager
def holding(path):
    """Another process, on the same system, that takes a lock; and whether it got it."""
    code = (
        "import sys, time, pathlib, other_system\n"
        "from dltrain.errors import system\n"
        "print(system.lock(system.open_lock(pathlib.Path(sys.argv[1]))), flush=True)\n"
        "time.sleep(600)"
    )
    command, path = [sys.executable, "-c", code, str(path)], os.pathsep.join(sys.path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as process:
        try:
            yield process, process.stdout.readline() == b"True\n"
        finally:
            process.kill()


def imitate():
    """For the rest of this process; before anything of dltrain is imported."""
    assert not any(name.split(".")[0] == "dltrain" for name in sys.modules)
    for library in ("multiprocessing.popen_spawn_posix", "subprocess", "tempfile", "shutil", "getpass", "asyncio"):
        __import__(library)  # they decide by what there is when they are imported
    for name in ("replace", "rename", "unlink", "remove", "rmdir"):
        setattr(os, name, _closed_first(name))
    own = {"O_BINARY": _BINARY, "O_NOINHERIT": _NOINHERIT, "open": _open, "fsync": _fsync}
    seen = {"os": _Hidden(os, **own), "signal": _Hidden(signal)}
    seen["msvcrt"] = types.SimpleNamespace(locking=_locking, LK_NBLCK=2, LK_UNLCK=0)
    real, import_module = builtins.__import__, importlib.import_module

    def imported(name, globals=None, locals=None, fromlist=(), level=0):
        if str((globals or {}).get("__name__")).partition(".")[0] == "dltrain" and not level:
            if name in POSIX_ALONE:
                raise ImportError(f"No module named {name!r}")
            if name in seen:
                return seen[name]
        return real(name, globals, locals, fromlist, level)

    def by_name(name, package=None):
        home = sys._getframe(1).f_globals.get("__name__", "")
        if home.partition(".")[0] == "dltrain" and name in (*POSIX_ALONE, *seen):
            return imported(name, {"__name__": home})
        return import_module(name, package)

    builtins.__import__, importlib.import_module = imported, by_name
    multiprocessing.set_start_method("spawn")
    os.fork = os.forkpty = _no_fork


if os.environ.get("DLTRAIN_TEST_SYSTEM") == "other":
    imitate()
