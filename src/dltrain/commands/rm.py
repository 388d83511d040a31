"""`dltrain rm RUN ...`: runs and sweeps go only after a list of what goes, and a yes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dltrain.config import command_line
from dltrain.errors import BusyError, ConfigError, StorageError, system, tables
from dltrain.errors.output import one_line, say
from dltrain.insight import listing
from dltrain.runs import layout, reading, run_folder, storage

_HALF_REMOVED = re.compile(rf"\.del-{reading.STAMP.pattern}-\d+")


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain rm`."""
    parser = command_line.parser("rm", "Removes runs and sweeps, after showing what goes and a yes.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="its folder, its short id, last or best; or a sweep")
    parser.add_argument("--yes", action="store_true", help="without being asked, for scripts")
    given = parser.parse_args(words)
    found = [run_folder.find(name, sweeps=True, broken=True) for name in given.runs]
    unique = {folder.resolve(): folder for folder in found}
    inside = [path for path in unique if path.parent in unique]  # a job goes with its sweep
    return remove([folder for path, folder in unique.items() if path not in inside], yes=given.yes)


def remove(folders: Sequence[Path], *, yes: bool) -> int:
    """Shows what goes, asks, and removes it. Nothing goes if any of it may not."""
    for folder in folders:
        if why := fault(folder):
            raise ConfigError(f"{folder} stays: {why}; nothing was removed")
    for folder in folders:
        _check_idle(folder)
    rows = [["folder", "status", "size", ""], *([str(f), *_facts(f)] for f in folders)]
    say("\n".join(tables.table(rows, cut=True)))
    if not yes and not agreed(len(folders)):
        return 0
    for folder in folders:
        _remove_one(folder)
    say(f"removed {len(folders)}")
    return 0


def agreed(count: int) -> bool:
    """Whether somebody at the terminal wants to have gone what was listed; raises ConfigError where there is none."""
    if not sys.stdin.isatty():
        raise ConfigError("nothing was removed: there is no terminal to ask at; --yes removes what is listed")
    if _answer(f"remove {'this' if count == 1 else f'these {count}'} for good? [y/N] ") == "y":
        return True
    say("nothing was removed")
    return False


def _answer(question: str) -> str:
    """What is typed; nothing where the line ends before (Ctrl-D), is no text, or the terminal has gone."""
    try:
        return input(question).strip()
    except (EOFError, UnicodeDecodeError, OSError):
        say()
        return ""


def fault(folder: Path) -> str:
    """Why a folder may not be removed, or nothing: it must be one that dltrain made, and no link."""
    if system.leads_elsewhere(folder):
        return "it is a link"
    is_sweep = (folder / "sweep.json").is_file()
    if not is_sweep and not reading.is_run(folder):
        return "it is neither a run nor a sweep"
    if not (reading.STAMP.fullmatch(folder.resolve().name) or (folder / ".lock").is_file()):
        return "dltrain did not make it (its name is not a time, and it has no .lock)"
    return ""


def _check_idle(folder: Path) -> None:
    for path in (folder, *(job for job, _ in reading.walk(folder))):
        if reading.is_alive(path):
            raise BusyError(f"{path} is running; nothing was removed")


def _facts(folder: Path) -> list[str]:
    """Status, size, and what else one should know before it goes."""
    if (folder / "sweep.json").is_file():
        jobs = [reading.read(job) for job, _ in reading.walk(folder)]
        done = sum(job.status in reading.ENDED for job in jobs)
        status = f"sweep, {done} of {len(jobs)} done"
    else:
        status = reading.read(folder).status
    foreign = sorted(p.name for p in folder.iterdir() if not layout.OURS.fullmatch(p.name))
    return [status, listing.size(folder), one_line(f"with {', '.join(foreign)}") if foreign else ""]


def _remove_one(folder: Path) -> None:
    path = folder.resolve()
    try:
        with run_folder.Lock(path) as lock:
            if not system.POSIX:
                lock.release()  # a folder is not moved there while a file in it is open: so no other has it either
            storage.remove(path)
    except OSError as error:
        raise StorageError(f"{folder} can't be removed: {error.strerror}") from error
    with suppress(OSError):
        for left in path.parent.iterdir():  # by a removal that was killed
            if _HALF_REMOVED.fullmatch(left.name):
                storage.remove(left)
        if path.parent.parent == Path("runs").resolve():  # the last run of its name leaves no empty folder
            storage.disk.rmdir(path.parent)
