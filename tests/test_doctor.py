"""The doctor on sick runs and on healthy ones: each complaint by its name, and none where nothing is wrong.

sick_runs.py holds the runs. The seeds here are others than those that the thresholds were looked at with.
"""

from contextlib import suppress

import pytest
import sick_runs

from dltrain import cli, config, doctor, experiment, runs
from dltrain.errors import DivergedError
from dltrain.examining import examine
from dltrain.plan import make_plan
from dltrain.verdicts import verdicts


def finished(folder, overrides, seed=0):
    """A run with these overrides, to its end; the plan and the run folder."""
    typed = [*overrides, f"seed={seed}", f"runs_dir={folder / 'runs'}", "trainer.tensorboard=false"]
    composed = config.compose(typed)
    assert composed.mistakes == ()
    plan = make_plan(composed, ["sick_nets"])
    made = runs.create(plan.runs_dir, plan.name)
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
    assert line.endswith("of the last layer's at the first one): try model.activation=relu or model.norm=batch")
    assert sorted(p for p in tmp_path.rglob("*")) == before  # nothing was written


SICK = [["experiment=vanishing_gradient"], ["data=digits", "optimizer.lr=1", "trainer.epochs=8"]]


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


def test_a_run_that_was_too_short_is_told_the_key_that_decides(tmp_path):
    (verdict,) = complaints(*finished(tmp_path, ["data=iris", "trainer.max_steps=5"]))
    assert verdict.name == "too_short"
    assert "trainer.max_steps=15" in verdict.remedy  # and not epochs, which max_steps would override


def test_what_was_not_looked_for_is_said(tmp_path):
    streamed = ["data=dataset", "data.dataset._target_=sick_nets.Streamed", "trainer.epochs=3"]
    text = "\n".join(doctor.findings(examine(*finished(tmp_path, streamed))))
    assert "rows in two parts not looked for" in text
    assert "no row stands in two parts" not in text
