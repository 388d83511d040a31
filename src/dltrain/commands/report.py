"""`dltrain report RUN ...`: one page with pictures of what was learned, of several runs who is better."""

from __future__ import annotations

import argparse
from pathlib import Path

from dltrain.config import command_line
from dltrain.errors import ConfigError
from dltrain.errors.output import say
from dltrain.insight.report import run_page, sweep_page
from dltrain.insight.several_page import several_page
from dltrain.runs import reading, run_folder, storage


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
    given = parser.parse_args(words)
    folder = None if given.more else run_folder.find(given.run, sweeps=True)
    output = command_line.output(given, Path("compare.html") if folder is None else folder / "report.html")
    command_line.check_output(output)
    if not given.replay >= 0:
        raise ConfigError(f"--replay {given.replay:g}: give seconds, 0 or more")
    allow = command_line.allowed(options.allow)
    if folder is None:
        text = several_page([given.run, *given.more], allow=allow)
    elif (folder / "sweep.json").is_file():
        text = sweep_page(folder)
    else:
        text = run_page(reading.read(folder), allow=allow, seconds=given.replay)
    with command_line.writing(output, "; name another file with -o"):
        storage.replace(output, text.encode())
    say(f"{output}  ({len(text) / 1e6:.1f} MB; it needs no network)")
    return 0
