"""What is printed and what stands in CSV files holds no sign that a terminal or a spreadsheet would obey."""

import csv
import io
import re
import sys
import unicodedata
import warnings

import pytest

from dltrain.errors.output import apart, cell, csv_rows, encodable, one_line, plain, say, warnings_in_words

ORDER = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # bidirectional controls


class Terminal(io.StringIO):
    """Standard output as a terminal."""

    def isatty(self):
        return True


TABLE = "\n".join(["run   value", "─" * 11, "a         1"])


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_a_terminal_that_takes_colour_gets_some(monkeypatch, environment, coloured):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal())
    say(TABLE)
    say("error: \x1b[2J no", error=True)
    shown, complaint = sys.stdout.getvalue(), sys.stderr.getvalue()
    assert shown.startswith("\x1b[1mrun   value\x1b[22m\n\x1b[2m──") == coloured
    assert re.sub(r"\x1b\[\d+m", "", shown) == f"{TABLE}\n"
    assert complaint == ("\x1b[31merror: \x1b[39m" if coloured else "error: ") + "\\u001b[2J no\n"


def test_what_is_no_terminal_gets_none(capsys):
    say(TABLE)
    assert capsys.readouterr().out == f"{TABLE}\n"


def test_every_control_and_every_mark_that_reorders_becomes_visible():
    for code in range(sys.maxunicode + 1):
        sign = chr(code)
        kind = unicodedata.category(sign)
        obeyed = kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in ORDER
        if sign in "\n\t":
            assert plain(sign) == sign
        elif obeyed or sign in "\u200b\u200e\u200f\u061c\ufeff":
            assert plain(sign) == (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
        elif kind not in ("Cf", "Cn"):  # letters, marks and signs of every script, private ones too
            assert plain(sign) == sign


@pytest.mark.parametrize("word", ["Größe", "日本語　名", "می‌خواهم", "👩‍🔬", "10 000", "a\tb\nc"])
def test_words_of_every_script_stay(word):
    assert plain(word) == word


def test_a_foreign_text_stays_on_its_line(capsys):
    assert one_line("a\nb\tc\x1b[2J\x85d") == "a b c\\u001b[2J\\u0085d"
    say("\x1b]0;title\x07gone \udcff")
    say("\x9b31m", error=True)
    assert capsys.readouterr() == ("\\u001b]0;title\\u0007gone \\udcff\n", "\\u009b31m\n")


def test_a_warning_is_one_line_of_words():
    with warnings_in_words():
        text = warnings.formatwarning("a\x1b[2J\nb", UserWarning, "file.py", 3)
    assert text == "note: a\\u001b[2J b\n"
    assert "file.py" in warnings.formatwarning("a", UserWarning, "file.py", 3)


def test_a_files_name_that_is_no_utf8_can_stand_in_a_file():
    assert encodable("a\udcffé") == "a\\udcffé"


@pytest.mark.parametrize(
    "word",
    [
        *("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "=1=2", "-1e", "--1"),
        *("a;=1", "a\t=1", "a; @x"),
    ],
)
def test_what_a_spreadsheet_would_compute_is_marked_as_text(word):
    made = cell(word)
    parts = made.replace("\t", ";").replace("\r", ";").split(";")
    assert not any(part.lstrip()[:1] in tuple("=+-@\uff1d") for part in parts)
    assert made[:1] not in "\t\r"
    assert made.replace("'", "") == plain(word).replace("'", "")


@pytest.mark.parametrize("word", ["-1", "+1", "-0.5e-3", "-inf", "-", "+", "a=b", "x-y", "e@mail", "", "'=1"])
def test_numbers_and_other_words_stay_as_they_are(word):
    assert cell(word) == word


def test_rows_of_a_csv_file_are_read_back_in_other_words_only_where_it_must_be():
    text = csv_rows([["a,b", "=1"], ["x\ny", -1.5], [None, '"q"']])
    assert list(csv.reader(io.StringIO(text))) == [["a,b", "'=1"], ["x\ny", "-1.5"], ["", '"q"']]


def test_names_that_are_cut_are_still_told_apart():
    ends = [f"a long species name, number {i:03d}" for i in range(3)]
    assert apart(ends, 16) == [f"a lon…number 00{i}" for i in range(3)]
    middles = [f"{'a' * 30}{i}{'b' * 30}" for i in range(12)]
    shown = apart([*middles, middles[0], "short"], 16)
    assert (len({*shown}), shown[-2:], max(map(len, shown))) == (13, [shown[0], "short"], 16)
    assert apart(["a\nb", "c" * 20], 9) == ["a b", "cccccccc…"]
