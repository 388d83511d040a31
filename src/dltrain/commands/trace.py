"""`dltrain trace`: the first step of what would be trained, in numbers."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from dltrain.config import command_line, compose
from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError
from dltrain.errors.output import say
from dltrain.insight.trace import show, trace
from dltrain.runs import storage


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain trace`: prints the first step of what would be trained, or makes a page of it, and trains nothing."""
    about = "The first training step, number by number: forward, backward, update. Try experiment=worked_example."
    parser = command_line.parser("trace", about)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for training")
    parser.add_argument("--modules", action="store_true", help="told of modules (z^k, W^k, delta^k), whatever the net")
    parser.add_argument("--html", action="store_true", help="a page with a drawing of the net at each moment instead")
    command_line.output_option(parser, "the page of --html (trace.html)")
    given = parser.parse_intermixed_args(words)
    if runs := [word for word in given.overrides if word == "last" or ("/" in word and not {*word} & {"=", "~"})]:
        raise ConfigError(
            f"trace takes no run, as `{runs[0]}` is: name what would be trained, such as data=iris model=linear"
        )
    if not given.html and (given.output or given.force):
        raise ConfigError(f"{'-o' if given.output else '--force'} is for the page of a trace: add --html")
    output = command_line.output(given, Path("trace.html"))
    if given.html:
        command_line.check_output(output)
    composed = compose.compose(given.overrides, options.config_dir)
    traced = trace(make_plan(composed, command_line.allowed(options.allow), writes=False), modules=given.modules)
    if not given.html:
        say(show(traced))
        return 0
    from dltrain.insight.trace_page import trace_page

    typed = [*(f"--allow={name}" for name in options.allow), *["--modules"] * given.modules, *given.overrides]
    text = trace_page(traced, shlex.join(["dltrain", "trace", *typed]))
    with command_line.writing(output, "; name another file with -o"):
        storage.replace(output, text.encode())
    say(f"{output.absolute()}  ({len(text) / 1e6:.1f} MB; it needs no network)")
    return 0
