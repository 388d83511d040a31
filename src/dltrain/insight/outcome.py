"""What came of a run beyond its numbers: whether it began to learn its examples by heart, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from dltrain.config.plan import Plan
from dltrain.insight import history
from dltrain.runs import pulse, reading
from dltrain.runs.reading import Report
from dltrain.training import overview
from dltrain.training.summary import Summary

_FROM = "from epoch"


def told(plan: Plan, folder: Path, summary: Summary) -> str:
    """The table of a run that ended, with a line on each."""
    overfits = _overfit(plan, history.logged(reading.read(folder)))
    known = overview.result(plan, folder, summary, more=[f"overfit      {overfits}"] if overfits else [])
    return f"{known}\nnext         {_next(plan, folder, summary)}"


def sentences(plan: Plan, reports: Sequence[Report], summary: Summary) -> list[str]:
    """What a page says of a run that ended, below its title. reports: what it logged."""
    word, rest = overview.against_one_answer(plan, summary) or ("", "")
    result = f"It is {word} {rest}" if word == "no better" else f"{rest[:1].upper()}{rest[1:]}"
    overfits = _overfit(plan, reports)
    lines = [result, overfits if overfits.startswith(_FROM) else ""]
    return [f"{line[:1].upper()}{line[1:]}." for line in lines if line]


def _overfit(plan: Plan, reports: Sequence[Report]) -> str:
    """From which epoch on, or why not; nothing where that is not known."""
    found = None if plan.data.val is plan.data.train else history.overfit(reports)
    if found is None:
        return ""
    if not found:
        return history.not_overfit(reports)
    last = history.points(reports, "val/loss")[-1][0]
    when = f"{_FROM} {pulse.epoch(found)} of {pulse.epoch(last)} on"
    return f"{when}: the validation loss rises while the train loss falls"


def _next(plan: Plan, folder: Path, summary: Summary) -> str:
    """The command that makes most sense now: the doctor's where nothing was learned, else pictures of what was."""
    run = "last" if plan.runs_dir == Path("runs") else shlex.quote(str(folder))
    if summary["no_better"]:
        return f"dltrain doctor {run}: it says why nothing was learned"
    return f"dltrain report {run}: one page with pictures of what was learned"
