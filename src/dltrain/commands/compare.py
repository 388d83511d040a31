"""`dltrain compare RUN RUN ...`: who is better, and whether the difference is more than noise."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dltrain.config import command_line
from dltrain.errors import streams
from dltrain.errors.output import say
from dltrain.insight import entries, history
from dltrain.insight.compare import as_data, draw, metric_of, told


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain compare`."""
    parser = command_line.parser("compare", "Compares runs, sweeps, or groups of seeds; the best comes first.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run, a sweep, or a folder with runs in it")
    parser.add_argument("--to", metavar="RUN", help="what the others are held against, in the place of the best")
    parser.add_argument("--by", metavar="KEY,KEY", default="", help="pool all that have one value of these keys")
    parser.add_argument("--x", choices=history.OVER, default="epochs", help="what the curves are drawn over")
    command_line.output_option(parser, "the picture (compare.png)")
    parser.add_argument("--json", action="store_true", help="the numbers, and no picture")
    given = parser.parse_args(words)
    picture = command_line.output(given, Path("compare.png"))
    compared = entries.of(given.runs, by=[key for key in given.by.split(",") if key], to=given.to)
    metric = metric_of(compared)
    allow = command_line.allowed(options.allow)
    if given.json:
        say(json.dumps(as_data(compared, metric, allow=allow), indent=1))
        streams.delivered()
        return 0
    drawn = draw(compared, metric, picture, over=given.x)
    say("\n\n".join([*told(compared, metric, allow=allow), drawn]))
    return 0
