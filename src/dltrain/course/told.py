"""A chapter as text for a terminal: before it runs, and after."""

from __future__ import annotations

import textwrap

from dltrain.course.chapter import Chapter, Seen, around, chapters
from dltrain.errors import tables


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


def after(chapter: Chapter, seen: Seen, *, predicted: int | None, expected: bool) -> str:
    """The numbers, and whether the prediction held; `expected`: beside what they are in the chapter as it stands."""
    rows = [
        [n.name, n.text, *[f"expected {n.expected}{'' if n.held else '  <- it is not'}"] * expected]
        for n in seen.numbers
    ]
    verdict = {None: "", seen.answer: "Your prediction held. "}.get(predicted, f"You said {predicted}. ")
    verdict += chapter.outcome(seen)
    return "\n".join([*(f"  {row}" for row in tables.columns(rows)), "", *textwrap.wrap(verdict, _width())])


def onward(chapter: Chapter) -> str:
    """What to change next, and the chapter that follows."""
    rows = [["next", step.command, f"# {step.shows}"] for step in chapter.next]
    if after := around(chapter)[1]:
        rows.append(["", f"dltrain course {after.number}", f"# {after.title}"])
    return "\n".join(tables.columns([["" if i else row[0], *row[1:]] for i, row in enumerate(rows)]))


def _width() -> int:
    """How wide texts are."""
    return max(40, min(100, tables.room()))


def _item(mark: str, text: str) -> list[str]:
    return textwrap.wrap(text, _width(), initial_indent=mark, subsequent_indent=" " * len(mark))
