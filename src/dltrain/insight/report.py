"""`dltrain report RUN`: the pictures of a run, in its `plots/`, in TensorBoard and in one page for a person."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from dltrain import __version__
from dltrain.errors import CheckpointError, StorageError
from dltrain.errors.output import say
from dltrain.insight import compare, entries, in_progress, page, plots, several_page, sweep_pictures, sweep_tables
from dltrain.insight.gallery import Gallery, Picture
from dltrain.parts import metrics
from dltrain.runs import ensemble_members, layout, pulse, reading, seeds, tensorboard
from dltrain.runs.reading import Run

_ANSWERS = "What it answers"
_ABOUT = {  # sections: the pictures of each, by their names; all others are of answers
    "How it trained": (
        "curves",
        "schedule",
        "clipping",
        "mistakes_by_epoch",
        "layers",
        "layers_by_step",
        "gradients",
        "augmented",
    ),
    _ANSWERS: (),
    "Its weights": ("weights", "weights_by_step", "weights_by_size", "landscape", "walk"),
}
_KEPT = {"config.yaml": "configuration", "environment.json": "machine and versions"}  # files of a run that are shown
_FAILED = 100  # runs of a sweep whose end is told one by one


def run_page(run: Run, *, allow: list[str], seconds: float) -> str:
    from dltrain.insight import ensemble_pictures, pictures  # and torch, which the page of a sweep does without

    if ensemble_members.are_in(run.summary):
        gallery = ensemble_pictures.of_ensemble(run, allow=allow)
    else:
        gallery = pictures.of_run(run, allow=allow, seconds=seconds)
    _leave(run.folder, run.steps or 0, gallery)
    title = f"{run.folder.parent.name}/{run.folder.name}"
    verdict = [" ".join(line.split()[1:]) for line in gallery.verdict]
    kept = [page.verbatim(_text(run.folder / name), under=said) for name, said in _KEPT.items()]
    sections = [
        page.section("Result", _metrics(run)),
        *_groups(gallery),
        _numbers(run, gallery),
        _doctor(verdict[1:], gallery.findings),
        page.section("Notes", page.bullets([*_notes(run), *gallery.notes])),
        page.section("What was trained", page.verbatim(gallery.about)),
        page.section("Do it again", page.command(run.command or "(its command is not known)")),
        page.section("Everything else", *kept),
    ]
    return page.page(
        title,
        [
            page.heading(title, 1),
            page.status(run.status),
            _came_of_it(run, gallery),
            page.paragraph(_outcome(run)),
            in_progress.of_run(run),
            page.paragraph(f"The doctor: {verdict[0]}" if verdict else "", kind=_kind(gallery)),
            _next(run, gallery),
            page.contents(sections),
            *sections,
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def _doctor(more: list[str], findings: str) -> str:
    """What it says beside the first line, which stands under the title, and what it looked at."""
    if more:
        return page.section(
            "What else the doctor says", page.bullets(more), page.verbatim(findings, under="what it looked at")
        )
    return page.section("What the doctor looked at", page.verbatim(findings))


def _came_of_it(run: Run, gallery: Gallery) -> str:
    """The result beside the trivial one."""
    text = " ".join(gallery.outcome)
    kind = "verdict" if run.summary.get("no_better") else "verdict good"
    return page.paragraph(text, kind=kind, strong=text.partition(",")[0])


def _kind(gallery: Gallery) -> str:
    return "verdict" if gallery.verdict[:1] and gallery.verdict[0].startswith("complaint") else "verdict good"


def _next(run: Run, gallery: Gallery) -> str:
    """The command that makes sense now; none while it runs."""
    folder = shlex.quote(str(run.folder))
    if run.status == "running" or not run.command:
        return ""
    if run.status in ("stopped", "killed"):
        said, words = "To go on with it:", f"dltrain resume {folder}"
    elif run.status in ("diverged", "failed") or (gallery.verdict[:1] and gallery.verdict[0].startswith("complaint")):
        said, words = "To look further:", f"dltrain doctor {folder}"
    else:
        said, words = "To see how much of it is chance:", f"{run.command} seeds=5"
    return f"{page.paragraph(said)}{page.command(words)}"


def _groups(gallery: Gallery) -> list[str]:
    """The pictures, in sections by what they are about."""
    shown = {title: page.figures(_figure(p) for p in gallery.pictures if _about(p) == title) for title in _ABOUT}
    return [
        page.section(title, inside, _worst(gallery) if title == _ANSWERS else "") for title, inside in shown.items()
    ]


def _worst(gallery: Gallery) -> str:
    titles, rows = gallery.worst
    if not rows:
        return ""
    caption = "Of the test part, the worst first; dltrain eval RUN --wrong FILE writes all of them."
    text = [0] if "error" in " ".join(titles) else [0, 1, 2]
    return page.folded("the worst answers one by one", page.table(titles, rows, text=text, caption=caption))


def _about(picture: Picture) -> str:
    name = picture.name.partition(".")[0]
    return next((title for title, names in _ABOUT.items() if name in names), _ANSWERS)


def _figure(picture: Picture) -> str:
    return page.picture(picture.title, picture.caption, picture.shown, picture.seen, level=3)


def _numbers(run: Run, gallery: Gallery) -> str:
    """The weights of a small net."""
    if gallery.numbers is None:
        return ""
    from dltrain.insight import captions, weight_pictures

    about, tables, names, _ = gallery.numbers
    title = f"The {captions.weights(run)}, in numbers"
    shown = [weight_pictures.moving(gallery.numbers)] if names else [page.table(*table) for table in tables]
    return page.section(title, page.paragraph(about), *shown)


def _notes(run: Run) -> list[str]:
    """What was said of the data, and on how much of the train part the best weights were judged."""
    data = reading.node(reading.read_json(run.folder / "data.json")[0])
    said = data.get("notes")
    notes = [str(note) for note in said] if isinstance(said, list) else []
    have, judged = (reading.node(x).get("train") for x in (data.get("rows"), run.summary.get("rows_judged")))
    if have != judged is not None:
        notes.append(f"train is judged on {judged} of its {have} rows")
    return notes


def sweep_page(folder: Path) -> str:
    found = [reading.read(path, sweep) for path, sweep in reading.walk(folder)]
    groups = seeds.ranked(found)
    gallery = sweep_pictures.of_sweep(groups)
    _leave(folder, 0, gallery)
    title = f"{folder.parent.name}/{folder.name}"
    failed = [f"run {j.folder.name}: {j.status}{': ' * bool(j.reason)}{j.reason}" for j in found if j.reason]
    sections = [
        sweep_tables.ranking(groups, folder),
        page.section(
            "What decides" if len(groups) > 1 else "How they trained", page.figures(map(_figure, gallery.pictures))
        ),
        page.section("Notes", page.bullets([*gallery.notes, *failed[:_FAILED]])),
    ]
    return page.page(
        title,
        [
            page.heading(title, 1),
            page.paragraph(f"A sweep of {len(found)} runs: {entries.statuses(found)}."),
            *_winner(found),
            in_progress.of_sweep(folder, found),
            _again(folder, groups),
            page.contents(sections),
            *sections,
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def _again(folder: Path, groups: Sequence[Sequence[Run]]) -> str:
    """The command that makes sense now."""
    there = shlex.quote(str(folder))
    if not groups:
        return ""
    if all(map(seeds.failed, groups)):
        said, words = "To try again those that failed:", f"dltrain resume {there} --retry-failed"
    elif len(groups) == 1 and seeds.over_folds(folder):
        said, words = "To ask all of them of new rows, for the mean of their answers:", f"dltrain predict {there} FILE"
    elif len(groups) == 1 < len(groups[0]):
        return ""  # that one of them was the best is chance
    else:
        said, words = "The best run again:", groups[0][0].command
    return f"{page.paragraph(said)}{page.command(words)}" if words else ""


def _winner(found: Sequence[Run]) -> list[str]:
    """Which entry is ahead and by how much, as the page of several runs says it; no net is asked anew."""
    rated = [run for run in found if run.criterion in run.numbers and not seeds.failed([run])]
    compared = entries.entries(rated) if len(rated) > 1 else []
    metric = compare.metric_of(compared) if compared else ""
    there = [entry for entry in compared if entry.values(metric)]
    return several_page.verdict(there, metric, compare.against_first(there, metric)) if len(there) > 1 else []


def _leave(folder: Path, step: int, gallery: Gallery) -> None:
    """The pictures as files and in TensorBoard; a folder that can't be written has them in the page alone."""
    try:
        layout.check(folder, written=True)
        files = [made for made in gallery.pictures if made.content]
        for made in files:
            plots.save_bytes(made.content, folder / "plots" / made.name)
        shown = {made.name.partition(".")[0]: made.content for made in files}
        tensorboard.write_pictures(folder, step, shown, gallery.graph)
    except (OSError, StorageError, CheckpointError) as error:
        reason = getattr(error, "strerror", error)
        say(f"note: the pictures are in the page alone, {folder} can't be written: {reason}", error=True)


def _outcome(run: Run) -> str:
    """How it ended, in a sentence or two."""
    parts = [f"{run.steps:,} steps"] if run.steps is not None else [run.pulse.place] if run.pulse else []
    parts += [f"in {run.seconds:.1f} seconds"] if run.seconds is not None else []
    started = str(run.environment.get("started", "at an unknown time"))[:16].replace("T", " ")
    going = run.status == "running"  # the last checkpoint and the start say little of it
    text = f"Started {started}." if going or not parts else f"{' '.join(parts)}, started {started}."
    text = text[:1].upper() + text[1:]
    if "best/epoch" in run.numbers:
        best = "The best so far are" if going else "The weights that count are"
        if not going and "best" not in run.summary:  # it did not live to say so
            best = "The best until then were"
        text += f" {best} those of epoch {pulse.epoch(run.numbers['best/epoch'])}, the best by {run.monitor}."
    return text if going or not run.reason else f"{text} It ended because: {run.reason.removesuffix('.')}."


def _metrics(run: Run) -> str:
    """One row for each part of the data; a run that did not end has its best validation."""
    parts = {"train": "train", "val": "validation", "test": "test", "best": "best validation so far"}
    if "test/loss" in run.numbers:
        del parts["best"]
    there = [n for n in metrics.DIRECTION if any(f"{part}/{n}" in run.numbers for part in parts)]
    names = metrics.told(there, run.monitor)
    rows = [
        [title, *(metrics.text(n, run.numbers.get(f"{part}/{n}")) for n in names)]
        for part, title in parts.items()
        if f"{part}/loss" in run.numbers
    ]
    return page.table(["", *names], rows) if rows else ""


def _text(file: Path) -> str:
    return reading.read_text(file) or f"({file.name} can't be read)"
