"""`dltrain lr`: a learning rate for what would be trained."""

from __future__ import annotations

import argparse
from pathlib import Path

from dltrain.config import command_line, compose
from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError
from dltrain.errors.output import say
from dltrain.insight.lr_range import describe, measure


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain lr`: measures, draws, and says what to type next. Raises ConfigError for a plan without a rate."""
    parser = command_line.parser("lr", "A learning rate for what would be trained: a short test of all, and a picture.")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for training")
    command_line.output_option(parser, "the picture (lr_range.png)")
    given = parser.parse_intermixed_args(words)
    picture = command_line.output(given, Path("lr_range.png"))
    composed = compose.compose(given.overrides, options.config_dir)
    plan = make_plan(composed, command_line.allowed(options.allow), writes=False)
    if "lr" not in plan.parts["optimizer"].names:
        raise ConfigError(f"{plan.parts['optimizer'].function.__name__} has no learning rate to look for")
    curve = measure(plan)
    from dltrain.insight.plots import save
    from dltrain.insight.plots.lr_range import draw

    with command_line.writing(picture, "; name another with -o FILE"):
        save(draw(curve.rates, curve.losses, curve.smooth, curve.start, curve.edge, curve.suggested), picture)
    say(describe(plan, curve, picture))
    return 0
