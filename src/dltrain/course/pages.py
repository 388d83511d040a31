"""A chapter as a page: HTML with its pictures inside, Markdown for docs/course/, and a notebook."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain import __version__
from dltrain.config import command_line
from dltrain.course.chapter import Chapter, Next, Number, around, chapters, several
from dltrain.insight import page

if TYPE_CHECKING:
    from dltrain.course.lab import Taught

_STYLE = (  # the names of numbers are long, and nothing stands beside anything
    "th.text, td.text { white-space: normal; } main { max-width: 60rem; }\n"
    "@media (max-width: 500px) { th, td { padding-right: .5rem; } }\n"
)

# -- the page of a run -----------------------------------------------------------------------------------------------


def html(taught: Taught) -> str:
    """What `dltrain course` leaves: this run's numbers and pictures beside the formula."""
    found, seen = taught.chapter, taught.seen
    title = f"{found.number}. {found.title}"
    titles = ["", "this run", "as it stands" if taught.changes else "expected"]
    rows = [[n.name, n.text, n.expected] for n in seen.numbers]
    verdict = " ".join(filter(None, [taught.astray, taught.outcome]))
    return page.page(
        title,
        [
            page.heading(title, 1),
            page.paragraph(found.see),
            page.formula(found.formula),
            page.section("Predict", page.paragraph(found.question), _numbered(found.answers)),
            page.section("Run", page.command("\n".join(taught.commands))),
            page.section("See", page.table(titles, rows), page.paragraph(verdict)),
            *(page.picture(p.title, p.caption, p.shown, p.seen) for p in seen.pictures),
            page.section(
                "In plain PyTorch",
                page.verbatim(found.listing.read_text(encoding="utf-8")),
                *([page.paragraph(f"It {taught.bits}, as"), page.command(found.twin)] if taught.bits else []),
            ),
            page.section(
                "Change next",
                *(part for step in found.onward(taught.place) for part in _shown(step)),
            ),
            f"<footer>made by dltrain {__version__}</footer>",
        ],
        style=_STYLE,
    )


def _shown(step: Next) -> tuple[str, str]:
    return page.command(step.command), page.paragraph(step.shows)


def _numbered(answers: Sequence[str]) -> str:
    return f"<ol>{''.join(f'<li>{page.escape(answer)}</li>' for answer in answers)}</ol>"


# -- docs/course/ ----------------------------------------------------------------------------------------------------


def markdown(taught: Taught) -> str:
    """docs/course/NN_NAME.md; its pictures lie beside it as NN_NAME_PICTURE."""
    found, seen = taught.chapter, taught.seen
    parts = [
        f"# {found.number}. {found.title}",
        found.see,
        f"```text\n{found.formula}\n```",
        "## Predict",
        "\n".join([found.question, "", *(f"{n}. {answer}" for n, answer in enumerate(found.answers, 1))]),
        "## Run",
        f"```text\n{_course(found)}\n```",
        "which asks for the prediction, and then does",
        "```text\n" + "\n".join(found.commands) + "\n```",
        "## See",
        "\n".join(["| | measured | expected |", "| --- | ---: | ---: |", *map(_row, seen.numbers)]),
        found.outcome(seen),
        *(f"**{p.title}.** {p.caption}\n\n![{p.title}]({found.stem}_{p.name})" for p in seen.pictures),
        "## In plain PyTorch",
        f"```python\n{found.listing.read_text(encoding='utf-8')}```",
        *[f"It {taught.bits}, as\n\n```text\n{found.twin}\n```" if taught.bits else ""],
        "## Change next",
        "\n".join(f"- `{step.command}`: {step.shows}" for step in found.next),
        _around(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _course(found: Chapter) -> str:
    return f"dltrain course {found.name}"


def _row(number: Number) -> str:
    return f"| {number.name} | {number.text} | {number.expected} |"


def _around(found: Chapter) -> str:
    """Links to the chapter before, all chapters, the notebook, and the one after."""
    links = [f"[notebook]({found.stem}.ipynb)", "[all chapters](README.md)"]
    before, after = around(found)
    if before:
        links.insert(0, f"[before: {before.title}]({before.stem}.md)")
    if after:
        links.append(f"[next: {after.title}]({after.stem}.md)")
    return " | ".join(links)


def index() -> str:
    """docs/course/README.md: the chapters, each with its command."""
    rows = [
        f"| {c.number} | [{c.title}]({c.stem}.md) | `{_course(c)}` | [notebook]({c.stem}.ipynb) |" for c in chapters()
    ]
    return "\n".join([_INDEX, "| | chapter | command | |", "| ---: | --- | --- | --- |", *rows]) + "\n"


_INDEX = """\
# A first course in deep learning

Each chapter is one command. It says what will be seen, asks for a prediction, trains, shows this run's numbers and
pictures beside the formula, and says whether the prediction held; it takes seconds on a CPU. `--no-input` asks nothing,
and KEY=VALUE changes what is trained. The notation is such a course's: a before the non-linearity, z = g(a) after it,
δ = ∂L/∂a; a module makes zᵏ = Mᵏ(zᵏ⁻¹, Wᵏ). The words stand in the [glossary](../glossary.md).
Numbers of the validation and test part are of the weights that were best on the validation part, unless a page says
otherwise; listings, and films at their end, have the last weights.
`python scripts/docs.py` writes these pages from the chapters themselves, and their numbers from runs.
"""


def notebook(found: Chapter) -> str:
    """docs/course/NN_NAME.ipynb, without outputs: the listing, the commands as Python, and what is seen."""
    answers = "\n".join(f"{n}. {answer}" for n, answer in enumerate(found.answers, 1))
    words = f"# {found.number}. {found.title}\n\n{found.see}\n\n```text\n{found.formula}\n```"
    calls = [_call(f"done_{n} = ", command) for n, command in enumerate(found.commands, 1)]
    names = ", ".join(f"done_{n}" for n in range(1, len(calls) + 1))
    cells = [
        ("markdown", words),
        ("markdown", "In plain PyTorch:"),
        ("code", found.listing.read_text(encoding="utf-8").strip()),
        ("markdown", f"Predict: {found.question}\n\n{answers}"),
        ("code", "\n".join([*_IMPORTS, *calls])),
        ("code", f'lab.study("{found.name}", {names})'),
        ("markdown", "Change next:\n\n" + "\n".join(f"- `{step.command}`: {step.shows}" for step in found.next)),
    ]
    return as_notebook(cells)


_IMPORTS = ("import dltrain", "from dltrain.course import lab", "", "lab.warn_in_words()")


def as_notebook(cells: Sequence[tuple[str, str]]) -> str:
    """A notebook's file, without outputs; cells: kind (markdown or code) and text."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": [_cell(n, *c) for n, c in enumerate(cells)], "metadata": {"kernelspec": kernel}}
    return json.dumps({**content, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, kind: str, source: str) -> dict[str, object]:
    cell: dict[str, object] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source}
    return cell if kind == "markdown" else {**cell, "execution_count": None, "outputs": []}


def _call(result: str, command: str) -> str:
    """A command as a call in Python whose `result` is kept."""
    words = shlex.split(command)[1:]
    if words[0] in command_line.NAMES:
        return f"{result}lab.do({json.dumps(command)})"
    function = f"{result}dltrain.{'sweep' if several(words) else 'train'}"
    texts = [json.dumps(word) for word in words if word != "-m"]
    line = f"{function}({', '.join(texts)})"
    return line if len(line) <= 100 else "\n".join([f"{function}(", *(f"    {text}," for text in texts), ")"])
