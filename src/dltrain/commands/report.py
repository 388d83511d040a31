"""`dltrain report RUN ...`: one page with pictures of what was learned, of several runs who is better."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

from dltrain.config import command_line
from dltrain.errors import ConfigError
from dltrain.errors.output import say
from dltrain.insight import in_progress, page
from dltrain.insight.report import run_page, sweep_page
from dltrain.insight.several_page import several_page
from dltrain.runs import reading, run_folder, storage

_SHARE = 0.1  # of the time a page may take that is made again and again: the runs need their processors


def command(words: list[str], options: argparse.Namespace) -> int:
    """The command."""
    parser = command_line.parser("report", "Make one self-contained page, with pictures, of runs or sweeps.")
    parser.add_argument("run", help="a folder, a short id, or last")
    parser.add_argument("more", nargs="*", metavar="RUN", help="others, which are compared with it")
    command_line.output_option(parser, "the page; report.html in the folder when not given, of several compare.html")
    parser.add_argument(
        "--replay",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="train again, in memory, the runs that took at most so long, to show their way (default 20, 0: never)",
    )
    parser.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help="make the page again and again until they end; a browser that shows it follows",
    )
    given = parser.parse_args(words)
    folder = None if given.more else run_folder.find(given.run, sweeps=True)
    output = command_line.output(given, Path("compare.html") if folder is None else folder / "report.html")
    command_line.check_output(output)
    if not given.replay >= 0:
        raise ConfigError(f"--replay {given.replay:g}: give seconds, 0 or more")
    if given.every is not None and not 1 <= given.every <= 3600:
        raise ConfigError(f"--every {given.every:g}: give seconds, from 1 to 3600")
    allow = command_line.allowed(options.allow)
    text = _made(given, folder, output, allow) if given.every is None else _followed(given, folder, output, allow)
    say(f"{output}  ({len(text) / 1e6:.1f} MB; it needs no network)")
    return 0


def _made(given: argparse.Namespace, folder: Path | None, output: Path, allow: list[str]) -> str:
    """Writes the page, and returns it."""
    if folder is None:
        text = several_page([given.run, *given.more], allow=allow)
    elif (folder / "sweep.json").is_file():
        text = sweep_page(folder)
    else:
        text = run_page(reading.read(folder), allow=allow, seconds=given.replay)
    _write(output, text)
    return text


def _followed(given: argparse.Namespace, folder: Path | None, output: Path, allow: list[str]) -> str:
    """The page as it is when all has ended, or at Ctrl-C; until then it is made again and again."""
    places = [folder] if folder else [r.sweep or r.folder for r in run_folder.collect([given.run, *given.more])]
    going, waits, text = True, 0, ""
    try:
        while going:
            if text:
                _write(output, page.renewed(text, given.every))
            for _ in range(waits):
                time.sleep(given.every)
                if not in_progress.is_going(places):
                    break
            begin, going = time.monotonic(), in_progress.is_going(places)  # before: the last page is of their end
            text = _made(given, folder, output, allow)
            waits = max(1, math.ceil((time.monotonic() - begin) / _SHARE / given.every))
    except KeyboardInterrupt:  # which is how one leaves
        if not text:
            raise
        _write(output, text)
    return text


def _write(output: Path, text: str) -> None:
    with command_line.writing(output, "; name another file with -o"):
        storage.replace(output, text.encode())
