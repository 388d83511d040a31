"""Each chapter of the course runs with few steps, its listing gives dltrain's bits, its page says what was measured."""

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from dltrain.commands import cli
from dltrain.config import compose
from dltrain.config.command_line import NAMES as COMMANDS
from dltrain.course import changes, glossary, lab, pages
from dltrain.course.chapter import NAMES, chapter, chapters, find
from dltrain.course.chapters import dropout, noise, optimizers
from dltrain.insight.plots import regions

ROOT = Path(__file__).parents[2]
COURSE = ROOT / "docs" / "course"
LISTED = [c.name for c in chapters() if c.twin]


@pytest.fixture
def few_numbers(monkeypatch):
    """What is looked at after training is made of few numbers: here nobody asks which they are."""
    monkeypatch.setattr(regions, "_FINE", 30)
    monkeypatch.setattr(dropout, "_NETS", 5)
    monkeypatch.setattr(noise, "_STEPS", 60)
    monkeypatch.setattr(optimizers, "_RATES", (0.1, 1.0))


def printed_here(words):
    """What a command prints, without a process of its own, which the chapter on backpropagation has."""
    told = io.StringIO()
    with redirect_stdout(told):
        assert cli._run(words) == 0
    return told.getvalue()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("ends_of_films", "few_numbers")
@pytest.mark.filterwarnings("ignore:trainer.(epochs|max_steps=[0-9]+) is not used")
@pytest.mark.filterwarnings("ignore:no (validation|test) rows were set aside")
def test_a_chapter_runs_and_leaves_its_page(name, dltrain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name != "backpropagation":
        monkeypatch.setattr(lab, "_printed", printed_here)
    code, out, error = dltrain("course", name, "--no-input", "trainer.max_steps=2")
    assert code == 0, error
    found = chapter(name)
    assert found.title in out
    assert re.search(r"It was [1-9], “|decides for none of the answers", out)
    folder = tmp_path / "runs" / "course" / found.stem
    page = (folder / "page.html").read_text(encoding="utf-8")
    pictures = [path for path in folder.iterdir() if path.suffix in (".png", ".gif")]
    assert pictures
    assert page.count("<figure>") == len(pictures)
    assert "expected" not in out  # its numbers are of other steps
    assert "as it stands" in out


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.filterwarnings("ignore:activation=sign has a gradient of zero")
@pytest.mark.filterwarnings("ignore:no (validation|test) rows were set aside")
def test_plain_pytorch_gives_the_same_bits(name):
    bits = lab.compare(chapter(name))
    assert bits.count > 0
    assert bits.difference == 0


def test_the_class_of_a_listing_becomes_a_file_of_ones_own(dltrain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = chapter("own_module")
    listing, end = found.listing.read_text(encoding="utf-8"), "self.first(x)))\n"
    text = listing[: listing.index(end) + len(end)].replace("torch.nn.Tanh()", "torch.sin")
    assert "torch.sin" in text
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    code, _, error = dltrain(*shlex.split(found.next[0].command)[1:], "trainer.max_steps=2")
    sys.modules.pop("own", None)
    assert code == 0, error


@pytest.mark.parametrize("name", NAMES)
def test_a_chapter_is_whole(name):
    found = chapter(name)
    assert len(re.findall(r"[.!?](?: |$)", found.see)) == 3  # sentences
    assert len(found.answers) >= 2
    assert found.next
    assert found.listing.is_file()
    for word in found.words:
        assert word in {term.english for term in glossary.terms()}
    for command in (*found.commands, *filter(None, [found.twin]), *(step.command for step in found.next)):
        program, *words = shlex.split(command)
        assert program == "dltrain"
        if words[0] == "course":
            changes.check(find(words[1]), words[2:])
        elif words[0] not in COMMANDS and "-m" not in words:
            compose.compose(words[: words.index("--allow")] if "--allow" in words else words, None)


def test_the_pages_are_what_the_program_writes():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_link_of_the_pages_leads_somewhere():
    for page in COURSE.glob("*.md"):
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (COURSE / link).is_file(), f"{page.name}: {link}"


@pytest.fixture(scope="module")
def taught_once():
    """Does what `lab.teach` does, the first time that it is asked."""
    teach, made = lab.teach, []

    def once(*words, **how):
        made[:] = made or [teach(*words, **how)]
        return made[0]

    return once


@pytest.mark.parametrize(
    ("typed", "said"), [("2\n", "held"), ("9\nx\n1\n", "You said 1. It was 2"), ("\n", "It was 2")]
)
def test_a_prediction_is_asked_for_and_judged(typed, said, dltrain, tmp_path, monkeypatch, taught_once):
    monkeypatch.setattr(lab, "teach", taught_once)
    answers = io.StringIO(typed)
    answers.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.chdir(tmp_path)
    code, out, _ = dltrain("course", "linear_regression")
    assert code == 0
    assert said in out
    assert "expected 0.28 to 0.38" in out
    assert "bit for bit" in out


def test_the_list_needs_no_torch():
    program = "import sys; from dltrain.course import told; print(told.contents()); assert 'torch' not in sys.modules"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert all(f"{c.name} " in out and c.title in out for c in chapters())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["400"], "the course has no chapter `400`; they are numbered 1 to"),
        (["0"], "the course has no chapter `0`"),
        (["linear_regresion"], "did you mean `linear_regression`"),
        (["7", "8"], "`8` is no KEY=VALUE; `dltrain course` takes one chapter"),
        (["linear_regression", "optimizer.lrr=1", "--no-input"], "optimizer.lr"),
        (["two_linear_layers", "model.widths=[4]"], "model.widths is what this chapter compares"),
        (["linear_regression", "model=mlp", "trainer.epochs=1", "--no-input"], "not what this chapter looks at"),
    ],
)
def test_what_is_mistyped_is_said_in_a_sentence(words, said, dltrain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = dltrain("course", *words)
    assert code == 2
    assert said in error


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_trained(dltrain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    code, out, error = dltrain("course", "linear_regression", "-o", "taken/page")
    assert code
    assert "taken/page can't be written" in error
    assert not out
    assert not (tmp_path / "runs").exists()


def test_listings_name_no_module_that_import_dltrain_may_not_have():
    """This process has it."""
    listings = [chapter(name).listing.read_text(encoding="utf-8") for name in LISTED]
    named = {tuple(names) for text in listings for names in re.findall(r"\bdltrain\.(\w+)\.(\w+)", text)}
    assert ("data", "digits") in named
    assert not [names for names in named if find_spec(".".join(["dltrain", *names]))]


def test_a_difference_is_told():
    bits = lab.difference([torch.zeros(3)], [torch.tensor([0.0, 0.25, 0.0])])
    assert str(bits) == "ends within 0.25 of the same weights (3 numbers)"


def test_a_notebook_has_the_commands_as_python():
    cells = json.loads(pages.notebook(chapter("two_linear_layers")))["cells"]
    program = next(cell["source"] for cell in cells if "done_1 = " in cell["source"])
    assert "lab.warn_in_words()" in program
    assert 'done_1 = dltrain.sweep("experiment=two_linear_layers", "model.widths=[],[32],[32,32]")' in program
    cells = json.loads(pages.notebook(chapter("xor")))["cells"]  # seeds=9 are nine runs
    assert any("done_2 = dltrain.sweep(" in cell["source"] for cell in cells)
