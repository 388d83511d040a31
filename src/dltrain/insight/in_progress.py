"""How far a run or a sweep in progress is, as the head of its page says it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dltrain.insight import page
from dltrain.runs import jobs, reading
from dltrain.runs.pulse import duration, per_second
from dltrain.runs.reading import Run


def is_going(places: Sequence[Path]) -> bool:
    """Whether a run at or below one of these folders is in progress; a sweep that holds its folder may be between two
    jobs.
    """
    found = ((folder, sweep) for place in places for folder, sweep in reading.walk(place))
    return any(map(reading.is_alive, places)) or any(reading.read(*each).status == "running" for each in found)


def of_run(run: Run) -> str:
    """How far a run is, by its last word, and what shows more; nothing of one that is not in progress."""
    if run.status != "running":
        return ""
    if (word := run.pulse) is None:
        return page.paragraph("It has not said yet how far it is.") + _watch(run.folder)
    epoch, step = (run.numbers.get(f"last/{name}") for name in ("epoch", "step"))
    told = [word.place]
    if epoch and step:
        told += [f"epoch {_epoch(word.step * epoch / step)} of {_epoch(word.total * epoch / step)}"]
    took, left, rate = run.seconds, word.left, word.rate
    times = [f"{duration(took)} so far"] if took is not None else []
    times += [f"{duration(left)} left"] if left else []
    times += [f"{per_second(rate)} steps/s"] if rate else []
    when = datetime.fromtimestamp(word.time).strftime("%Y-%m-%d %H:%M:%S")
    text = f"At {when} it is at {', '.join([*told, *times])}{f'; {run.reason}' if run.reason else ''}."
    return _shown(word.share, text, run.folder)


def _epoch(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def of_sweep(folder: Path, found: Sequence[Run]) -> str:
    """The same of a sweep."""
    if not (reading.is_alive(folder) or any(run.status == "running" for run in found)):
        return ""
    known = jobs.read(folder, found)
    return _shown(known.ended / known.total if known.total else 0.0, f"{known}.", folder)


def _shown(share: float, text: str, folder: Path) -> str:
    return f"{page.progress(share)}{page.paragraph(text)}{_watch(folder)}"


def _watch(folder: Path) -> str:
    where = shlex.quote(str(folder))
    return page.paragraph("To watch it, and to keep this page new until it ends:") + page.command(
        f"dltrain watch {where}\ndltrain report {where} --every 10"
    )
