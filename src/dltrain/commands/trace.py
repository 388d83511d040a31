"""`dltrain trace`: the first step of what would be trained, in numbers."""

from __future__ import annotations

import argparse

from dltrain.config import command_line, compose
from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError
from dltrain.errors.output import say
from dltrain.insight.trace import show, trace


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain trace`: prints the first step of what would be trained, and trains nothing."""
    about = "The first training step, number by number: forward, backward, update. Try experiment=worked_example."
    parser = command_line.parser("trace", about)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for training")
    given = parser.parse_intermixed_args(words)
    if runs := [word for word in given.overrides if word == "last" or ("/" in word and not {*word} & {"=", "~"})]:
        raise ConfigError(
            f"trace takes no run, as `{runs[0]}` is: name what would be trained, such as data=iris model=linear"
        )
    composed = compose.compose(given.overrides, options.config_dir)
    plan = make_plan(composed, command_line.allowed(options.allow), writes=False)
    say(show(trace(plan)))
    return 0
