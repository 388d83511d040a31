"""The words of a first course in deep learning, as glossary.yaml has them, for a terminal and as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dltrain.course.chapter import Chapter, chapters
from dltrain.errors import ConfigError, did_you_mean
from dltrain.errors.tables import room


class Term(NamedTuple):
    """One word, in English and French. meaning: a sentence or two. command: what shows it. The others may be empty."""

    english: str
    french: str
    meaning: str
    command: str
    symbol: str = ""
    formula: str = ""


@cache
def terms() -> tuple[Term, ...]:
    """All words, in the order of the course."""
    import yaml

    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return tuple(Term(**entry) for entry in content)


def found(words: Sequence[str]) -> list[Term]:
    """The terms with one of the words in their English or French name, or as their symbol; without words all.

    Raises ConfigError for a word that stands nowhere.
    """
    names = {term: f"{term.english}, {term.french}".casefold() for term in terms()}
    for word in words:
        if not any(_has(term, name, word) for term, name in names.items()):
            known = [each for name in names.values() for each in name.split(", ")]
            raise ConfigError(f"the glossary has no `{word}`{did_you_mean(word.casefold(), known)}")
    return [term for term, name in names.items() if not words or any(_has(term, name, word) for word in words)]


def _has(term: Term, name: str, word: str) -> bool:
    return word.casefold() in name or word in term.symbol.split(", ")


def shown_in(term: Term) -> list[Chapter]:
    """The chapters of the course that a word is of."""
    return [each for each in chapters() if term.english in each.words]


def told(term: Term) -> str:
    """A term for a terminal: its names, what it means, symbol and formula, what shows it, and its chapters."""
    names = [term.english, *([f"({term.french})"] if term.french != term.english else [])]
    symbols = ", ".join(text for text in (term.symbol, term.formula) if text)
    meaning = textwrap.wrap(term.meaning, max(40, min(96, room() - 4)))
    commands = dict.fromkeys([term.command, *(f"dltrain course {each.name}" for each in shown_in(term))])
    return "\n    ".join([" ".join(names), *meaning, *([symbols] if symbols else []), *commands])


_INTRODUCTION = """\
# Glossary

The words of a first course in deep learning, in its order, and what shows each; `dltrain list glossary` has them in a
terminal, `dltrain list glossary WORD` those that have a word in them. The numbers are those of the chapters of
[the course](course/README.md). The symbols are such a course's: aⱼ is the
activation of a unit, zⱼ = g(aⱼ) its output, δⱼ = ∂L/∂aⱼ its error; a module makes zᵏ = Mᵏ(zᵏ⁻¹, Wᵏ), and there
δᵏ = ∂L/∂zᵏ. `python scripts/docs.py` writes this page from `src/dltrain/course/glossary.yaml`.
"""


def page() -> str:
    """docs/glossary.md."""
    head = [
        _INTRODUCTION,
        "| English | French | symbol | formula | meaning | shown by | chapters |",
        "| --- " * 7 + "|",
    ]
    rows = [
        (t.english, t.french, t.symbol, t.formula, t.meaning, f"`{t.command}`", ", ".join(map(_link, shown_in(t))))
        for t in terms()
    ]
    return (
        "\n".join([*head, *(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows)]) + "\n"
    )


def _link(found: Chapter) -> str:
    return f"[{found.number}](course/{found.stem}.md)"
