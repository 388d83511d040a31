"""`dltrain report A B ...`: several runs or sweeps on one page: who is better, in which numbers, and their curves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from dltrain import __version__
from dltrain.insight import compare, entries, page, sweep_tables
from dltrain.insight.differences import Tested, interval
from dltrain.insight.entries import Entry
from dltrain.insight.gallery import Gallery
from dltrain.insight.plots import comparison
from dltrain.parts import metrics
from dltrain.runs import seeds, sweep_table
from dltrain.runs.reading import Run


def several_page(references: Sequence[str], *, allow: Sequence[str]) -> str:
    """The page of what somebody names, the best first; raises ConfigError for fewer than two."""
    compared = entries.of(references)
    metric = compare.metric_of(compared)
    found, notes = compare.with_notes(compared, metric, allow=allow)
    gallery = Gallery(notes=notes)
    _curves(gallery, compared, metric)
    title = " and ".join(entry.name for entry in compared) if len(compared) < 4 else f"{len(compared)} entries"
    sections = [
        page.section(_order(compared, metric), _table(compared, metric, found)),
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
            *(page.paragraph(line, kind="verdict good") for line in compare.verdict(compared, metric, found)),
            page.paragraph("In a terminal:"),
            page.command(f"dltrain compare {shlex.join(references)}"),
            page.contents(sections),
            *sections,
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def _order(compared: Sequence[Entry], metric: str) -> str:
    """By what the entries stand in their order, which need not be that of the metric that decides."""
    first = seeds.criterion([run for entry in compared for run in entry.runs]) or metric
    if first == metric:
        return f"By {_told(metric)}, the best first"
    shown = _told(metric)
    return f"{shown[0].upper()}{shown[1:]}, the best {_told(first)} first"


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
    caption = " ".join(compare.footnote(compared, metric, found))
    return page.table([*columns], [*zip(*columns.values(), strict=True)], below=below, text=[0], caption=caption)


def _status(run: Run) -> str:
    return run.status.replace("_", " ")


def _runs(entry: Entry) -> str:
    going = next((f", at {run.pulse.told}" for run in entry.runs if run.status == "running" and run.pulse), "")
    return f"its {len(entry.runs)} {seeds.words(entry.runs)}{going}" if len(entry.runs) > 1 else f"its run{going}"


def _curves(gallery: Gallery, compared: Sequence[Entry], metric: str) -> None:
    groups = [(entry.name, [reports for _, reports in logs]) for entry, logs in compare.logged(compared)]
    if not groups:
        gallery.notes.append("no curves: none of them has reported yet")
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
