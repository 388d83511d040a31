"""What a student changes in a chapter: what is refused, the commands with it, and what is said of what came."""

import math
from pathlib import Path

import polars as pl
import pytest

from dltrain.course import changes, lab, looks, told
from dltrain.course.chapter import Number, Seen, chapter
from dltrain.errors import ConfigError, DivergedError
from dltrain.trained.whole_run import train
from dltrain.training.stop import Interrupted


def test_what_is_changed_replaces_what_the_command_says():
    command = "dltrain -m data=digits 'model.widths=[8],[9]' seeds=2"
    others = "dltrain -m 'model.widths=[8],[9]' seeds=2 data=iris +seed=3"
    assert changes.changed(command, ["data=iris", "+seed=3"]) == others
    assert changes.changed("dltrain show last", ["seed=3"]) == "dltrain show last"
    trace = "dltrain trace experiment=worked_example"
    assert changes.changed(trace, ["runs_dir=there", "seed=3"]) == f"{trace} seed=3"


def test_where_the_runs_go_is_read_as_the_run_itself_reads_it():
    found = chapter("backpropagation")
    assert changes.check(found, []) == "runs"
    assert changes.check(found, ["++runs_dir='my runs'"]) == "my runs"
    assert changes.check(found, ["runs_dir=there", "runs_dir=here"]) == "here"
    assert changes.deciding(["++runs_dir=there", "name=x", "seed=3"]) == ["seed=3"]


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("two_linear_layers", "++model.widths=[4]", "model.widths is what this chapter compares"),
        ("checkpoints", "trainer.epochs=3", "trainer.epochs is what this chapter compares"),
        ("onecycle", "optimizer.lr=0.1", "optimizer.lr is what this chapter compares"),
        ("linear_regression", "trainer.epochs=many", "want a number, got"),
        ("linear_regression", "seed=[", "close every bracket"),
    ],
)
def test_what_can_not_be_changed_is_said(name, typed, said):
    with pytest.raises(ConfigError, match=said):
        changes.check(chapter(name), [typed])


def test_what_comes_next_names_the_runs_where_they_are():
    commands = [step.command for step in chapter("checkpoints").onward("my runs")]
    assert commands[0] == "dltrain resume 'my runs/last' trainer.epochs=20"
    assert chapter("checkpoints").onward() == chapter("checkpoints").next


@pytest.mark.parametrize(
    ("value", "changed", "said"),
    [
        (math.nan, [], "Here loss is nan: what was trained broke down"),
        (math.nan, ["optimizer.lr=9"], "With optimizer.lr=9, loss is nan: what was trained broke down"),
        (math.inf, ["optimizer.lr=9"], "That decides for none of the answers"),
        (0.9, ["trainer.epochs=1"], "With trainer.epochs=1, 1 of 2 numbers lie outside those of the chapter"),
    ],
)
def test_numbers_that_are_not_the_chapters_are_told(value, changed, said):
    seen = Seen([Number("loss", value, 0.1, 0.2), Number("steps to it", math.inf, 5, math.inf)], 1, "", [])
    assert said in seen.astray(changed)
    held = seen._replace(numbers=[seen.numbers[0]._replace(value=0.15), seen.numbers[1]])
    assert held.astray(changed) == ""


@pytest.mark.parametrize(("rate", "learns"), [("1e-9", False), ("0.05", True)])
def test_a_run_that_learned_nothing_decides_nothing(rate, learns, tmp_path):
    typed = ("data=diabetes", "model=linear", "optimizer=sgd", f"optimizer.lr={rate}", "trainer.epochs=5")
    run = train(*typed, runs_dir=tmp_path)
    assert lab.learned(run) is learns
    seen = Seen([Number("test r2", run.metrics["test/r2"], 0.9, 1)], 1, "", [])
    taught = lab.Taught(chapter("xor"), (), seen, None, 0, (f"optimizer.lr={rate}",), learned=learns)
    said = " ".join(told.after(taught, 1).split())
    assert ("knows nothing more than one answer for all rows" in said) is not learns
    assert ("Your prediction held. It was 1" in said) is learns
    assert "as it stands 0.9 to 1" in said


def test_a_sweep_that_broke_down_in_part_is_no_traceback():
    jobs = {"job": [1, 0], "status": ["diverged", "done"], "reason": ["step 2: the loss is nan", ""]}
    with pytest.raises(DivergedError, match=r"1 of 2 runs broke down.*step 2: the loss is nan.*dltrain doctor runs/1"):
        looks.runs(pl.DataFrame({**jobs, "folder": ["runs/1", "runs/0"]}))


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [
        (
            Interrupted("", Path("runs/a b"), "SIGTERM"),
            143,
            "goes on by: dltrain resume 'runs/a b'; the chapter begins",
        ),
        (KeyboardInterrupt(), 130, "what was trained before is in there; the chapter begins anew"),
    ],
)
def test_a_chapter_that_is_stopped_says_what_is_kept(stop, code, said, dltrain, monkeypatch):
    def stopped(*_, **__):
        raise stop

    monkeypatch.setattr(lab, "teach", stopped)
    found, _, error = dltrain("course", "linear_regression", "--no-input", "runs_dir=there")
    assert found == code
    assert said in error
