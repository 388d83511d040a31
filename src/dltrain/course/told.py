"""A chapter as text for a terminal: before it runs, and after."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from dltrain.course.chapter import Chapter, Number, around, chapters
from dltrain.errors import tables

if TYPE_CHECKING:
    from dltrain.course.lab import Taught


def contents() -> str:
    """Every chapter with its number, its name and its title."""
    rows = tables.columns([[str(c.number), c.name, c.title] for c in chapters()], right={0})
    return "\n".join([*rows, "", "`dltrain course N`, or its name, runs one; it takes seconds"])


def before(chapter: Chapter) -> str:
    """What will be seen, the formula, and the question with its answers."""
    answers = [line for number, answer in enumerate(chapter.answers, 1) for line in _item(f"  {number}  ", answer)]
    return "\n".join(
        [
            f"{chapter.number}  {chapter.title}",
            "",
            *textwrap.wrap(chapter.see, _width()),
            "",
            *(f"    {line}" for line in chapter.formula.splitlines()),
            "",
            *textwrap.wrap(chapter.question, _width()),
            *answers,
        ]
    )


def after(taught: Taught, predicted: int | None) -> str:
    """The numbers beside what they are in the chapter as it stands, and whether the prediction held."""
    seen, word = taught.seen, "as it stands" if taught.changes else "expected"
    rows = [[n.name, n.text, f"{word} {n.expected}" if n.expected else "", _mark(n, taught)] for n in seen.numbers]
    verdict = [taught.astray]
    if taught.outcome:
        verdict += [{None: "", seen.answer: "Your prediction held."}.get(predicted, f"You said {predicted}.")]
        verdict += [taught.outcome]
    lines = textwrap.wrap(" ".join(filter(None, verdict)), _width())
    return "\n".join([*(f"  {row}" for row in tables.columns(rows)), "", *lines])


def _mark(number: Number, taught: Taught) -> str:
    return "" if number.held or taught.changes else "<- it is not"


def onward(taught: Taught) -> str:
    """What to change next, and the chapter that follows."""
    steps = taught.chapter.onward(taught.place)
    rows = [["next", step.command, f"# {step.shows}"] for step in steps]
    if after := around(taught.chapter)[1]:
        rows.append(["", f"dltrain course {after.number}", f"# {after.title}"])
    return "\n".join(tables.columns([["" if i else row[0], *row[1:]] for i, row in enumerate(rows)]))


def _width() -> int:
    """How wide texts are."""
    return max(40, min(100, tables.room()))


def _item(mark: str, text: str) -> list[str]:
    return textwrap.wrap(text, _width(), initial_indent=mark, subsequent_indent=" " * len(mark))
