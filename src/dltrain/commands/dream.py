"""`dltrain dream RUN --class NAME`: what the net looks for, drawn and said."""

from __future__ import annotations

import argparse
import math
import re
from contextlib import suppress

from dltrain.config import command_line
from dltrain.errors.output import say
from dltrain.insight.dream import RATE, STEPS, describe, draw, number_of, of
from dltrain.runs import run_folder
from dltrain.trained import inference, judge


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain dream RUN --class NAME`: draws into the run's plots/, and says what is seen."""
    parser = command_line.parser(
        "dream", "What a net looks for: an input made to please it, and a real one that fools it."
    )
    parser.add_argument("run", metavar="RUN", help="its folder, its short id, or last")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="where its data are now: data.root, data.path"
    )
    parser.add_argument("--class", dest="wanted", metavar="NAME", help="class, label or target, by name or number")
    parser.add_argument("--seed", type=command_line.seed, default=0, help="of the noise at its start (%(default)s)")
    parser.add_argument("--steps", type=_steps, default=STEPS, metavar="N", help="of the descent (%(default)s)")
    parser.add_argument("--lr", type=_rate, default=RATE, metavar="RATE", help="the peak of its cycle (%(default)s)")
    parser.add_argument("--constant", action="store_true", help="that rate at each step, in place of a cycle up to it")
    command_line.output_option(parser, "the picture (RUN/plots/dream-NUMBER.png)")
    given = parser.parse_intermixed_args(words)
    folder = run_folder.find(given.run)
    allow, moved = command_line.allowed(options.allow), given.overrides
    trained = inference.open_run(folder, overrides=moved, allow=allow, data=True)
    wanted = number_of(trained.facts, given.wanted)
    picture = command_line.output(given, folder / "plots" / f"dream-{wanted}.png")
    rows = judge.choose_rows(trained, split="test", overrides=moved, allow_changed_data=options.allow_changed_data)
    seen = of(trained, wanted, rows.part, seed=given.seed, steps=given.steps, rate=given.lr, cycle=not given.constant)
    from dltrain.insight.plots import save

    with command_line.writing(picture, "; name another with -o FILE"):
        save(draw(trained, wanted, seen), picture)
    say(describe(trained, wanted, seen))
    say(f"picture    {picture}")
    return 0


def _steps(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text[:60]}: write a whole number from 1 to 999999")
    return int(text)


def _rate(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text[:60]}: write a number above zero")
