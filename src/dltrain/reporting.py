"""`dltrain report RUN`: the pictures of a run, in its `plots/`, in TensorBoard and in one page for a person."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dltrain import __version__, commands, pictures, report, runs, storage, tracking, webpage
from dltrain.errors import ConfigError, StorageError
from dltrain.pictures import Gallery


def main(words: list[str], options: argparse.Namespace) -> int:
    """The command."""
    parser = commands.parser("report", "Make one self-contained page, with pictures, of a run.")
    parser.add_argument("run", help="a folder, a short id, or last")
    parser.add_argument("-o", "--output", type=Path, help="the page; report.html in the folder when not given")
    parser.add_argument(
        "--replay",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="train again, in memory, the runs that took at most so long, to show their way (default 20, 0: never)",
    )
    given = parser.parse_args(words)
    folder = runs.find(given.run, Path("runs"))
    output = given.output or folder / "report.html"
    _check(output)
    text = _run_page(folder, allow=commands.allowed(options.allow), seconds=given.replay)
    try:
        storage.replace(output, text.encode())
    except OSError as error:
        raise StorageError(f"{output} can't be written: {error.strerror}; name another file with -o") from error
    print(f"{output}  ({len(text) / 1e6:.1f} MB; it needs no network)")
    return 0


def _check(output: Path) -> None:
    """Before any work: can the page be written where it is to go?"""
    if output.is_dir():
        raise ConfigError(f"-o {output} is a folder; name a file, {output / 'report.html'}")
    if not output.parent.is_dir():
        raise ConfigError(f"-o {output}: there is no folder {output.parent}")


def _run_page(folder: Path, *, allow: list[str], seconds: float) -> str:
    summary = _mapping(folder / "summary.json")
    gallery = pictures.of_run(folder, summary, allow=allow, seconds=seconds)
    _leave(folder, gallery, summary)
    environment, data = _mapping(folder / "environment.json"), _mapping(folder / "data.json")
    title = f"{folder.parent.name}/{folder.name}"
    notes = data.get("notes") if isinstance(data.get("notes"), list) else []
    return webpage.page(
        title,
        [
            webpage.heading(title, 1),
            webpage.status(str(summary.get("status", "no summary"))),
            webpage.paragraph(_outcome(summary, environment)),
            _metrics(summary),
            webpage.heading("Do it again"),
            webpage.verbatim(str(environment.get("command", "unknown"))),
            webpage.heading("What was trained") if gallery.about else "",
            webpage.verbatim(gallery.about) if gallery.about else "",
            *(webpage.picture(p.title, p.caption, p.content) for p in gallery.pictures),
            webpage.heading("Notes") if notes or gallery.notes else "",
            webpage.bullets([str(note) for note in [*notes, *gallery.notes]]),
            webpage.heading("Everything else"),
            webpage.verbatim(_text(folder / "config.yaml"), folded="configuration"),
            webpage.verbatim(_text(folder / "environment.json"), folded="machine and versions"),
            f"<footer>made by dltrain {__version__}</footer>",
        ],
    )


def _leave(folder: Path, gallery: Gallery, summary: dict[str, Any]) -> None:
    """The pictures as files and in TensorBoard; a folder that can't be written has them in the page alone."""
    from dltrain import plots

    steps = summary.get("steps")
    try:
        for made in gallery.pictures:
            plots.save_bytes(made.content, folder / "plots" / made.name)
        shown = {made.name.partition(".")[0]: made.content for made in gallery.pictures}
        tracking.write_pictures(folder, steps if isinstance(steps, int) else 0, shown, gallery.graph)
    except OSError as error:
        print(
            f"note: the pictures stand in the page alone: {folder} can't be written: {error.strerror}", file=sys.stderr
        )


def _outcome(summary: dict[str, Any], environment: dict[str, Any]) -> str:
    """How it ended, in a sentence or two."""
    parts = []
    if isinstance(summary.get("steps"), int):
        parts.append(f"{summary['steps']:,} steps")
    if isinstance(summary.get("seconds"), (int, float)):
        parts.append(f"{summary['seconds']:.1f} seconds")
    text = (
        f"{' in '.join(parts)}, started {str(environment.get('started', 'at an unknown time'))[:16].replace('T', ' ')}."
    )
    best = summary.get("best")
    if isinstance(best, dict) and isinstance(best.get("epoch"), (int, float)):
        text += (
            f" The weights that count are those of epoch {best['epoch']:.4g}, the best by {environment.get('monitor')}."
        )
    if summary.get("error"):
        text += f" It ended with an error: {summary['error']}"
    return text


def _metrics(summary: dict[str, Any]) -> str:
    """One row for each part of the data; a run that did not end has its best validation."""
    found = {split: summary[split] for split in ("train", "val", "test") if isinstance(summary.get(split), dict)}
    if not found and isinstance(summary.get("best"), dict):
        found = {"val (best so far)": summary["best"]}
    names = [n for n in report.METRICS if any(isinstance(m.get(n), (int, float)) for m in found.values())]
    if not names:
        return ""
    rows = [[split, *(report.number(n, _float(m.get(n))) for n in names)] for split, m in found.items()]
    return webpage.table(["", *names], rows)


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _mapping(file: Path) -> dict[str, Any]:
    """A JSON file of a run folder; empty where there is none or it is no mapping."""
    try:
        found = runs.read_json(file)
    except ConfigError:
        return {}
    return found if isinstance(found, dict) else {}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"({file.name} can't be read: {error.strerror})"
