"""`dltrain course [CHAPTER]`: the chapters of a first course, each predicted, run and seen."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dltrain.config import command_line
from dltrain.course import told
from dltrain.course.chapter import Chapter, find
from dltrain.errors import ConfigError, streams
from dltrain.errors.output import say


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain course`: lists the chapters without torch; `dltrain course N` runs one."""
    parser = command_line.parser("course", "Every idea of a first course in deep learning: predicted, run, and seen.")
    parser.add_argument("chapter", nargs="?", metavar="CHAPTER", help="its number or its name; without one a list")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="for what its commands train, in the place of what they say, such as trainer.epochs=5",
    )
    parser.add_argument("--no-input", action="store_true", help="ask for no prediction, as without a terminal")
    command_line.output_option(parser, "folder of its page and pictures (runs/course/NUMBER_NAME)")
    given = parser.parse_intermixed_args(words)
    if given.chapter is None:
        say(told.contents())
        return 0
    chapter = find(given.chapter)
    if wrong := [word for word in given.overrides if "=" not in word]:
        raise ConfigError(f"`{wrong[0]}` is no KEY=VALUE; `dltrain course` takes one chapter")
    place = _place(chapter, given.overrides)
    folder = given.output or Path(place) / "course" / chapter.stem
    if given.output and (folder / "page.html").exists() and not given.force:
        raise ConfigError(f"-o {folder} has a page.html; name another folder, or add --force to replace it")
    with _made(folder):
        say(told.before(chapter))
        predicted = None if given.no_input else _ask(len(chapter.answers))
        try:
            _teach(chapter, given.overrides, place, folder, predicted)
        except KeyboardInterrupt as stop:
            return _stopped(stop, place)
    streams.delivered()
    return 0


def _stopped(stop: KeyboardInterrupt, place: str) -> int:
    """Says what is kept of a chapter that a signal ended, and how to go on; the exit code."""
    from dltrain.commands.train import EXIT_CODES
    from dltrain.training.stop import Interrupted

    again = "the chapter begins anew where it is typed again"
    if isinstance(stop, Interrupted):
        resume = shlex.join(["dltrain", "resume", str(stop.folder)])
        say(f"stopped; its run is kept, and goes on by: {resume}; {again}", error=True)
        return EXIT_CODES[stop.reason]
    say(f"interrupted; what was trained before is in {place}; {again}", error=True)
    return EXIT_CODES["SIGINT"]


def _place(chapter: Chapter, overrides: list[str]) -> str:
    """The folder below which the runs of the chapter go; what is mistyped is said before anything is asked."""
    if not overrides:
        return "runs"
    from dltrain.course import changes

    return changes.check(chapter, overrides)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder that is there while it lasts: one that can't be made is a sentence, and empty ones go again."""
    with command_line.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()


def _ask(count: int) -> int | None:
    """The number of an answer, or None for an empty line, or where nobody can answer."""
    if not sys.stdin or not sys.stdin.isatty():
        return None
    while True:
        say(f"\nyour prediction (1 to {count}; Enter for none): ", end="", flush=True)
        answer = sys.stdin.readline().strip()
        if not answer:
            return None
        if answer.isdecimal() and len(answer) < 4 and 1 <= int(answer) <= count:
            return int(answer)


def _teach(chapter: Chapter, overrides: list[str], place: str, folder: Path, predicted: int | None) -> None:
    from dltrain.course import lab, pages
    from dltrain.runs import storage

    say()
    taught = lab.teach(chapter, overrides, place=place, tell=lambda line: say(f"$ {line}", flush=True))
    say(f"\n{told.after(taught, predicted)}")
    if taught.bits:
        say(f"plain PyTorch {taught.bits}")
    files = {"page.html": pages.html(taught).encode(), **{p.name: p.content for p in taught.seen.pictures}}
    with command_line.writing(folder):
        for name, content in files.items():
            storage.replace(folder / name, content)
        for path in [*folder.glob("*.png"), *folder.glob("*.gif")]:  # of a run before, which may have had others
            if path.name not in files:
                path.unlink()
    say(f"\npage      {folder / 'page.html'}")
    say(told.onward(taught))
