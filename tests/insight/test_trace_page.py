"""`dltrain trace --html`: what is drawn and written out is what the trace has, and a page shows one moment of it."""

import errno
import os
import re
import xml.etree.ElementTree as ET
from functools import cache

import pytest
from browser import Browser

from dltrain.commands import cli
from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.insight import formulas, module_drawing, trace, trace_page, unit_drawing
from dltrain.runs import storage


@cache
def traced(*overrides, allow=()):
    composed = compose.compose(overrides)
    assert composed.mistakes == ()
    return trace.trace(make_plan(composed, allow))


def shown(made, command="dltrain trace"):
    """The page, and its moments as their texts without marks."""
    text = trace_page.trace_page(made, command)
    panels = re.findall(r'<section class="stage.*?</section>', text)
    return text, [re.sub(r"<[^>]*>", "", panel) for panel in panels]


def test_symbols_are_set_as_a_course_writes_them():
    assert formulas.typeset("delta1") == "<i>δ</i><sub>1</sub>"
    assert formulas.typeset("dL/dW^5") == "∂<i>L</i>/∂<i>W</i><sup>5</sup>"
    assert formulas.typeset("(delta^5)^T @ z^4") == "(<i>δ</i><sup>5</sup>)<sup>T</sup>\u2009<i>z</i><sup>4</sup>"
    assert formulas.typeset("BatchNorm2d(a1)") == "BatchNorm2d(<i>a</i><sub>1</sub>)"
    assert formulas.typeset("1[a1 <= 0] <b>") == "1[<i>a</i><sub>1</sub> ≤ 0] &lt;<i>b</i>&gt;"
    assert formulas.typeset("tanh'(a1)") == "tanh\N{PRIME}(<i>a</i><sub>1</sub>)"


# -- drawings ----------------------------------------------------------------------------------------------------


def drawings(page):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page)]


def texts(drawing, kind):
    return [t.text for t in drawing.iter("text") if kind in t.get("class").split()]


def test_a_small_net_is_drawn_unit_by_unit_and_each_moment_adds_to_it():
    page, panels = shown(traced("experiment=worked_example"))
    heads = [re.search(r"\d+ / 16 · (\w+) (.*?)(?=[A-Z][a-z])", panel).groups() for panel in panels]
    assert [name for section, name in heads if section == "forward"][:5] == ["x", "a1", "z1", "a2", "z2"]
    assert {section for section, _ in heads} == {"forward", "backward", "update"}
    first, *_, last = drawn = drawings(page)
    assert len(drawn) == len(panels) == 16
    assert sorted(texts(first, "weight")) == sorted(["0.1", "0.2", "\u22120.3", "0.4", "0.5", "\u22120.6"])
    assert texts(first, "slope") == []
    assert {"0.142", "0.221", "\u22120.353", "0.374"} <= {*texts(last, "weight")}  # the new weights
    assert {"\u22120.0837", "0.106", "\u22120.183", "\u22120.772"} <= {*texts(last, "slope")}
    assert texts(last, "value")[-2:] == ["0.149", "0.113"]  # L and new L
    counts = [len(list(drawing.iter("text"))) for drawing in drawn]
    assert counts == sorted(counts)  # nothing that is known is forgotten
    assert all(float(t.get("x")) <= float(d.get("viewBox").split()[2]) for d in drawn for t in d.iter("text"))


def test_a_perceptrons_tie_is_told_where_its_slope_is_made():
    text, panels = shown(traced("experiment=perceptron_xor"))
    (told,) = [panel for panel in panels if "mistake = 1[" in panel]
    assert "y is -1 or +1" in told
    assert "a1 is 0, on the border: L is 0, and its derivative may be called 0 or -y" in told
    assert "tie: a1 is 0" in text
    assert "matrices side by side are multiplied" in text
    assert "@" not in text.partition("<body>")[2]
    assert "With &lt; in the place of &lt;=, weights of 0 would never move" in told


@pytest.mark.parametrize(
    ("overrides", "small"),
    [
        (["data=iris", "data.batch_size=2", "model.widths=[3]"], True),
        (["data=iris", "data.batch_size=2", "model.widths=[5]"], False),  # twenty edges have no room for their numbers
        (["data=digits"], False),
        (["data=blobs", "data.batch_size=4", "model=module", "model._target_=own_nets.Skipping"], False),
    ],
)
def test_which_nets_are_drawn_unit_by_unit(overrides, small):
    made = traced(*overrides, allow=("own_nets",))
    assert (unit_drawing.units(made) is not None) == small
    page, panels = shown(made)
    boxes = texts(drawings(page)[0], "module")
    assert (boxes == []) == small
    assert len(panels) == len(drawings(page)) > 6


def test_modules_are_boxes_with_what_passes_and_what_comes_back():
    net = ["model=module", "model._target_=own_nets.SmallCNN"]
    page, panels = shown(traced("data=digits", "data.batch_size=2", *net, allow=("own_nets",)))
    last = drawings(page)[-1]
    modules = ["M¹ · conv · Conv2d", "M² · relu · ReLU", "M³ · pool · MaxPool2d", "M⁴ · flat · Flatten"]
    assert texts(last, "module") == [*modules, "M⁵ · last · Linear", "the loss, of the output and y"]
    assert [text.split(" · ")[0] for text in texts(last, "passed")][1] == "[2, 2, 6, 6]"
    assert [text.split()[0] for text in texts(last, "returned")] == [f"‖δ{k}‖" for k in "¹²³⁴⁵"]
    assert any("δ⁴ times the derivative of M⁴ by z³" in panel for panel in panels)


def test_of_many_modules_the_ones_around_the_working_one_are_drawn():
    page, _ = shown(traced("data=digits", "data.batch_size=8", "model=mlp", f"model.widths={[4] * 8}"))
    drawn = drawings(page)
    assert all(len(texts(drawing, "module")) in (7, 8) for drawing in drawn)
    assert any("10 more below" in texts(drawing, "layer") for drawing in drawn)
    assert any("10 more above" in texts(drawing, "layer") for drawing in drawn)


def test_of_many_modules_those_around_a_value_that_several_read_are_drawn():
    made = traced("data=digits", "data.batch_size=8", "model=mlp", f"model.widths={[4] * 8}")
    known = frozenset(line.name for line in made.lines)
    drawn = module_drawing.Drawing(made).svg(unit_drawing.Moment(known, frozenset({"dL/dz2"}), "backward", ""))
    assert "linear2 · Linear" in drawn
    assert "linear9" not in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.25, "0.25"), (-0.00529398, "-0.0053"), (-123456.0, "-1.23e5"), (-1.234e-9, "-1.2e-9"), (-0.0, "0")],
)
def test_a_number_in_a_drawing_has_room(value, text):
    assert unit_drawing.short(value) == text.replace("-", "\N{MINUS SIGN}")


# -- the command -------------------------------------------------------------------------------------------------


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(["trace", "experiment=worked_example", *words])
    return stop.value.code


def test_the_page_needs_neither_network_nor_script_and_says_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("--html") == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'trace.html'}  (")
    text = (tmp_path / "trace.html").read_text(encoding="utf-8")
    assert os.listdir() == ["trace.html"]
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "<code>dltrain trace experiment=worked_example</code>" in text
    assert "&lt;i&gt;" in shown(traced("experiment=worked_example"), "dltrain trace name=<i>")[0]
    assert run("--html") == 0  # its own name is written anew
    assert run("--html", "-o", "trace.html") == 2
    assert "-o trace.html is there already; name another file, or add --force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--html", "-o", "folder"], "-o folder is a folder; name a file in it"),
        (["--html", "-o", "none/page.html"], "-o none/page.html: there is no folder none"),
        (["-o", "page.html"], "-o is for the page of a trace: add --html"),
        (["--force"], "--force is for the page of a trace: add --html"),
        (["--html", "last"], "trace takes no run, as `last` is"),
    ],
)
def test_a_page_that_cannot_be_is_refused_in_a_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert run(*words) == 2
    assert said in capsys.readouterr().err
    assert os.listdir() == ["folder"]


def test_a_folder_that_may_not_be_written_is_told(tmp_path, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "replace", refuse)
    assert run("--html") == 7
    assert "trace.html can't be written: Permission denied; name another file with -o" in capsys.readouterr().err


def test_buttons_and_arrow_keys_lead_through_it_on_a_phone_and_a_desktop(tmp_path):
    browser = Browser()
    try:
        (tmp_path / "page.html").write_text(shown(traced("experiment=worked_example"))[0], encoding="utf-8")
        browser.open((tmp_path / "page.html").resolve().as_uri())
        visible = "[...document.querySelectorAll('.stage')].filter(p => p.offsetHeight).map(p => p.id).join()"
        for width in (390, 1280):
            browser.resize(width, 900)
            assert browser.run("document.documentElement.scrollWidth") <= width
            assert (
                browser.run(
                    "Math.max(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().right))"
                )
                <= width
            )
        assert browser.run(visible) == "p0"
        browser.run("document.querySelector('#p0 .way label').click()")
        assert browser.run(visible) == "p1"
        for kind in ("keyDown", "keyUp"):
            browser.call(
                "Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39
            )
        assert browser.run(visible) == "p2"
        browser.run("document.querySelector('label[for=all]').click()")
        assert browser.run(visible).count("p") == 16
        assert browser.console == []
    finally:
        browser.close()
