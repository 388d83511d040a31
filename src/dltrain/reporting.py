"""`dltrain report RUN`: the pictures of a run, in its `plots/`, in TensorBoard and in one page for a person."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dltrain import (
    __version__,
    commands,
    layout,
    pictures,
    plots,
    reading,
    report,
    runs,
    seeds,
    storage,
    sweep_pictures,
    tracking,
    webpage,
)
from dltrain.errors import CheckpointError, ConfigError, StorageError
from dltrain.output import say
from dltrain.pictures import Gallery
from dltrain.reading import Run


def main(words: list[str], options: argparse.Namespace) -> int:
    """The command."""
    parser = commands.parser("report", "Make one self-contained page, with pictures, of a run or a sweep.")
    parser.add_argument("run", help="a folder, a short id, or last")
    commands.output_option(parser, "the page; report.html in the folder when not given")
    parser.add_argument(
        "--replay",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="train again, in memory, the runs that took at most so long, to show their way (default 20, 0: never)",
    )
    given = parser.parse_args(words)
    folder = runs.find(given.run, sweeps=True)
    output = commands.output(given, folder / "report.html")
    _check(output)
    if not given.replay >= 0:
        raise ConfigError(f"--replay {given.replay:g}: give seconds, 0 or more")
    if (folder / "sweep.json").is_file():
        text = _sweep_page(folder)
    else:
        text = _run_page(reading.read(folder), allow=commands.allowed(options.allow), seconds=given.replay)
    try:
        storage.replace(output, text.encode())
    except OSError as error:
        raise StorageError(f"{output} can't be written: {error.strerror}; name another file with -o") from error
    say(f"{output}  ({len(text) / 1e6:.1f} MB; it needs no network)")
    return 0


def _check(output: Path) -> None:
    """Before any work: can the page be written where it is to go?"""
    if output.is_dir():
        raise ConfigError(f"-o {output} is a folder; name a file, {output / 'report.html'}")
    if not output.parent.is_dir():
        raise ConfigError(f"-o {output}: there is no folder {output.parent}")


def _run_page(run: Run, *, allow: list[str], seconds: float) -> str:
    gallery = pictures.of_run(run, allow=allow, seconds=seconds)
    _leave(run.folder, run.steps or 0, gallery)
    title, notes = f"{run.folder.parent.name}/{run.folder.name}", _notes(run)
    return webpage.page(
        title,
        [
            webpage.heading(title, 1),
            webpage.status(run.status),
            webpage.paragraph(_outcome(run)),
            _metrics(run),
            webpage.heading("Do it again"),
            webpage.verbatim(run.command or "(its command is not known)"),
            webpage.heading("What was trained") if gallery.about else "",
            webpage.verbatim(gallery.about) if gallery.about else "",
            *(webpage.picture(p.title, p.caption, p.content) for p in gallery.pictures),
            webpage.heading("What the doctor says") if gallery.findings else "",
            webpage.bullets([" ".join(line.split()[1:]) for line in gallery.verdict]),
            webpage.verbatim(gallery.findings, folded="what it looked at") if gallery.findings else "",
            webpage.heading("Notes") if notes or gallery.notes else "",
            webpage.bullets([*notes, *gallery.notes]),
            webpage.heading("Everything else"),
            webpage.verbatim(_text(run.folder / "config.yaml"), folded="configuration"),
            webpage.verbatim(_text(run.folder / "environment.json"), folded="machine and versions"),
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def _notes(run: Run) -> list[str]:
    """What was said of the data, and on how much of the train part the best weights were judged."""
    data = reading.node(reading.read_json(run.folder / "data.json")[0])
    said = data.get("notes")
    notes = [str(note) for note in said] if isinstance(said, list) else []
    have, judged = (reading.node(x).get("train") for x in (data.get("rows"), run.summary.get("rows_judged")))
    if have != judged is not None:
        notes.append(f"train is judged on {judged} of its {have} rows")
    return notes


def _sweep_page(folder: Path) -> str:
    jobs = [reading.read(path, sweep) for path, sweep in reading.walk(folder)]
    gallery = sweep_pictures.of_sweep(jobs)
    _leave(folder, 0, gallery)
    title = f"{folder.parent.name}/{folder.name}"
    ranked = seeds.in_order(jobs)
    failed = [f"run {j.folder.name}: {j.status}{': ' * bool(j.reason)}{j.reason}" for j in jobs if j.reason]
    return webpage.page(
        title,
        [
            webpage.heading(title, 1),
            webpage.paragraph(f"A sweep of {len(jobs)} runs: {_counts(jobs)}."),
            webpage.heading(
                f"All runs, {'the best configuration' if len(seeds.ranked(jobs)) < len(jobs) else 'best'} first"
            ),
            _jobs_table(ranked),
            *([webpage.heading("Mean and deviation over the seeds"), table] if (table := _seeds_table(ranked)) else []),
            *([webpage.heading("The best run again"), webpage.verbatim(ranked[0].command)] if ranked else []),
            *(webpage.picture(p.title, p.caption, p.content) for p in gallery.pictures),
            webpage.heading("Notes") if failed or gallery.notes else "",
            webpage.bullets([*gallery.notes, *failed]),
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def _counts(jobs: Sequence[Run]) -> str:
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in Counter(j.status for j in jobs).items())


def _jobs_table(ranked: Sequence[Run]) -> str:
    """One row a run: the best validation and the test metrics, what was varied, how it ended."""
    varied, names = sweep_pictures.keys(ranked), _names(ranked)
    shown = [column for name in names for column in report.columns([name])]
    titles = ["run", *(title for title, _ in shown), *varied, "status", "seconds"]
    rows = [
        [
            j.folder.name,
            *(report.number(key.partition("/")[2], j.numbers.get(key)) for _, key in shown),
            *(str(sweep_pictures.value(j, key)) for key in varied),
            j.status.replace("_", " "),
            "" if j.seconds is None else f"{j.seconds:.1f}",
        ]
        for j in ranked
    ]
    numbers = 1 + len(shown)
    return webpage.table(titles, rows, text=[0, *range(numbers, numbers + len(varied) + 1)])


def _names(jobs: Sequence[Run]) -> list[str]:
    return report.shown_metrics(jobs, "accuracy", "rmse") or ["loss"]


def _seeds_table(jobs: Sequence[Run]) -> str:
    """One row for the runs that differ in the seed alone; nothing where none do."""
    groups, names = seeds.ranked(jobs), _names(jobs)
    if max(map(len, groups), default=0) < 2:
        return ""
    plain = [key for key in sweep_pictures.keys(jobs) if key != "seed"]
    shown = [column for name in names for column in report.columns([name])]
    titles = [*plain, "runs", *(title for title, _ in shown)]
    rows = [
        [
            *(str(sweep_pictures.value(group[0], key)) for key in plain),
            str(len(group)),
            *(report.mean_and_deviation(k.partition("/")[2], seeds.values(group, k)) for _, k in shown),
        ]
        for group in groups
    ]
    return webpage.table(titles, rows, text=range(len(plain)))


def _leave(folder: Path, step: int, gallery: Gallery) -> None:
    """The pictures as files and in TensorBoard; a folder that can't be written has them in the page alone."""
    try:
        layout.check(folder)
        for made in gallery.pictures:
            plots.save_bytes(made.content, folder / "plots" / made.name)
        shown = {made.name.partition(".")[0]: made.content for made in gallery.pictures}
        tracking.write_pictures(folder, step, shown, gallery.graph)
    except (OSError, StorageError, CheckpointError) as error:
        reason = getattr(error, "strerror", error)
        say(f"note: the pictures are in the page alone, {folder} can't be written: {reason}", error=True)


def _outcome(run: Run) -> str:
    """How it ended, in a sentence or two."""
    parts = [f"{run.steps:,} steps"] if run.steps is not None else []
    parts += [f"in {run.seconds:.1f} seconds"] if run.seconds is not None else []
    started = str(run.environment.get("started", "at an unknown time"))[:16].replace("T", " ")
    text = ", ".join([*[" ".join(parts)] * bool(parts), f"started {started}."])
    if "best/epoch" in run.numbers:
        text += (
            f" The weights that count are those of epoch {run.numbers['best/epoch']:.4g}, the best by {run.monitor}."
        )
    return f"{text} It ended because: {run.reason}" if run.reason else text


def _metrics(run: Run) -> str:
    """One row for each part of the data; a run that did not end has its best validation."""
    parts = {"train": "train", "val": "validation", "test": "test", "best": "best validation so far"}
    if "test/loss" in run.numbers:
        del parts["best"]
    names = [n for n in report.METRICS if any(f"{part}/{n}" in run.numbers for part in parts)]
    rows = [
        [title, *(report.number(n, run.numbers.get(f"{part}/{n}")) for n in names)]
        for part, title in parts.items()
        if f"{part}/loss" in run.numbers
    ]
    return webpage.table(["", *names], rows) if rows else ""


def _text(file: Path) -> str:
    return reading.read_text(file) or f"({file.name} can't be read)"
