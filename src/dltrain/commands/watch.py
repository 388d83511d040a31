"""`dltrain watch`: runs in progress, live."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain.config import command_line
from dltrain.errors.output import one_line, say
from dltrain.insight.watch import PLAIN_SIGNS, SIGNS, Line, Watcher
from dltrain.runs import reading, run_folder

if TYPE_CHECKING:
    from rich.text import Text

_ONCE = 40  # lines where no terminal says how many it has
_STYLES = {"plain": "", "head": "bold", "good": "green", "bad": "red"}
_SHARE = 0.2  # of the time a look may take, where there are so many runs that it takes long


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain watch`."""
    parser = command_line.parser(
        "watch", "What is in progress below a folder, until Ctrl-C; of one run or sweep, until it ends. Touches no run."
    )
    parser.add_argument("where", nargs="?", default="runs", metavar="RUN|SWEEP|WHERE", help="where to look (runs)")
    parser.add_argument("--once", action="store_true", help="one look, as off a terminal")
    parser.add_argument("--every", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (2)")
    given = parser.parse_args(words)
    place = run_folder.place(given.where)
    watcher = Watcher(place)
    live = not given.once and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    alone = (place / "sweep.json").is_file() or reading.is_run(place)
    try:
        going = watcher.look()
        if live and (going or not alone):
            _live(watcher, every=given.every, alone=alone)
    except KeyboardInterrupt:  # which is how one leaves
        pass
    for line in _page(watcher):
        say(one_line(line.text))
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text[:60]}: write a number from 0.1 to 3600")
    return seconds


def _page(watcher: Watcher) -> list[Line]:
    seen = sys.stdout.isatty()
    size = shutil.get_terminal_size()
    try:
        SIGNS.encode(sys.stdout.encoding or "utf-8")
        signs = SIGNS
    except UnicodeEncodeError:
        signs = PLAIN_SIGNS
    return watcher.page(size.columns if seen else 200, size.lines if seen else _ONCE, signs=signs)


def _live(watcher: Watcher, *, every: float, alone: bool) -> None:
    """Draws it again and again, on a screen of its own, which the terminal puts away afterwards."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        going = True
        while (going or not alone) and sys.stdout.isatty():  # as long as the terminal is there
            live.update(_styled(_page(watcher)), refresh=True)
            begin = time.perf_counter()
            going = watcher.look()
            took = time.perf_counter() - begin
            time.sleep(max(every - took, took * (1 / _SHARE - 1)))


def _styled(lines: Sequence[Line]) -> Text:
    from rich.text import Text

    parts = [Text(one_line(line.text), style=_STYLES[line.kind]) for line in lines]
    return Text("\n", no_wrap=True, overflow="ellipsis").join(parts)
