"""The doctor on sick runs and on healthy ones: each complaint by its name, and none where nothing is wrong.

sick_runs.py holds the runs. The seeds here are others than those that the thresholds were looked at with.
"""

from contextlib import suppress

import numpy as np
import pytest
import sick_runs

from dltrain.commands import cli
from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.errors import DivergedError
from dltrain.insight.doctor import doctor, remedies
from dltrain.insight.doctor.examine import examine
from dltrain.insight.doctor.verdicts import verdicts
from dltrain.runs import run_folder
from dltrain.training import experiment


def finished(folder, overrides, seed=0):
    """A run with these overrides, to its end; the plan and the run folder."""
    typed = [*overrides, f"seed={seed}", f"runs_dir={folder / 'runs'}", "trainer.tensorboard=false"]
    composed = compose.compose(typed)
    assert composed.mistakes == ()
    plan = make_plan(composed, ["sick_nets"])
    made = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, made, ["dltrain"])
    with suppress(DivergedError):
        experiment.train(plan, made)
    return plan, made


def complaints(plan, folder):
    return list(verdicts(examine(plan, folder)))


@pytest.mark.parametrize("number", range(len(sick_runs.SICK)))
def test_a_sick_run_is_told_what_it_has(number, tmp_path):
    name, overrides, make = sick_runs.SICK[number]
    seed = 20 + number
    plan, folder = finished(tmp_path, [*overrides, *(make(tmp_path, seed) if make else [])], seed)
    found = complaints(plan, folder)
    assert [verdict.name for verdict in found[:1]] == [name], [str(verdict) for verdict in found]


@pytest.mark.parametrize("number", range(len(sick_runs.HEALTHY)))
def test_a_healthy_run_is_left_in_peace(number, tmp_path):
    plan, folder = finished(tmp_path, sick_runs.HEALTHY[number], seed=50 + number)
    assert doctor.judgement(examine(plan, folder)) == ["verdict    no complaint"]
    assert number or doctor.after_training(plan, folder) == "verdict      no complaint"  # as wide as lines above it


def dltrain(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    return stop.value.code


def test_vanishing_gradients_are_named_with_the_overrides_to_try(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert dltrain("experiment=vanishing_gradient", "trainer.epochs=10") == 0
    capsys.readouterr()
    before = sorted(p for p in tmp_path.rglob("*"))
    assert dltrain("doctor", "last") == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("complaint")]
    assert line.startswith("complaint  gradients vanish below layer ")
    assert "of the last layer's at the first one)" in line
    assert line.endswith(": try model.activation=relu or model.norm=batch")
    assert sorted(p for p in tmp_path.rglob("*")) == before  # nothing was written


SICK = [
    ["experiment=vanishing_gradient"],
    ["data=digits", "optimizer.lr=1", "trainer.epochs=8"],
    ["data=iris", "scheduler.max_lr=100"],  # where optimizer.lr is not asked
    ["data=iris", "model.init=zeros", "model.norm=batch"],
]


@pytest.mark.parametrize("sick", SICK, ids=" ".join)
def test_a_remedy_cures(sick, tmp_path):
    plan, folder = finished(tmp_path, sick)
    (verdict,) = complaints(plan, folder)
    override = [word for word in verdict.remedy.split() if "=" in word][-1]
    plan, folder = finished(tmp_path, [*sick, override])
    assert complaints(plan, folder) == []


def test_the_findings_show_data_loss_and_layers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert dltrain("data=iris", "model.norm=batch", "trainer.epochs=3") == 0
    assert dltrain("doctor", "last") == 0
    out = capsys.readouterr().out
    for text in ("102 train rows", "3 classes of 34 to 34", "an answer of zeros has 1.099", "by heart", "norm1"):
        assert text in out


def test_what_is_odd_about_a_table_stands_among_the_findings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{i % 7},{i % 13 + 0.5},{i % 13 + i % 7 / 100}\n" for i in range(200))
    (tmp_path / "t.csv").write_text("a,total,fare\n" + lines)
    assert dltrain("data=table", "data.path=t.csv", "data.target=fare", "trainer.epochs=1") == 0
    assert dltrain("doctor", "last") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("noted      ")]
    assert any("column total (correlation 1): alone tells the target" in line for line in told)


def test_an_early_or_broken_run_gets_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert dltrain("doctor", "nope") == 2
    assert "no run called `nope`" in capsys.readouterr().err
    assert dltrain("doctor") == 2
    assert "RUN" in capsys.readouterr().err
    _, folder = finished(tmp_path, ["data=iris", "trainer.epochs=1"])
    for file in (folder / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(b"")
    assert dltrain("doctor", str(folder)) == 4
    assert "no checkpoint is whole" in capsys.readouterr().err
    (folder / "metrics.jsonl").write_bytes(b"\xff{]\n[1]\n" + b"[" * 100000 + b"\n")
    for path in sorted((folder / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert dltrain("doctor", str(folder)) == 0  # a run that was killed before its first checkpoint
    assert dltrain("doctor", str(folder), "optimizer.lr=3") == 2
    (folder / "summary.json").write_text("{")
    assert dltrain("doctor", str(folder)) == 0


def test_a_run_that_was_too_short_is_told_the_key_that_decides(tmp_path):
    (verdict,) = complaints(*finished(tmp_path, ["data=iris", "trainer.max_steps=5"]))
    assert verdict.name == "too_short"
    assert "trainer.max_steps=15" in verdict.remedy  # and not epochs, which max_steps would override


def test_what_was_not_looked_for_is_said(tmp_path):
    streamed = ["data=dataset", "data.dataset._target_=sick_nets.Streamed", "trainer.epochs=3"]
    text = "\n".join(doctor.findings(examine(*finished(tmp_path, streamed))))
    assert "rows in two parts not looked for" in text
    assert "no row stands in two parts" not in text


def text_of(exam):
    return "\n".join([*doctor.findings(exam), *doctor.judgement(exam)])


def test_by_heart_is_judged_by_right_answers_and_not_by_the_loss(tmp_path):
    """The perceptron's loss is 0 at weights of 0, and that of raw inputs falls far from absurd to bad."""
    exam = examine(*finished(tmp_path / "xor", ["experiment=perceptron_xor"]))
    assert exam.by_heart.loss[0] == 0
    assert not exam.by_heart.enough  # no line parts them
    assert "32 train rows not learned by heart: accuracy" in text_of(exam)

    rng = np.random.default_rng(0)
    x = rng.normal(3e4, 1e4, (200, 4))
    y = x @ [1, -2, 3, 1] / 1e4 + rng.normal(0, 0.1, 200)
    table = sick_runs.write(tmp_path / "raw.csv", x, y)
    exam = examine(*finished(tmp_path / "raw", [*table, "data.scaling=none", "model=linear", "optimizer.lr=1e-6"]))
    assert exam.by_heart.loss[1] < 0.01 * exam.by_heart.loss[0]
    assert exam.by_heart.value < 0.5
    assert "not learned by heart: r2" in text_of(exam)

    exam = examine(*finished(tmp_path / "digits", ["data=digits", "trainer.epochs=3"]))
    assert exam.by_heart.enough


def test_only_what_was_looked_at_is_told(tmp_path):
    text = text_of(examine(*finished(tmp_path / "one", ["experiment=worked_example"])))
    assert "1 train row in 300 steps (no r2, as all targets are the same), loss 0.149 to" in text
    assert "status     done; rmse 0.04" in text
    assert "data       1 train row," in text
    assert "nan" not in text
    assert "inf" not in text
    corners = ["data=rows", "data.x=[[0,0],[0,1],[1,0],[1,1]]", "data.y=[0,1,1,0]", "trainer.epochs=100"]
    assert "4 train rows learned by heart" in text_of(examine(*finished(tmp_path / "four", corners)))
    exam = examine(*finished(tmp_path / "labels", ["data=multilabel", "trainer.epochs=3"]))
    assert 0.9 < exam.neighbours.score < 1
    assert "near rows are right about 9" in text_of(exam)


def test_the_first_loss_and_the_guess_are_one_function(tmp_path):
    """Which knows no weights of classes: those of training are not what the first weights do."""
    weighted = ["data=iris", "data.positive=setosa", "loss=bce", "loss.pos_weight=1000", "trainer.epochs=3"]
    exam = examine(*finished(tmp_path, weighted))
    assert exam.at_first.loss < 2 * exam.guess
    assert all(verdict.name != "wild_start" for verdict in verdicts(exam))


def test_first_weights_typed_by_hand_stand_in_the_way_of_drawn_ones(tmp_path):
    weights = "{linear1: {weight: [[1, 1], [1, 1]], bias: [0, 0]}, linear2: {weight: [[1, 1]], bias: [0]}}"
    (verdict,) = complaints(*finished(tmp_path, ["data=moons", "model.widths=[2]", f"model.weights={weights}"]))
    assert verdict.name == "alike"
    assert verdict.remedy == "try model.weights=null model.init=kaiming"


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_step_function_is_told_what_its_derivative_is(norm, tmp_path):
    overrides = ["experiment=vanishing_gradient", "trainer.epochs=3", "model.activation=sign", f"model.norm={norm}"]
    (verdict,) = complaints(*finished(tmp_path, overrides))
    assert verdict.name == "cut_off"
    assert "the derivative of sign is 0" in verdict.what
    assert verdict.remedy == "try model.activation=tanh or model.activation=relu"


def test_a_bent_line_that_a_straight_one_misses_is_no_good_fit(tmp_path):
    """r2 is .92 here, and the mean of near rows has .99."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 1))
    y = x[:, 0] + 0.55 * x[:, 0] ** 2 + rng.normal(0, 0.02, 400)
    table = sick_runs.write(tmp_path / "bent.csv", x, y)
    straight = [*table, "model=linear", "optimizer.lr=0.05"]
    exam = examine(*finished(tmp_path / "straight", straight))
    assert exam.scores["train"]["r2"] > 0.85
    (verdict,) = verdicts(exam)
    assert verdict.name == "too_small"
    assert "model=mlp" in verdict.remedy
    bent = [*table, "model.widths=[32]", "optimizer.lr=0.03", "trainer.epochs=40"]
    assert complaints(*finished(tmp_path / "bent", bent)) == []


def test_eval_mode_is_held_against_train_mode(tmp_path):
    late = ["data=digits", *sick_runs.module("LateAverages"), "trainer.epochs=3", "optimizer.lr=0.01"]
    exam = examine(*finished(tmp_path, late))
    assert exam.by_batch["accuracy"] > exam.scores["train"]["accuracy"] + 0.3
    (verdict,) = verdicts(exam)
    assert verdict.name == "lagging"
    assert "with each batch's own statistics" in verdict.what
    assert "the averages that BatchNorm keeps still lag behind" in verdict.what


def test_one_answer_for_every_row_is_named(tmp_path):
    exam = examine(*finished(tmp_path, ["experiment=vanishing_gradient", "trainer.epochs=3"]))
    assert exam.scores["train"]["accuracy"] < 0.12
    assert exam.constant in exam.plan.data.classes
    (verdict,) = verdicts(exam)
    assert verdict.what.endswith(f"and every row gets the same answer, {exam.constant}")
    assert f"answers    every row gets the same: {exam.constant}" in text_of(exam)


@pytest.mark.parametrize(
    ("overrides", "set_already", "open_still"),
    [
        (["model.norm=batch"], "model.norm=batch", "model.norm=layer"),
        (["model.activation=tanh"], "model.activation=tanh", "model.activation=relu"),
        (["regularisation=[dropout,early_stopping]"], "regularisation=[dropout,early_stopping]", "regularisation=l2"),
        (["regularisation=clip_norm"], "regularisation=clip_norm", "regularisation=dropout"),
        (["optimizer.lr=0.01"], "optimizer.lr=0.01", "optimizer.lr=0.1"),
        (["model.widths=[128,128]"], "model.widths=[128,128]", "model.widths=[256,256]"),
        (
            ["loss=cross_entropy", "loss.class_weights=balanced"],
            "loss=cross_entropy loss.class_weights=balanced",
            "loss=auto",
        ),
    ],
)
def test_no_remedy_is_what_the_run_had_already(overrides, set_already, open_still):
    plan = make_plan(compose.compose(["data=moons", *overrides]))
    assert remedies.in_force(plan, set_already)
    assert not remedies.in_force(plan, open_still)
    assert remedies.offer(plan, set_already, open_still, otherwise="none") == f"try {open_still}"
    assert remedies.offer(plan, set_already, otherwise="none") == "none"
