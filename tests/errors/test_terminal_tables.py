"""Tables as plain text: where columns stand, and that a stranger's cell stays one."""

import sys

import pytest

from dltrain.errors import tables


def test_numbers_stand_to_the_right_and_words_to_the_left():
    rows = [["run", "accuracy", "note", ""], ["a", "98.10% ± 0.31%", "1 of 2", ""], ["bcd", "-", "new", ""]]
    assert tables.table(rows) == [
        "run         accuracy   note",
        "─────────────────────────────",
        "a     98.10% ± 0.31%   1 of 2",
        "bcd                -   new",
    ]
    assert tables.columns([["1", "x"], ["20", "y"]], right=()) == ["1    x", "20   y"]
    assert tables.columns([["1", "x"], ["20", "yz"]], right=[0, 1]) == [" 1    x", "20   yz"]


def test_signs_that_are_twice_as_wide_and_accents_leave_the_columns_straight():
    assert tables.columns([["日本", "x"], ["e\u0301", "y"], ["four", "z"]]) == [
        "日本   x",
        "e\u0301      y",
        "four   z",
    ]


def test_a_cell_is_one_line_that_no_terminal_obeys():
    assert tables.columns([["a\nb\x1b[31m", "1"]]) == ["a b\\u001b[31m   1"]


def test_what_a_terminal_has_no_room_for_is_cut_where_that_is_asked(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    rows = [["first", "second"], ["1", "2"]]
    assert tables.table(rows, cut=True) == ["first   s…", "─────────…", "    1    …"]
    assert tables.table(rows)[0] == "first   second"


def test_few_rows_are_turned_where_that_takes_less_room(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    wide = [["", "accuracy", "recall"], ["test", "0.9", "0.8"]]
    for columns, first in ((30, "       accuracy   recall"), (18, "           test"), (8, "       …")):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert tables.turned(wide)[0] == first
    monkeypatch.setenv("COLUMNS", "18")
    tall = [["", "a"], *([name, "1"] for name in "bcd")]
    assert tables.turned(tall) == tables.table(tall)


def test_columns_that_can_be_spared_go_one_by_one(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "14")
    columns = {"name": ["x"], "seconds": ["1"], "loss": ["2"]}
    assert [*tables.fitted(columns, ["seconds", "loss"])] == ["name", "loss"]
    monkeypatch.setenv("COLUMNS", "8")
    assert [*tables.fitted(columns, ["seconds", "loss"])] == ["name"]


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"])
def test_a_table_holds_no_styles_whatever_the_environment_asks(variable, monkeypatch):
    monkeypatch.setenv(variable, "1")
    text = "\n".join(tables.table([["overrides"], ["regularisation=[dropout,l2]"]]))
    assert "\x1b" not in text
    assert "regularisation=[dropout,l2]" in text
