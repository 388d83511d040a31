"""The run folder: made exclusively, locked while in use, and enough by itself.

runs/<name>/<time>-<4 hex>/
    config.yaml       the complete configuration        environment.json   command, versions, device, git commit
    overrides.txt     what was typed                    metrics.jsonl      one line per report: the truth
    data.json         shapes, classes, what was fitted  events.out...      TensorBoard's view; of a job in lr=0.1/
    checkpoints/      step-XXXXXXXX/, best-XXXXXXXX/    summary.json       status, best, last, test, seconds
    progress.json     how far it is, and when that was
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from dltrain.errors import BusyError, ConfigError, StorageError, system
from dltrain.errors.paths import local
from dltrain.runs import ensemble_members, foreign, layout, reading, seeds, storage
from dltrain.runs.foreign import Values
from dltrain.runs.git_commit import commit
from dltrain.runs.reading import Run


def create(root: Path, name: str) -> Path:
    """A new folder root/name/<time>-<4 hex> that no other process can have made."""
    while True:
        folder = root / name / f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        try:
            named = folder.parent.is_dir()
            folder.parent.mkdir(parents=True, exist_ok=True)
            storage.disk.mkdir(folder)
            storage.sync(folder.parent)
            if not named:
                storage.sync(root)
            return folder
        except FileExistsError as error:
            if not folder.parent.is_dir():
                raise StorageError(f"{folder.parent} is in the way: it is a file") from error
        except OSError as error:
            raise StorageError(f"the run folder {folder} can't be made: {error.strerror}; set runs_dir=...") from error


def check_writable(root: Path) -> str | None:
    """Why run folders can't be made under `root`, or None."""
    parent = next(p for p in (root.absolute(), *root.absolute().parents) if os.path.exists(p))
    if not parent.is_dir():
        return f"{parent} is a file; name a folder"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"{parent} is not writable; name a folder that is"
    return None


class Lock:
    """Holds a run folder for this process, until it ends at the latest; a second process gets BusyError."""

    def __init__(self, folder: Path) -> None:
        self._held = os.path.realpath(folder)
        if self._held in reading.HELD:  # by another thread: the system gives a process its own lock again
            raise BusyError(f"{folder} is in use by this process")
        try:
            self._file = os.fdopen(system.open_lock(folder / ".lock"), "r+", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{folder} can't be locked: {error.strerror}") from error
        if os.fstat(self._file.fileno()).st_nlink > 1:
            self._file.close()
            raise StorageError(f"{folder / '.lock'} {layout.SECOND_NAME}")
        if not system.lock(self._file.fileno()):
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise BusyError(f"{folder} is in use by {holder}")
        reading.HELD.add(self._held)
        with suppress(OSError):  # who holds it is a courtesy to the others
            since = datetime.now().isoformat(" ", "seconds")
            self._file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
            self._file.truncate()

    def release(self) -> None:
        """Lets other processes have the folder."""
        reading.HELD.discard(self._held)
        self._file.close()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def write_json(path: Path, content: object, *, more_follows: bool = False) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never a part; NaN becomes null."""
    write_text(path, as_json(content), more_follows=more_follows)


def write_text(path: Path, text: str, *, more_follows: bool = False) -> None:
    """Writes a small text file whole or not at all; more_follows: see `storage.replace`."""
    write_texts(path.parent, {path.name: text}, more_follows=more_follows)


def write_texts(folder: Path, texts: Mapping[str, str], *, more_follows: bool = False) -> None:
    """Writes small text files of a folder, each whole or not at all, which waits for the disk only once."""
    try:
        storage.replace_all(folder, {name: text.encode() for name, text in texts.items()}, more_follows=more_follows)
    except OSError as error:
        named = folder / next(iter(texts)) if len(texts) == 1 else folder
        raise StorageError(f"{named} can't be written: {error.strerror}") from error


def write_overrides(folder: Path, overrides: Sequence[str]) -> None:
    """Writes what was typed to overrides.txt."""
    write_text(folder / "overrides.txt", as_lines(overrides))


def as_json(content: object) -> str:
    """The text of a JSON file; NaN becomes null."""
    return json.dumps(_finite(content), indent=2) + "\n"


def as_lines(overrides: Sequence[str]) -> str:
    """What was typed, one override a line; as a JSON text where it holds more than plain signs: whoever shows the file
    in a terminal must not be obeyed. `reading.Run.overrides` reads it back."""
    lines = (o if o.isprintable() and not o.startswith('"') else json.dumps(o) for o in overrides)
    return "".join(f"{line}\n" for line in lines)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and value not in (float("inf"), float("-inf")) and value == value:
        return value
    return None if isinstance(value, float) else value


def read_json(path: Path) -> object:
    """The content of a JSON file of a run folder."""
    try:
        return foreign.parse_json(foreign.read(path))
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def find(reference: str, root: Path = Path("runs"), *, sweeps: bool = False, broken: bool = False) -> Path:
    """The run folder that a user names: its path; its short id, as `dltrain runs` shows it, or its folder's name;
    `last`, the one begun or resumed last; `best`, by the validation metric that chose each one's best epoch.

    `WHERE/last` and `WHERE/best` look only there: in a folder, in one below `root`, or in the sweep of a short id.
    sweeps: the folder of a sweep will do too, and `last` is the sweep where it is a job of one; `SWEEP/last` is the
    job. broken: and that of a run which has no configuration yet.
    Raises ConfigError for none, or for several.
    """
    where, _, word = reference.rpartition("/")
    typed = local(reference)
    paths = [path for path in (typed, root / typed) if os.path.isdir(path)]
    if paths:
        named = paths[:1]
    elif word in ("last", "best"):
        scope = place(where, root) if where else root
        named = [_last(scope, sweeps=sweeps) if word == "last" else _best(scope)]
    else:
        named = _called(reference, root)
    if len(named) != 1:
        found = "no run" if not named else f"{len(named)} runs"
        raise ConfigError(f"{found} called `{reference}` in {root}; `dltrain runs` lists them")
    folder = named[0]
    if (folder / "sweep.json").is_file():
        if not sweeps:
            mean = f" (dltrain predict {folder} FILE answers by the mean of all)" if seeds.over_folds(folder) else ""
            raise ConfigError(f"{folder} is a sweep; name one of its runs: {folder}/0, or {folder}/best{mean}")
    elif not (folder / "config.yaml").is_file() and not (broken and reading.is_run(folder)):
        inside = f"; name one of the runs in it: {folder}/last, or {folder}/best" if any(reading.walk(folder)) else ""
        raise ConfigError(f"{folder} is not a run folder: it has no config.yaml{inside}")
    return folder


def _called(reference: str, root: Path) -> list[Path]:
    """The runs and sweeps with that short id or name; a sweep's job is `id/number`."""
    name, _, job = reference.partition("/")
    found = dict(reading.walk(root))
    known = list(dict.fromkeys(sweep or folder for folder, sweep in found.items()))
    named = [p for p in known if p.name == name or p.name.endswith(f"-{name}")]
    return [p / job for p in named if p / job in found] if job else named


def place(where: str, root: Path = Path("runs")) -> Path:
    """A folder with runs, as a user names it: its path, its name below `root`, the short id of a sweep or run, or what
    `find` knows as `last` and `best`.

    `root` itself need not be there yet.
    """
    typed = local(where)
    if typed == root:
        return root
    named = [path for path in (typed, root / typed) if os.path.isdir(path)]
    if not named and where.rpartition("/")[2] in ("last", "best"):
        return find(where, root, sweeps=True, broken=True)
    named = named or _called(where, root)
    if len(named) != 1 and not (named and os.path.isdir(typed)):
        raise ConfigError(f"there is no folder or sweep called `{where}`, here or in {root}; `dltrain runs` lists them")
    return named[0]


def collect(references: Sequence[str]) -> list[Run]:
    """The runs that are meant, each once: a run's folder or short id, or a folder of several, such as a sweep's."""
    found: dict[Path, Run] = {}
    for reference in references:
        paths = [p for p in (local(reference), Path("runs") / local(reference)) if p.is_dir()]
        if paths and not (paths[0] / "config.yaml").is_file() and (inside := list(reading.walk(paths[0]))):
            folders = inside  # a sweep, or runs under one name
        else:
            folder = find(reference, sweeps=True, broken=True)
            folders = list(reading.walk(folder))
        for folder, sweep in folders:
            found.setdefault(folder.resolve(), reading.read(folder, sweep))
    return list(found.values())


def _last(scope: Path, *, sweeps: bool) -> Path:
    known = [(path, sweep) for path, sweep in reading.walk(scope) if (path / "config.yaml").is_file()]
    if not known:
        raise ConfigError(f"there is no run in {scope} yet")
    folder, sweep = max(known, key=lambda found: (found[0] / "config.yaml").stat().st_mtime)
    return sweep if sweep and sweeps and sweep != scope else folder


def _best(scope: Path) -> Path:
    """The best run, as `seeds.best` has it, where all can be compared: on one problem, by one monitor."""
    found = [reading.read(folder, sweep) for folder, sweep in reading.walk(scope)]
    rated = [run for run in found if run.status != "running" and run.criterion in run.numbers]
    if (best := seeds.best(found)) is None:
        raise ConfigError(f"no run in {scope} has a best epoch yet")
    problems = [reading.problem(run) for run in rated]
    for key in dict.fromkeys(key for problem in problems for key in problem):
        if len(values := sorted({problem.get(key, "-") for problem in problems})) > 1:
            raise ConfigError(
                f"the runs in {scope} can't be compared, as {key} differs ({', '.join(values[:4])}); "
                f"name a folder or sweep of comparable ones, as in NAME/best, or see "
                f"dltrain runs {scope} --where {key}={values[0]} --sort {rated[0].monitor}"
            )
    return best.folder


def complete(folder: Path, steps: int = 0) -> bool:
    """Whether a run has ended by itself, with at least so many steps; raises ConfigError for an ensemble."""
    ensemble_members.check_none(folder)
    summary = reading.node(reading.read_json(folder / "summary.json")[0])  # a damaged one is written again
    status, done = summary.get("status"), summary.get("steps", 0)
    return status == "early_stopped" or (status == "done" and isinstance(done, int) and done >= steps)


def environment(command: Sequence[str], **facts: object) -> Values:
    """What a person needs to know to make the run again: command, versions, machine, git commit."""
    packages = ("dltrain", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "scikit-learn", "polars")
    return {
        "command": shlex.join(command),
        "folder": str(Path.cwd()),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in packages},
        "git": {"commit": found} if (found := commit(Path.cwd())) else None,
        **facts,
    }


@cache
def _version(package: str) -> str | None:
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    line = re.search(r"^Version: *(\S+) *$", found.read_text("METADATA") or "", re.MULTILINE)
    return line[1] if line else found.version  # which parses all of the file, in half a millisecond


class Stopwatch:
    """Seconds since it was made, plus those of earlier sessions of the same run."""

    def __init__(self, before: float = 0.0) -> None:
        self._before, self._start = before, time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._start
