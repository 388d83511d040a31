"""The command as a user types it: listing, training, sweeping, exit codes."""

import json
import subprocess
import sys

import pytest

from dltrain.commands import cli
from dltrain.config import choices


def test_help_names_every_choice(dltrain):
    code, out, _ = dltrain("--help")
    assert code == 0
    words = set(out.split())
    for group, names in choices.groups().items():
        assert group in words
        assert set(names) <= words


def test_list_explains_every_choice_and_its_knobs(dltrain):
    for group, names in choices.groups().items():
        code, out, _ = dltrain("list", group)
        assert code == 0
        for name in names:
            assert f"{group}={name}\n" in out
    _, out, _ = dltrain("list", "optimizer", "adamw")
    assert "betas: [0.9, 0.999]" in out
    assert "optimizer=sgd" not in out


def test_every_yaml_explains_itself_and_its_knobs():
    for group in choices.groups():
        for choice in choices.choices(group):
            assert choice.explanation.endswith((".", ":")), choice.path
            if group != "experiment":
                assert all(note for _, value, note in choice.knobs if value), (choice.path, choice.knobs)


def test_list_of_something_unknown_suggests(dltrain):
    code, _, err = dltrain("list", "optimiser")
    assert (code, "did you mean `optimizer`?" in err) == (2, True)
    code, _, err = dltrain("list", "data", "digit")
    assert (code, "did you mean `digits`?" in err) == (2, True)


def test_training_prints_the_plan_and_a_short_table(dltrain, tmp_path):
    code, out, err = dltrain("trainer.epochs=2")
    assert code == 0, err
    assert "digits: " in out
    assert "parameters" in out
    assert all(
        word in out for word in ("train", "val", "test", "loss", "accuracy", "best epoch", "tensorboard --logdir")
    )
    (folder,) = tmp_path.glob("runs/*/*")
    assert str(folder.relative_to(tmp_path)) in out
    assert list(folder.glob("events.out.tfevents.*"))


def test_cfg_prints_the_configuration_and_trains_nothing(dltrain, tmp_path):
    for spelling in (["--cfg"], ["--cfg", "job"]):
        code, out, _ = dltrain(*spelling, "data=iris", "optimizer.lr=0.5")
        assert code == 0
        assert "max_lr: 0.5" in out
        assert "dltrain.data.sklearn_sets.iris" in out
    assert not (tmp_path / "runs").exists()


def test_a_group_folder_of_ones_own(dltrain, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "small.yaml").write_text(
        "# @package _global_\n# A small one.\ndefaults:\n  - override /data: iris\ntrainer:\n  epochs: 1\n"
    )
    code, out, err = dltrain("--config-dir", "mine", "experiment=small")
    assert code == 0, err
    assert "iris" in out
    assert "small" in dltrain("--config-dir", "mine", "list", "experiment")[1]


def test_a_sweep_trains_each_in_its_own_folder_and_ranks_them(dltrain, tmp_path):
    code, out, err = dltrain("-m", "data=iris", "trainer.epochs=1,30", "model.widths=[4],[32]")
    assert code == 0, err
    (sweep,) = tmp_path.glob("runs/sweep/*")
    jobs = sorted(p.name for p in sweep.iterdir() if p.name.isdecimal())
    assert jobs == ["0", "1", "2", "3"]
    for job in jobs:
        summary = json.loads((sweep / job / "summary.json").read_text())
        assert summary["status"] == "done"
    rows = [line.split() for line in out.splitlines() if "done" in line]
    best = [json.loads((sweep / row[0] / "summary.json").read_text())["best"]["accuracy"] for row in rows]
    assert len(rows) == 4
    assert best == sorted(best, reverse=True)


def test_a_failing_job_does_not_stop_the_others(dltrain, tmp_path):
    words = ("data=iris", "trainer.epochs=1", "optimizer=nesterov", "optimizer.momentum=0.9,0")
    code, _, err = dltrain("-m", *words, "optimizer.nesterov=false,true", "scheduler=constant")
    assert code == 8
    (sweep,) = tmp_path.glob("runs/sweep/*")
    statuses = {p.parent.name: json.loads(p.read_text()) for p in sweep.glob("*/summary.json")}
    assert [statuses[str(n)]["status"] for n in range(4)] == ["done", "done", "done", "failed"]
    assert "Nesterov momentum requires a momentum" in statuses["3"]["error"]
    assert "1 of 4 jobs failed" in err
    assert err.count("failed:") == 1


def test_a_wrong_key_stops_a_sweep_before_it_starts(dltrain, tmp_path):
    code, _, err = dltrain("-m", "data=iris", "optimizer.lrr=0.1,0.2", "model=mpl,mlp")
    assert code == 2
    assert "did you mean `optimizer.lr`?" in err
    assert "did you mean `mlp`?" in err
    assert not (tmp_path / "runs").exists()


def test_the_interpreter_can_run_it_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dltrain.commands.cli", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0
    assert done.stdout.strip()


def test_files_beside_one_are_not_imported_in_the_place_of_a_library(tmp_path):
    for name in ("json", "random", "string"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of mine')")
    command = [sys.executable, "-m", "dltrain", "list", "glossary", "logit"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "before it becomes a probability" in done.stdout


def test_one_that_allow_lets_in_is_named(dltrain, tmp_path, monkeypatch):
    (tmp_path / "colorsys.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    import colorsys

    monkeypatch.setattr(cli, "_run", lambda _: colorsys.rgb_to_hsv)  # which is not there
    code, _, error = dltrain()
    monkeypatch.delitem(sys.modules, "colorsys")
    assert code == 2
    assert "colorsys.py in this folder is imported in the place of the library of that name: rename it" in error


def test_shell_completion_is_hydras(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dltrain.commands.cli", "-sc", "install=bash"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "hydra_bash_completion" in done.stdout


def test_a_folder_that_is_gone_is_told(dltrain, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["doctor", "/nowhere"], ["data=iris"], ["predict", "last", "x.csv"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        assert stop.value.code == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["predict", "last", "data.unknown=allow"], "is for training; predict takes --allow-unknown"),
        (["trace", "last"], "trace takes no run, as `last` is: name what would be trained"),
        (["trace", "runs/x/last"], "trace takes no run, as `runs/x/last` is: name what would be trained"),
    ],
)
def test_what_another_command_takes_is_answered_with_what_this_one_does(words, sentence, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("words", [["eval", "last"], ["--cfg", "data=iris"], ["-m", "seed=0,1"], ["seeds=2"]])
def test_what_is_work_for_one_process_is_not_started_several_times(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--nproc", "2"])
    assert stop.value.code == 2
    assert "is work for one process; several share a training alone" in capsys.readouterr().err


LEAVING = """
import atexit, os

class Module:
    def __del__(self):
        os.write(1, b"taken down\\n")

kept = Module()
atexit.register(print, "at exit")
from dltrain.commands.cli import main
main(["--nproc", "2", "data=nowhere"])
"""


def test_processes_that_others_wait_for_leave_at_once_when_they_fail():
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True)
    assert done.returncode == 2
    assert "data=nowhere" in done.stderr
    assert done.stdout == "at exit\n"
