"""`dltrain report A B ...`: several runs or sweeps on one page: who is better, in which numbers, and their curves."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from dltrain import __version__
from dltrain.insight import compare, entries, page, sweep_tables, trials
from dltrain.insight.differences import FEW, Tested, interval
from dltrain.insight.entries import Entry
from dltrain.insight.gallery import Gallery
from dltrain.insight.plots import comparison
from dltrain.parts import metrics
from dltrain.runs import seeds, sweep_table
from dltrain.runs.reading import Run

_NAMED = 5  # entries in the title


def several_page(references: Sequence[str], *, allow: Sequence[str]) -> str:
    """The page of what somebody names, the best first; raises ConfigError for fewer than two."""
    compared = entries.of(references)
    metric = compare.metric_of(compared)
    found, notes = compare.with_notes(compared, metric, allow=allow)
    gallery = Gallery(notes=notes)
    _curves(gallery, compared, metric)
    title = trials.listed([entry.name for entry in compared], most=_NAMED)
    sections = [
        page.section("Results, best first", _table(compared, metric, found)),
        page.section(
            "How they trained",
            page.figures(page.picture(p.title, p.caption, p.shown, p.seen, level=3) for p in gallery.pictures),
        ),
        page.section("Notes", page.bullets(gallery.notes)),
    ]
    return page.page(
        title,
        [
            page.heading(title, 1),
            *verdict(compared, metric, found),
            page.paragraph("In a terminal:"),
            page.command(f"dltrain compare {shlex.join(references)}"),
            page.contents(sections),
            *sections,
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def verdict(compared: Sequence[Entry], metric: str, found: Sequence[Tested]) -> list[str]:
    """Who is better and by how much, as paragraphs."""
    lines = compare.verdict(compared, metric, found)
    margin = "" if compare.other_problems(compared) else _margin(compared[0], found, metric)
    if not lines or not lines[0].startswith(f"{compared[0].name} has "):
        lines.insert(int(any(t.difference for t in found)), margin)
    made: list[str] = []
    for line in filter(None, lines):
        name = max((e.name for e in compared if line.startswith(e.name)), key=len, default="")
        text = line if name or re.match(r"\S*[._=]", line) else line[0].upper() + line[1:]  # a key stays what it is
        made.append(page.paragraph(f"{text}.", kind="verdict good", strong=name))
    return made


def _margin(base: Entry, found: Sequence[Tested], metric: str) -> str:
    """How far the second is from the first, unless that was tested over rows."""
    far, second = (found[0].difference, found[0].entry) if found else (None, base)
    if second is base or not (base.values(metric) and second.values(metric)) or (far and far.rows):
        return ""
    reached = [sweep_table.mean_and_deviation(metric, entry.values(metric)) for entry in (base, second)]
    told = f"{base.name} has {_told(metric)} {reached[0]}; {second.name}, the second, has {reached[1]}"
    if far is None:
        return told
    sign = -1 if far.mean < 0 else 1
    size, low, high = (metrics.difference(metric, sign * d) for d in (far.mean, *sorted((far.low, far.high))[::sign]))
    way = f"{' points' * metrics.in_percent(metric)} {'less' if sign < 0 else 'more'}"
    few = min(len(entry.values(metric)) for entry in (base, second)) < FEW  # whose interval goes beyond all reason
    by = _told(seeds.criterion([*base.runs, *second.runs]) or metric)
    behind = f"; the order is that of {by}" if (far.mean > 0) == metrics.larger_is_better(metric) and far.mean else ""
    return f"{told}, which is {size}{way}{'' if few else f' (95 % interval {low} to {high})'}{behind}"


def _order(compared: Sequence[Entry], metric: str) -> str:
    """By what the entries stand in their order, which need not be the metric that decides."""
    return f"In the order of {_told(seeds.criterion([run for entry in compared for run in entry.runs]) or metric)}"


def _told(metric: str) -> str:
    return metric.replace("best/", "validation ").replace("/", " ").replace("_", " ")


def _table(compared: Sequence[Entry], metric: str, found: Sequence[Tested]) -> str:
    """A row for each entry, its runs folded below: what decides, how far it is from the first, other metrics."""
    tested = {t.entry.name: t for t in found}
    others = [f"{part}/{name}" for name in metrics.MAIN for part in ("best", "test") if f"{part}/{name}" != metric]
    others += ["test/loss"] * compare.one_loss(compared)
    others = [name for name in others if any(entry.values(name) for entry in compared)]
    columns = {
        "": [entry.name for entry in compared],
        _told(metric): [sweep_table.mean_and_deviation(metric, entry.values(metric)) for entry in compared],
        "95 % interval": [compare.told_interval(metric, interval(entry.values(metric))) for entry in compared],
        "difference": [compare.told_difference(metric, tested.get(entry.name)) for entry in compared],
        "p": [compare.told_p(tested.get(entry.name)) for entry in compared],
        **{_told(n): [sweep_table.mean_and_deviation(n, entry.values(n)) for entry in compared] for n in others},
        "status": [", ".join(dict.fromkeys(_status(run) for run in entry.runs)) for entry in compared],
    }
    columns = {title: cells for title, cells in columns.items() if not {*cells} <= {"-", "done"}}
    below = [(_runs(entry), sweep_tables.runs(entry.runs, whole=False)) for entry in compared]
    caption = "; ".join([_order(compared, metric), *compare.footnote(compared, metric, found)])
    return page.table([*columns], [*zip(*columns.values(), strict=True)], below=below, text=[0], caption=f"{caption}.")


def _status(run: Run) -> str:
    return run.status.replace("_", " ")


def _runs(entry: Entry) -> str:
    going = next((f", at {run.pulse.told}" for run in entry.runs if run.status == "running" and run.pulse), "")
    return f"its {len(entry.runs)} {seeds.words(entry.runs)}{going}" if len(entry.runs) > 1 else f"its run{going}"


def _curves(gallery: Gallery, compared: Sequence[Entry], metric: str) -> None:
    groups = [(entry.name, [reports for _, reports in logs]) for entry, logs in compare.logged(compared)]
    if not groups:
        gallery.notes.append("no curves: none of them has reported")
        return
    most = f" Of {len(compared)} entries the best {compare.DRAWN} are drawn." if len(compared) > compare.DRAWN else ""
    several = any(len(entry.runs) > 1 for entry in compared)
    each = (
        "The mean over the runs of each, in a band of one standard deviation." if several else "A curve for each run."
    )
    caption = f"{each}{most}"
    gallery.add(
        "curves.png",
        "Learning curves",
        caption,
        lambda: comparison.curves(groups, metric=metric.partition("/")[2], losses=compare.one_loss(compared)),
    )
