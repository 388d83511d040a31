"""The words of a course: each found by its names and symbols, and the page of the docs made of them."""

from pathlib import Path

import pytest

from dltrain.course import glossary
from dltrain.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs"


def test_a_word_is_found_in_both_languages_and_by_its_symbol():
    (sigmoid,) = glossary.found(["sigmoïde"])
    assert glossary.found(["Sigmoid"]) == glossary.found([sigmoid.symbol]) == [sigmoid]
    assert "σ' = σ (1 − σ) ≤ 1/4" in glossary.told(sigmoid)  # noqa: RUF001 - the course's signs
    assert sigmoid.command in glossary.told(sigmoid)
    assert glossary.found([]) == [*glossary.terms()]
    with pytest.raises(ConfigError, match="the glossary has no `dropuot`; did you mean `dropout`"):
        glossary.found(["dropuot"])


def test_no_word_stands_twice():
    names = [name for term in glossary.terms() for name in term.english.split(", ")]
    assert len(names) == len({*names})


def test_a_word_names_the_chapters_that_it_is_of():
    (dropout,) = glossary.found(["dropout"])
    assert glossary.told(dropout).endswith("\n    dltrain course training_loop\n    dltrain course dropout")
    (row,) = [line for line in glossary.page().splitlines() if line.startswith("| dropout ")]
    assert "[15](course/15_dropout.md)" in row


def test_each_row_of_the_page_has_as_many_cells_as_its_head():  # a sign in a formula is no border
    rows = [line for line in glossary.page().splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {8}
    assert len(rows) == 2 + len(glossary.terms())


def test_the_page_is_what_the_program_writes():  # python scripts/docs.py
    assert (DOCS / "glossary.md").read_text(encoding="utf-8") == glossary.page()


def test_the_command_prints_words_and_whole_headers(dltrain):
    code, out, _ = dltrain("list", "glossary", "dropout")
    assert code == 0
    assert out.startswith("dropout\n    Units are left out by chance")
    assert dltrain("list", "glossary", "qqqq")[0] == 2
    header = dltrain("list", "experiment", "vanishing_gradient")[1]
    assert "dltrain -m experiment=vanishing_gradient model.activation=sigmoid model.norm=none,batch,layer" in header
    assert "  relu, batch      9" in header
