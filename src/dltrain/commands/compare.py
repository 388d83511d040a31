"""`dltrain compare RUN RUN ...`: what differs, and whether the difference is more than noise."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dltrain.config import command_line
from dltrain.errors import streams
from dltrain.errors.output import say
from dltrain.insight.compare import as_data, compared_of, draw, metric_of, told


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain compare`."""
    parser = command_line.parser(
        "compare", "Compares runs, sweeps, or groups of seeds; the first is what others are held against."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run, a sweep, or a folder with runs in it")
    command_line.output_option(parser, "the picture (compare.png)")
    parser.add_argument("--json", action="store_true", help="the numbers, and no picture")
    given = parser.parse_args(words)
    picture = command_line.output(given, Path("compare.png"))
    compared = compared_of(given.runs)
    metric = metric_of(compared)
    if given.json:
        say(json.dumps(as_data(compared, metric), indent=1))
        streams.delivered()
        return 0
    drawn = draw(compared, metric, picture)
    say("\n\n".join([*told(compared, metric), drawn]))
    return 0
