"""`dltrain clean [WHERE]`: removes what failed, diverged, or never got to a checkpoint."""

from __future__ import annotations

import argparse
import re
import socket
import time
from pathlib import Path

from dltrain.commands.rm import fault, remove
from dltrain.config import command_line
from dltrain.errors.output import say
from dltrain.runs import reading, run_folder


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain clean`."""
    about = "Removes runs that failed or diverged, and those killed before their first checkpoint; the same way as rm."
    parser = command_line.parser("clean", about)
    parser.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where to look (runs)")
    parser.add_argument("--yes", action="store_true", help="without being asked, for scripts")
    given = parser.parse_args(words)
    place = run_folder.place(given.folder)
    known = [reading.read(folder, sweep) for folder, sweep in reading.walk(place)]
    busy = {sweep for sweep in {run.sweep for run in known} if sweep and reading.is_alive(sweep)}
    useless = [run for run in known if _is_useless(run) and run.sweep not in busy and not fault(run.folder)]
    kept = {run.sweep for run in known if run not in useless}
    going = [run.sweep if run.sweep and run.sweep not in kept else run.folder for run in useless]
    if not going:
        say(f"nothing to clean in {place}: no run failed, diverged, or was killed before its first checkpoint")
        return 0
    return remove(list(dict.fromkeys(going)), yes=given.yes)


def _is_useless(run: reading.Run) -> bool:
    if run.status == "killed":
        return not reading.checkpoints(run.folder) and not _may_run_elsewhere(run.folder)
    return run.status in ("failed", "diverged")


def _may_run_elsewhere(folder: Path) -> bool:
    """Whether another machine took the run's lock within the last day: not every file system shares locks."""
    lock = folder / ".lock"
    holder = re.search(r" on (\S+) since ", reading.read_text(lock, 1 << 10) or "")
    return bool(holder) and holder[1] != socket.gethostname() and time.time() - lock.stat().st_mtime < 86_400
