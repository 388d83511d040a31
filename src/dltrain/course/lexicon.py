"""Each choice explained as a lexicon would: what it is, its formula, when to take it, why the defaults, the source, and
the chapter of the course that shows it. The entries stand in the YAML files; here is what is true of a whole group, and
how an entry looks in a terminal and on a page.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

from dltrain.config.choices import LABELS, Choice, choices
from dltrain.course.chapter import NAMES, chapter
from dltrain.errors.output import cut
from dltrain.errors.tables import room

_FEW = 12  # knobs that are named without their comments
_WIDTH = 100  # letters of a line, where the terminal has room for them
_WHOLE = "dltrain\N{NO-BREAK SPACE}course\N{NO-BREAK SPACE}"  # a command that stands on one line
_MOST_LINES, _MOST_LETTERS = 80, 300  # of a header, and of a line: files may be anyone's


class Group(NamedTuple):
    """What the choices of a group have in common. signs: what the letters of its formulas mean. measured: of what the
    numbers in its entries are, by the words that an entry has.
    """

    about: str = ""
    signs: Mapping[str, str] = {}
    measured: Mapping[str, str] = {}


@cache
def groups() -> dict[str, Group]:
    """The groups of which lexicon.yaml tells, in its order."""
    import yaml

    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: Group(**texts) for name, texts in content.items()}


def brief(choice: Choice) -> str:
    """A choice in a few lines: what it is, when to take it, and its knobs where these are few."""
    when = f"when: {_said(choice, 'when')}" if "when" in choice.entry else ""
    knobs = " ".join(f"{key}={cut(value, 30)}" for key, value, _ in choice.knobs if value)
    texts = [choice.explanation, when, knobs if len(choice.knobs) <= _FEW else ""]
    return "\n".join([_name(choice), *(line for text in texts if text for line in _wrapped(text, "    "))])


def whole(choice: Choice) -> str:
    """The entry of a choice: its header, what each label says, and its knobs with their comments."""
    header = [_name(choice), *_wrapped(choice.explanation, "    "), *_header(choice.header[1:][:_MOST_LINES])]
    parts = [header, _labelled(choice), _values(choice)]
    parts.append([line for key, value, note in choice.knobs for line in _knob(key, value, note)])
    return "\n\n".join("\n".join(part) for part in parts if part)


def _header(lines: Sequence[str]) -> list[str]:
    """Sentences wrapped; what is indented, commands and tables, stays as it is."""
    shown: list[str] = []
    for indented, block in groupby(lines, key=lambda line: line[:1] in ("", " ")):
        if indented:
            shown += [f"    {cut(line, _MOST_LETTERS)}".rstrip() for line in block]
        else:
            shown += _wrapped(" ".join(block), "    ")
    return shown


def about(group: str) -> str:
    """What is true of all choices of a group."""
    return "\n".join(_wrapped(text, "")) if (text := groups().get(group, Group()).about) else ""


def _labelled(choice: Choice) -> list[str]:
    """What each label says, in one order: a formula as it stands, with what its letters mean, other texts wrapped."""
    lines: list[str] = []
    group = groups().get(choice.group, Group())
    for label in (label for label in LABELS if label in choice.entry):
        if label != "formula":
            if text := _said(choice, label).replace("dltrain course ", _WHOLE):
                wrapped = _wrapped(text, " " * 14, first=f"    {label:<10}")
                lines += [line.replace(_WHOLE, "dltrain course ") for line in wrapped]
            continue
        formula = [cut(line, _MOST_LETTERS) for line in choice.entry[label][:_MOST_LINES]]
        lines += [f"    {label if i == 0 else '':<10}{line}" for i, line in enumerate(formula)]
        if signs := _used(group.signs, formula):
            lines += _wrapped(signs, " " * 14, first=f"    {'signs':<10}")
    if measured := _used(group.measured, [line.lower() for text in choice.entry.values() for line in text]):
        lines += _wrapped(measured, " " * 14, first=f"    {'measured':<10}")
    return lines


def _used(signs: Mapping[str, str], lines: Sequence[str]) -> str:
    """What those signs mean that stand in some lines, not within a word."""
    text = "\n".join(lines)
    found = [sign for sign in signs if re.search(rf"(?<!\w){re.escape(sign)}(?<!\w(?=\w))", text)]
    return "; ".join(f"{sign}: {signs[sign]}" for sign in found)


def _values(choice: Choice) -> list[str]:
    """What the values of knobs mean that have labels of their own."""
    lines: list[str] = []
    for label, (first, *rest) in islice(choice.entry.items(), _MOST_LINES):
        if label not in LABELS:
            lines += _wrapped(f"{label}: {first}", "        ", first="    ")
            lines += _wrapped(" ".join(rest), "        ") if rest else []
    return lines


def _knob(key: str, value: str, note: str) -> list[str]:
    return _wrapped(note, " " * 36, first=f"    {cut(f'{key}: {value}', _MOST_LETTERS):<30}  ")


def _said(choice: Choice, label: str) -> str:
    """The text of a label as a sentence; chapters as the commands that show them."""
    if label != "see":
        return " ".join(choice.entry[label])
    return ", ".join(f"dltrain course {name}" for name in shown_in(choice) if name in NAMES)


def shown_in(choice: Choice) -> list[str]:
    """The chapters of the course that show a choice."""
    return [name for line in choice.entry.get("see", ()) for name in line.replace(",", " ").split()]


def _name(choice: Choice) -> str:
    return f"{choice.group}={choice.name}"


def _wrapped(text: str, indent: str, *, first: str | None = None) -> list[str]:
    width, head = max(60, min(_WIDTH, room())), indent if first is None else first
    lines = textwrap.wrap(
        cut(text, 4 * _MOST_LETTERS), width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False
    )
    return lines or [head.rstrip()]


# -- the page ----------------------------------------------------------------------------------------------------------

_INTRODUCTION = """\
# Lexicon

Each choice: its formula, when to take it, its defaults and why, its source, the chapters of
[the course](course/README.md) that show it, and its knobs. `dltrain list optimizer adam` prints the same in a terminal,
`dltrain list optimizer` a group in short. The words stand in the [glossary](glossary.md). `python scripts/docs.py`
writes this page from the files in `configs/`.
"""


def page() -> str:
    """docs/lexicon.md."""
    found = {group: [*choices(group)] for group in groups() if group != "experiment"}
    names = {g: ", ".join(f"[{choice.name}](#{g}{choice.name})" for choice in of) for g, of in found.items()}
    parts = [_INTRODUCTION.rstrip(), "\n".join(f"- [{group}](#{group}): {of}" for group, of in names.items())]
    for group, of in found.items():
        about, signs, measured = groups()[group]
        parts += [f"## {group}", _text(about)]
        parts += ["\n".join(f"- `{sign}`: {_text(text)}" for sign, text in {**signs, **measured}.items())]
        parts += [part for choice in of for part in _section(choice)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _section(choice: Choice) -> list[str]:
    """An entry as blocks of Markdown."""
    entry = choice.entry
    said = {label: _text(" ".join(entry[label])) for label in ("when", "default", "source") if label in entry}
    said |= {"chapters": ", ".join(f"[{name}](course/{chapter(name).stem}.md)" for name in shown_in(choice))}
    values = [f"- `{v}`: `{first}`. {_text(' '.join(rest))}" for v, (first, *rest) in entry.items() if v not in LABELS]
    knobs = [f"- `{key}: {value}` {_text(note)}".rstrip() for key, value, note in choice.knobs if value]
    lists = ["\n".join(f"- **{label}:** {text}" for label, text in said.items())]
    for title, lines in (("Values:", values), ("Knobs:", knobs)):
        lists += [title, "\n".join(lines)] if lines else []
    head = [f"### {_name(choice)}", _text(choice.explanation), *_paragraphs(choice.header[1:])]
    return [*head, *_code(entry.get("formula", ())), *lists]


def _paragraphs(lines: Sequence[str]) -> list[str]:
    """A header: its sentences as text, what is indented as code."""
    parts: list[str] = []
    for indented, group in groupby(filter(None, lines), key=lambda line: line.startswith(" ")):
        block = [*group]
        parts += _code(block) if indented else [_text(" ".join(block))]
    return parts


def _code(lines: Sequence[str]) -> list[str]:
    return [f"```text\n{textwrap.dedent(chr(10).join(lines))}\n```"] if lines else []


def _text(text: str) -> str:
    """A text of a YAML file so that Markdown shows it letter by letter; what stands in backticks stays."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*|<_\\])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
