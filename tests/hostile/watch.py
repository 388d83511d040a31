"""Watches a process from within: what it opens, runs, imports and asks the network for; and what it left behind."""

import fcntl
import multiprocessing
import os
import re
import resource
import stat
import sys
from pathlib import Path

import dltrain
from dltrain.config.choices import CONFIGS
from dltrain.errors import system
from hostile.case import Case

HARMLESS = (sys.prefix, sys.base_prefix, "/usr/lib", "/usr/share", "/usr/local/lib", "/lib", "/dev/shm", "/dev/null")
HARMLESS += ("/dev/full", "/dev/urandom", str(CONFIGS), str(Path(dltrain.__file__).parent))
HARMLESS += ("/proc/driver/nvidia/gpus", "/sys/fs/cgroup")  # by which a sweep knows how many jobs have room
HARMLESS += ("/proc/cpuinfo", "/proc/meminfo")  # of /proc and /etc what libraries ask by themselves, of harmless cases
HARMLESS += ("/usr/local/share/fonts", "/usr/X11R6/lib", "/usr/X11/lib")  # where matplotlib looks for fonts
OWN = ("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TORCH_HOME", "SCIKIT_LEARN_DATA")  # where users let write
HARMLESS += tuple(os.path.realpath(p) for p in sys.path if p)
TEMPORARY = re.compile(
    r"(/tmp|/var/tmp|/usr/tmp)(/[a-z0-9_]{8}|/(tmp|matplotlib-)[a-z0-9_]{8}(/.*)?)?"
)  # of `tempfile`
LONGEST = 4096  # of a path: the system opens no longer one, and `realpath` takes half a minute for a million letters
GIT = re.compile(r"/(HEAD|commondir|packed-refs|refs/.*)")  # what the commit is read from
LOOSE = 6 << 30  # address space beyond what is taken: a case that takes more ends by itself
CHANGES = {
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.symlink": 2,
    "os.link": 2,
    "os.truncate": 1,
    "os.chmod": 1,
    "shutil.rmtree": 1,
    "os.utime": 1,
    "os.chown": 1,
    "os.setxattr": 1,
}
OTHERS = ("os.kill", "os.killpg", "socket.bind")  # what is signalled, or served
LOOKS = ("os.listdir", "os.scandir")
LIBRARIES = (  # what libraries run by themselves: of Python's `platform` and `ctypes`, and of matplotlib
    ["uname", "-p"],
    ["/sbin/ldconfig", "-p"],
    ["fc-list", "--help"],
    ["fc-list", "--format=%{file}\\n"],
    *([str(program), "-L"] for program in system._LISTING),  # a sweep's own, by places that are the system's
)
RUNS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
    "webbrowser.open",
)
ASKS = (
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
    "ftplib.connect",
    "http.client.connect",
)


class Watch:
    """From here on until `end`."""

    def __init__(self, case: Case, warm: Path, log: Path, *, listens: bool) -> None:
        self.case, self.on = case, True
        self.log = _high(os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600))  # workers write there, too
        self.warm = [str(warm)]  # the data of the sound runs
        assert not self._within(str(case.outside), HARMLESS), "what must not be read would count as harmless"
        named = {**os.environ, **case.environment}
        self.loose = named.get("TMPDIR") != str(case.root / "tmp")
        places = [p for name in OWN if (p := named.get(name) or "").startswith("/")]
        self.inside = [os.path.realpath(p) for p in (*case.own, *places)]
        self.before = _contents(case.outside)
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        self.taken = _memory("VmRSS") if listens else 0  # a process of its own takes all that it takes
        limit = _memory("VmSize") + LOOSE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if listens:
            sys.addaudithook(self._hear)

    def end(self) -> dict:
        """What was wrong, and the bytes of memory that were taken."""
        self.on = False
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
        memory = max(_memory("VmHWM"), children) - self.taken
        wrong = os.pread(self.log, 10_000, 0).decode(errors="replace").splitlines()[:10]
        after = _contents(self.case.outside)
        if changed := [n for n in before_and(self.before, after) if self.before.get(n) != after.get(n)]:
            wrong.append(f"changed outside: {changed[:5]}")
        if memory > 2 << 30:
            wrong.append(f"{memory >> 20:,} MB of memory")
        return {"wrong": wrong, "memory": memory}

    def _hear(self, event: str, given: tuple) -> None:
        if not self.on:
            return
        fault = None
        if event == "open":
            fault = self._opened(*given)
        elif event in CHANGES:
            paths = [p for p in given[: CHANGES[event]] if isinstance(p, (str, bytes, os.PathLike))]
            relative = any(isinstance(g, int) and g >= 0 for g in given[CHANGES[event] :]) and event not in (
                "os.mkdir",
                "os.chmod",
                "os.truncate",
            )
            away = [] if relative else [p for p in paths[-1:] if not self._ours(_parent(os.fsdecode(p)))]
            fault = f"{event} {away}" if away else None
        elif event == "ctypes.dlopen":
            own = "/" in str(given[0]) and self._within(os.path.realpath(str(given[0])), self.inside[:1])
            fault = f"{event} {given!r:.200}" if own else None
        elif event in OTHERS:
            ours = event == "os.kill" and (given[0] == os.getpid() or given[1] == 0)
            fault = None if ours or multiprocessing.active_children() else f"{event} {given!r:.200}"
        elif event in LOOKS:
            away = (
                isinstance(given[0], (str, bytes, os.PathLike))
                and not self.case.may_read
                and not self._within(os.path.realpath(os.fsdecode(given[0])), (*self.inside, *HARMLESS, *self.warm))
            )
            fault = f"{event} {given!r:.200}" if away else None
        elif event in RUNS and not (event == "subprocess.Popen" and [*map(str, given[1])] in LIBRARIES):
            fault = f"{event} {given!r:.200}"
        elif event in ASKS:
            if self.case.may_fetch:
                raise OSError("there is no network here")
            fault = f"{event} {given!r:.200}"
        elif event == "exec":
            file = getattr(given[0], "co_filename", "")
            away = not file.startswith("<") and self._within(os.path.realpath(file), self.inside[:1])
            fault = f"exec of {file}" if away else None
        elif event == "import":
            top = str(given[0]).split(".")[0]
            fault = (
                f"import of {given[0]}"
                if top in ("evil_pkg", "antigravity", "this", "idlelib", "turtle", "webbrowser")
                else None
            )
        elif event == "pickle.find_class" and given[0].split(".")[0] in (
            "os",
            "posix",
            "builtins",
            "subprocess",
            "pathlib",
            "nt",
            "shutil",
            "sys",
            "runpy",
            "importlib",
            "socket",
        ):
            fault = f"{event} {given}"
        if fault:
            os.write(self.log, f"{fault}\n".encode(errors="replace"))

    def _opened(self, path: object, mode: object, flags: int) -> str | None:
        if not isinstance(path, (str, bytes)) or len(path) > LONGEST:
            return None
        if flags & os.O_NOFOLLOW and os.path.islink(path):
            return None  # it is refused
        real = os.path.realpath(os.fsdecode(path))
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        if self._ours(real) or (real in ("/dev/null", "/dev/full") and writes):
            return None
        if writes:
            return f"opened to write: {path!r}"
        if path in ("/proc/self/maps", "/proc/self/cgroup"):  # which libraries have threads; how much memory there is
            return None
        git = any(GIT.fullmatch(real.removeprefix(place)) for place in self.case.repositories if real.startswith(place))
        allowed = git or self.case.may_read or self._within(real, (*HARMLESS, *self.warm))
        return None if allowed else f"opened: {path!r}"

    def _ours(self, path: str) -> bool:
        elsewhere = self.loose and TEMPORARY.fullmatch(path)  # where the user's own folder for it is none
        return self._within(path, self.inside) or bool(elsewhere)

    @staticmethod
    def _within(path: str, places: tuple | list) -> bool:
        return any(path == p or path.startswith(f"{p}/") for p in places)


def before_and(before: dict, after: dict) -> list:
    return sorted(before.keys() | after.keys())


def _high(handle: int) -> int:
    """The same file under a number that no stream has, one that is closed included."""
    high = fcntl.fcntl(handle, fcntl.F_DUPFD, 60)
    os.close(handle)
    return high


def _parent(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path))


def _memory(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


def _contents(folder: Path) -> dict[str, object]:
    """Name -> what stands there."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            facts = os.lstat(path)
            content = None
            if stat.S_ISREG(facts.st_mode) and facts.st_size < 1 << 24:
                with open(path, "rb") as file:
                    content = hash(file.read())
            found[os.path.relpath(path, folder)] = facts.st_mode, facts.st_size, content
    return found
