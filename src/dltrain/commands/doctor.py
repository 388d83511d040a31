"""`dltrain doctor RUN`: what is wrong with a run, and what to try."""

from __future__ import annotations

import argparse
from pathlib import Path

from dltrain.config import command_line
from dltrain.config.plan import make_plan
from dltrain.errors.output import say
from dltrain.insight.doctor.doctor import findings, judgement
from dltrain.insight.doctor.examine import examine
from dltrain.runs import ensemble_members, run_folder
from dltrain.training import resuming


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain doctor`: prints the findings and the verdict; nothing is written."""
    parser = command_line.parser("doctor", "Looks into a run: data, loss, layers; says what is wrong, and what to try.")
    parser.add_argument("run", metavar="RUN", help="its folder, its short id, or last")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="where its data are now: data.root, data.path"
    )
    given = parser.parse_intermixed_args(words)
    folder = run_folder.find(given.run, Path("runs"))
    ensemble_members.check_none(folder)
    plan = make_plan(resuming.stored(folder, given.overrides), command_line.allowed(options.allow), writes=False)
    exam = examine(plan, folder)
    say("\n".join([f"run        {folder}", *findings(exam), *judgement(exam)]))
    return 0
