"""`dltrain clean [WHERE]`: removes what failed, diverged, or never got to a checkpoint; or what is kept of tables."""

from __future__ import annotations

import argparse
import re
import socket
import time
from pathlib import Path

from dltrain.commands.rm import agreed, fault, remove
from dltrain.config import command_line
from dltrain.errors import ConfigError, tables
from dltrain.errors.output import say
from dltrain.insight import listing
from dltrain.runs import reading, run_folder

_DAY = 86_400  # seconds


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain clean`."""
    about = "Removes runs that failed or diverged, and those killed before their first checkpoint; the same way as rm."
    parser = command_line.parser("clean", about)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="where to look (runs)")
    parser.add_argument("--yes", action="store_true", help="without being asked, for scripts")
    parser.add_argument("--cache", action="store_true", help="instead of runs, what is kept of large tables")
    parser.add_argument("--older-than", type=_days, metavar="DAYS", help="with --cache: what was not used for so long")
    given = parser.parse_args(words)
    if given.cache:
        if given.folder is not None:
            raise ConfigError(f"{given.folder} names runs, and --cache is about tables: leave out one of the two")
        return _clean_cache(given.older_than or 0, yes=given.yes)
    if given.older_than is not None:
        raise ConfigError("--older-than is for what is kept of tables: add --cache")
    place = run_folder.place(given.folder or "runs")
    known = [reading.read(folder, sweep) for folder, sweep in reading.walk(place)]
    busy = {sweep for sweep in {run.sweep for run in known} if sweep and reading.is_alive(sweep)}
    useless = [run for run in known if _is_useless(run) and run.sweep not in busy and not fault(run.folder)]
    kept = {run.sweep for run in known if run not in useless}
    going = [run.sweep if run.sweep and run.sweep not in kept else run.folder for run in useless]
    if not going:
        say(f"nothing to clean in {place}: no run failed, diverged, or was killed before its first checkpoint")
        return 0
    return remove(list(dict.fromkeys(going)), yes=given.yes)


def _days(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text[:60]}: write a number of days, such as 30")
    return float(text)


def _clean_cache(days: float, *, yes: bool) -> int:
    """Removes what was made of large tables; whoever needs it makes it anew."""
    from dltrain.data import cache

    going = [entry for entry in cache.entries() if time.time() - entry.used >= days * _DAY]
    if not going:
        unused = f" that was not used for {days:g} days" * (days > 0)
        say(f"nothing to clean in {cache.place()}: nothing is kept there{unused}")
        return 0
    rows = [["what is kept", "size", "last used"]]
    rows += [[str(entry.facts.get("about")), listing.size(entry.folder), _ago(entry.used)] for entry in going]
    say(
        "\n".join(
            [*tables.table(rows, cut=True), f"all that is kept takes {listing.size(cache.place())}: {cache.place()}"]
        )
    )
    if not yes and not agreed(len(going)):
        return 0
    gone = cache.remove(going)
    used = len(going) - gone
    say(f"removed {gone}" + f"; {used} {'is' if used == 1 else 'are'} in use" * (used > 0))
    return 0


def _ago(used: float) -> str:
    days = (time.time() - used) / _DAY
    return "today" if days < 1 else f"{days:,.0f} day{'s' * (days >= 1.5)} ago"


def _is_useless(run: reading.Run) -> bool:
    if run.status == "killed":
        return not reading.checkpoints(run.folder) and not _may_run_elsewhere(run.folder)
    return run.status in ("failed", "diverged")


def _may_run_elsewhere(folder: Path) -> bool:
    """Whether another machine took the run's lock within the last day: not every file system shares locks."""
    lock = folder / ".lock"
    holder = re.search(r" on (\S+) since ", reading.read_text(lock, 1 << 10) or "")
    return bool(holder) and holder[1] != socket.gethostname() and time.time() - lock.stat().st_mtime < _DAY
