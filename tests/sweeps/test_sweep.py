"""Sweeps from the command line: what is swept over, and what else Hydra's own programs would take."""

import json
import os
import re
import shutil
import time

import pytest

from dltrain.errors import StorageError
from dltrain.runs import reading
from dltrain.sweeps.driver import Driver
from dltrain.sweeps.engines import Looked

QUICK = ("data=iris", "trainer.epochs=1", "trainer.tensorboard=false", "trainer.save_every=0")


def typed(folder):
    """What each job of the only sweep was given."""
    jobs = sorted(folder.glob("runs/*/*/*/overrides.txt"), key=lambda path: int(path.parent.name))
    return [job.read_text().split() for job in jobs]


def test_a_sweep_that_an_experiment_file_sets(dltrain, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "small.yaml").write_text(
        "# @package _global_\nname: mine\nhydra: {sweeper: {params: {optimizer.lr: '0.1,0.2', seed: 5}}}\n"
    )
    for _ in range(2):  # the second time with the runs of the first beside it
        code, _, err = dltrain("--config-dir", ".", "-m", "experiment=small", *QUICK, "optimizer.lr=0.3,0.1")
        assert code == 0, err
    swept = typed(tmp_path)
    assert [job[:3] for job in swept[::2]] == [
        [f"optimizer.lr={lr}", "seed=5", "experiment=small"] for lr in (0.3, 0.1)
    ]
    assert {p.parents[2].name for p in tmp_path.glob("runs/*/*/*/summary.json")} == {"mine"}
    assert "experiment=small" in (tmp_path / next(tmp_path.glob("runs/*/*/sweep.json"))).read_text()
    code, _, err = dltrain("--config-dir", ".", "experiment=small", *QUICK)
    assert (code, "add -m" in err) == (2, True)


def test_a_drawn_order_is_kept_when_a_sweep_goes_on(dltrain, tmp_path):
    words = ("-m", *QUICK, "seed=shuffle(range(4))", "optimizer=glob(sg*)")
    assert dltrain(*words)[0] == 0
    before = typed(tmp_path)
    assert sorted(job[-2] for job in before) == [f"seed={n}" for n in range(4)]
    (sweep,) = tmp_path.glob("runs/*/*")
    (sweep / "2" / "summary.json").write_text('{"status": "running"}')
    code, out, _ = dltrain("resume", str(sweep))
    assert (code, "3 of 4 jobs had ended" in out) == (0, True)
    assert typed(tmp_path) == before
    assert json.loads((sweep / "sweep.json").read_text())["overrides"][-1] == "optimizer=sgd"


def test_a_sweep_that_a_full_disk_stops_says_how_it_goes_on(dltrain, monkeypatch):
    def full(_):
        raise StorageError("jobs.jsonl can't be written: No space left on device")

    monkeypatch.setattr(Driver, "run", full)
    code, _, err = dltrain("-m", *QUICK, "seed=0,1")
    assert code == StorageError.exit_code
    assert "No space left on device; once that is mended, go on: dltrain resume runs/" in err


def test_cfg_of_a_sweep_prints_its_first_job_and_trains_nothing(dltrain, tmp_path):
    code, out, _ = dltrain("--cfg", "job", "--resolve", "-m", "optimizer.lr=0.5,0.1", "seeds=3")
    assert code == 0
    assert out.startswith("# 6 jobs, of which this is the first: optimizer.lr=0.5 seed=0\n")
    assert "lr: 0.5" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        *(["--hydra-help"], ["--info"], ["--info=all"], ["-i", "plugins"], ["--run"], ["-r", "seed=1"]),
        *(
            ["--config-path", "x"],
            ["-cp", "x"],
            ["--config-name=x"],
            ["-cn", "x"],
            ["--experimental-rerun", "x.pickle"],
        ),
        *(["--cfg", "hydra"], ["--cfg", "all"], ["--cfg", "--package", "model"], ["-c", "job", "-p", "model"]),
        *(["-sc"], ["-sc", "install=tcsh"], ["--shell-completion", "what=bash"], ["--config-dir"], ["--cfg=job"]),
        *(
            ["--cfg", "~optimizer"],
            ["--cfg", "name=${hydra:job.num}"],
            ["name=${hydra:job.num}"],
            ["~optimizer"],
            ["~seed"],
        ),
        *(["-m", "hydra/launcher=rq", "seed=0,1"], ["hydra.run.dir=x"], ["optimizer.lr=interval(0,1)"]),
    ],
    ids=" ".join,
)
def test_what_only_hydras_own_programs_take_is_refused_in_a_sentence(dltrain, tmp_path, words):
    code, out, err = dltrain(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error:")
    assert len(err.splitlines()) <= 3
    assert not list(tmp_path.iterdir())


def test_a_key_that_goes_with_some_choices_is_left_out_of_the_other_jobs(dltrain, tmp_path):
    words = ("optimizer=adamw,sgd", "optimizer.momentum=0,0.9")
    code, out, err = dltrain("-m", *QUICK, *words)
    assert code == 0, err
    assert "note: optimizer.momentum is left out where there is none: with optimizer=adamw" in err
    both = [["optimizer=sgd", f"optimizer.momentum={momentum}"] for momentum in (0, 0.9)]
    assert [job[len(QUICK) :] for job in typed(tmp_path)] == [["optimizer=adamw"], *both]
    code, out, err = dltrain("-m", *QUICK, "optimizer=adamw,adam", "optimizer.momentum=0,0.9")
    assert (code, out) == (2, "")
    assert "`optimizer.momentum=0`: unknown key; `optimizer` has " in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=0.1,x,0.2"], "optimizer.lr: want a number, got the text 'x'"),
        (["optimizer.lr=0.1,-1"], "optimizer.lr"),
        (["model.widths=[8],[0]"], "model.widths"),
        (["trainer.epochs=1,0", "seed=1,x"], "seed"),
        (["model=mlp,linear", "model.widths=[8],9"], "model.widths: want a list of whole numbers, got 9; write [9]"),
        (["data.batch_size=1e9,x"], "data.batch_size"),
        (["optimizer.lr=0.1"], "-m: nothing varies: give a key several values, as optimizer.lr=0.1,0.01"),
        (["sweep.workers=0", "seed=0,1"], "sweep.workers: 0: want auto, or a number from 1 to 1,024"),
        (["sweep=nope", "seed=0,1"], "sweep has no `nope`"),
    ],
)
def test_a_wrong_value_among_many_stops_a_sweep_before_its_first_job(dltrain, tmp_path, words, said):
    code, out, err = dltrain("-m", *QUICK, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert not [*tmp_path.glob("runs/*/*/*")]


def test_what_stands_twice_is_trained_once_and_said(dltrain, tmp_path):
    code, out, err = dltrain("-m", *QUICK, "optimizer.lr=0.1,0.1", "name=twice")
    assert code == 0, err
    assert "note: `optimizer.lr=0.1,0.1`: each value is trained once" in err
    assert "1 job in runs/twice/" in out
    (row,) = [line for line in out.splitlines() if " done " in line]
    assert "optimizer.lr=0.1" in row


def test_the_same_command_goes_on_with_resume_auto(dltrain, tmp_path):
    words = ("-m", *QUICK, "sweep=random", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "resume=auto", "name=auto")
    assert dltrain(*words, "sweep.trials=2")[0] == 0
    code, out, err = dltrain(*words, "sweep.trials=5", "sweep.workers=1")
    assert code == 0, err
    assert "2 of 5 jobs had ended" in out
    (sweep,) = tmp_path.glob("runs/auto/*")
    rates = [reading.read(sweep / str(n)).config["optimizer.lr"] for n in range(5)]
    assert len({*rates}) == 5
    record = json.loads((sweep / "sweep.json").read_text())
    assert (record["jobs"], record["sweep"]["trials"], record["sweep"]["workers"]) == (5, 5, "auto")
    assert "5 of 5 jobs had ended" in dltrain("resume", str(sweep))[1]
    assert all(1e-3 <= rate <= 1e-1 for rate in rates)
    code, out, _ = dltrain(*words, "sweep.trials=5", "seed=1")  # another command: another sweep
    assert (code, len([*tmp_path.glob("runs/auto/*")])) == (0, 2)
    code, _, err = dltrain("-m", *QUICK, "seed=0,1", "resume=last")
    assert (code, "a sweep goes on by resume=auto, or dltrain resume FOLDER" in err) == (2, True)


def test_a_dry_run_says_what_would_be_trained_and_keeps_nothing(dltrain, tmp_path):
    code, out, err = dltrain("-m", "--dry-run", *QUICK, "optimizer=sgd,adamw", "optimizer.momentum=0,0.9", "seeds=2")
    assert code == 0, err
    lines = out.splitlines()
    assert re.fullmatch(r"6 jobs, \d+ at once, about \d+ s; nothing is trained \(--dry-run\)", lines[0])
    assert "  optimizer.momentum: 0, 0.9" in lines
    assert lines[-1].startswith("[5] ")
    rates = ",".join(f"0.{n}" for n in range(10, 60))
    code, _, err = dltrain("-m", "--dry-run", *QUICK, f"optimizer.lr={rates},-1,0.7")
    assert (code, "Invalid learning rate" in err) == (2, True)
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_refuses_what_the_sweep_would_and_counts_what_there_is(dltrain, tmp_path, monkeypatch):
    words = ("-m", "--dry-run", *QUICK)
    monkeypatch.setattr("dltrain.sweeps.preview.look", lambda *_, timed: (Looked([], []), 3.0))
    code, out, err = dltrain(*words, "optimizer.lr=0.1,0.2", "sweep=random", "sweep.trials=30", "sweep.prune=asha")
    assert code == 0, err
    assert re.match(r"2 jobs, \d at once, about \d+ s without sweep.prune=asha; nothing is trained", out)
    assert "more" not in out
    monkeypatch.setattr("dltrain.sweeps.engines.cluster.find_spec", lambda name: None)
    code, _, err = dltrain(*words, "optimizer.lr=0.1,0.2", "sweep.engine=submitit", "trainer.device=cuda")
    assert (code, "pip install 'dltrain[slurm]'" in err) == (2, True)
    assert not [*tmp_path.iterdir()]


def test_finished_runs_are_taken_over(dltrain, tmp_path):
    assert dltrain(*QUICK, "seed=1", "name=before", "trainer.threads=1")[0] == 0
    assert dltrain(*QUICK, "seed=2", "name=before", "optimizer.lr=0.5")[0] == 0
    code, out, err = dltrain("-m", "--reuse", *QUICK, "seed=0,1,2")
    assert code == 0, err
    (before,) = (p for p in tmp_path.glob("runs/before/*") if reading.read(p).config["seed"] == 1)
    assert next(line for line in out.splitlines() if "taken from" in line).startswith("[1] ")
    assert out.count("taken from") == 1
    (sweep,) = tmp_path.glob("runs/sweep/*")
    assert (sweep / "1" / "metrics.jsonl").read_bytes() == (before / "metrics.jsonl").read_bytes()
    assert [reading.read(sweep / str(n)).status for n in range(3)] == ["done"] * 3
    assert [reading.read(sweep / str(n)).typed["seed"] for n in range(3)] == ["0", "1", "2"]
    assert "name" not in reading.read(sweep / "1").typed  # the words are those of the job


def test_a_run_that_is_taken_over_is_called_by_its_place_in_tensorboard(dltrain, tmp_path):
    quick = [*QUICK, "trainer.tensorboard=true", "trainer.threads=1"]
    assert dltrain("-m", *quick, "optimizer.lr=0.1,0.2", "name=before")[0] == 0
    assert dltrain(*quick, "optimizer.lr=0.3", "name=before")[0] == 0
    assert dltrain("-m", "--reuse", *quick, "optimizer.lr=0.2,0.3", "seed=0,1")[1].count("taken from") == 2
    found = [path.parent.relative_to(tmp_path) for path in tmp_path.glob("runs/sweep/*/*/**/events.*")]
    assert sorted(f"{path.parent.name}/{path.name}" for path in found) == [
        *("0/lr=0.2 seed=0", "1/lr=0.2 seed=1", "2/lr=0.3 seed=0", "3/lr=0.3 seed=1"),
    ]


def test_a_run_that_can_not_be_copied_is_trained_anew(dltrain, tmp_path):
    assert dltrain(*QUICK, "seed=1", "name=before", "trainer.threads=1")[0] == 0
    (before,) = tmp_path.glob("runs/before/*")
    (before / "metrics.jsonl").rename(tmp_path / "elsewhere.jsonl")
    (before / "metrics.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    code, out, err = dltrain("-m", "--reuse", *QUICK, "seed=0,1", "name=more")
    assert (code, out.count("taken from")) == (0, 0), err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_only_what_a_run_folder_is_made_of_is_copied(dltrain, tmp_path):
    assert dltrain(*QUICK, "seed=1", "name=before", "trainer.threads=1")[0] == 0
    (before,) = tmp_path.glob("runs/before/*")
    os.mkfifo(before / "pipe")
    (before / "mine").mkdir()
    (before / "0").mkdir()
    with (before / "large").open("w") as file:
        file.truncate(10 << 30)
    code, out, err = dltrain("-m", "--reuse", *QUICK, "seed=0,1", "name=more")
    assert (code, out.count("taken from")) == (0, 1), err
    (copy,) = tmp_path.glob("runs/more/*/1")
    assert {p.name for p in before.iterdir()} - {p.name for p in copy.iterdir()} == {
        "pipe",
        "mine",
        "0",
        "large",
        ".lock",
    }
    shutil.rmtree(tmp_path / "runs" / "more")
    with next(before.glob("checkpoints/best-*/model.safetensors")).open("r+") as file:
        file.truncate(10 << 30)  # which would be copied as zeros
    code, out, err = dltrain("-m", "--reuse", *QUICK, "seed=0,1", "name=other")
    assert (code, out.count("taken from")) == (0, 0), err
    assert not [*tmp_path.glob("runs/other/*/.tmp-*")]


def test_an_average_of_runs_is_not_taken_over(dltrain, tmp_path):
    folder = tmp_path / "runs" / "ensemble" / "20260101-000000-abcd"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("data: {}\n")
    (folder / "summary.json").write_text('{"status": "done", "steps": 1, "members": [{"run": "x"}]}')
    assert dltrain("-m", "--reuse", *QUICK, "seed=0,1")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=0.5,interval(0.1,0.2)", "sweep=random"], "several values can't stand in a list"),
        (["model.widths=[16,interval(8,64)]", "sweep=random"], "several values can't stand in a list"),
        (["model.widths=[16],[range(8,64)]"], "several values can't stand in a list"),
        (["optimizer.lr=tag(log,interval(0.1,0.2)", "sweep=random"], "tag(log,interval(0.001,1))"),
        (["seed=0,1", "sweep=tpe,random"], "`sweep=tpe,random`: give one value"),
        (["seed=0,1", "sweep=random", "sweep.trials=2,3"], "`sweep.trials=2,3`: give one value"),
        (["seed=0,1", "sweep.sampler=TPESampler"], "sweep=optuna does"),
        (["seed=0,1", "sweep.cluster.gpus_per_node=8"], "is for sweep.engine=submitit or ray"),
        (["seed=0,1", "experiment=drawn", "sweep=tpe"], "experiment=drawn sets sweep.method=random, which would win"),
    ],
)
def test_what_would_be_another_sweep_than_was_meant_is_refused(dltrain, tmp_path, words, said):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "drawn.yaml").write_text(
        "# @package _global_\nsweep: {method: random, trials: 2}\n"
    )
    code, out, err = dltrain("--config-dir", "mine", "-m", *QUICK, *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert said in err
    assert not (tmp_path / "runs").exists()


def test_axes_that_change_nothing_and_rungs_that_fall_together_are_said(dltrain, tmp_path):
    words = ("optimizer=sgd", "optimizer.momentum=0.5,0.9", "sweep.prune=halving")
    code, _, err = dltrain("-m", *QUICK, *words)
    assert code == 0
    assert "`optimizer.momentum=0.5,0.9`: the scheduler sets momentum" in err
    assert "jobs pause at validations, and have 1: 9 keep 2 rungs apart" in err
    code, _, err = dltrain("-m", *QUICK, *words[:2], "scheduler.cycle_momentum=false", "trainer.epochs=9")
    assert (code, err) == (0, "")


def test_a_sweep_that_goes_on_takes_over_finished_runs(dltrain, tmp_path):
    words = ("-m", *QUICK, "sweep=random", "optimizer.lr=0.1,0.2,0.3,0.4", "trainer.threads=1", "resume=auto")
    assert dltrain(*words, "sweep.trials=1")[0] == 0
    for rate in (1, 2, 3, 4):
        assert dltrain(*QUICK, f"optimizer.lr=0.{rate}", "name=before", "trainer.threads=1")[0] == 0
    code, out, err = dltrain(*words, "sweep.trials=4", "--reuse")
    assert (code, out.count("taken from")) == (0, 3), err


def test_what_differs_from_hydra_is_composed_by_hydra_when_the_sweep_goes_on(dltrain, tmp_path, monkeypatch):
    from dltrain.config.composer import Composer

    def differs(self, overrides):
        self.quick = False
        return False

    monkeypatch.setattr(Composer, "prove", differs)
    code, _, err = dltrain("-m", *QUICK, "seed=0,1")
    assert (code, "Hydra composes each of these jobs anew" in err) == (0, True)
    (sweep,) = tmp_path.glob("runs/sweep/*")
    (sweep / "1" / "summary.json").unlink()
    seen = []
    made = Composer.__init__
    monkeypatch.setattr(
        Composer, "__init__", lambda self, *a, quick=True: seen.append(quick) or made(self, *a, quick=quick)
    )
    assert dltrain("resume", str(sweep))[0] == 0
    assert seen
    assert not any(seen)


def test_a_table_that_has_changed_since_is_trained_on_again(dltrain, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text("a,b,y\n" + "".join(f"{i % 7},{i % 5},{'ab'[i % 2]}\n" for i in range(60)))
    words = ("data=table", "data.path=rows.csv", "data.target=y", *QUICK[1:])
    assert dltrain(*words, "seed=0", "name=before")[0] == 0
    assert dltrain("-m", "--reuse", *words, "seed=0,1")[1].count("taken from") == 1
    later = time.time() + 10
    os.utime(table, (later, later))
    assert dltrain("-m", "--reuse", *words, "seed=0,2", "name=later")[1].count("taken from") == 0


def test_an_old_sweep_is_refused_in_a_sentence(dltrain, tmp_path):
    folder = tmp_path / "runs" / "sweep" / "20260101-000000-abcd"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"overrides": ["data=iris", "seed=0,1"], "config_dir": []}))
    code, out, err = dltrain("resume", str(folder))
    assert (code, out) == (2, "")
    assert "was begun by an older dltrain; its jobs go on one by one" in err


@pytest.mark.parametrize(
    "words", [["optimizer.lr=0.1"], ["sweep.trials=4"], ["hydra/sweeper=optuna"], ["sweep.engine=x"]]
)
def test_a_sweep_goes_on_as_it_began(dltrain, tmp_path, words):
    assert dltrain("-m", *QUICK, "seed=0,1")[0] == 0
    (sweep,) = tmp_path.glob("runs/sweep/*")
    code, out, err = dltrain("resume", str(sweep), *words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_a_key_that_follows_another_goes_on_with_its_sweep(dltrain, tmp_path):
    assert dltrain("-m", *QUICK, "seed=0,1", "data.split_seed=${seed}")[0] == 0
    (sweep,) = tmp_path.glob("runs/sweep/*")
    (sweep / "1" / "summary.json").unlink()
    code, _, err = dltrain("resume", str(sweep))
    assert code == 0, err
    assert [reading.read(sweep / str(n)).config["data.split_seed"] for n in (0, 1)] == [0, 1]
