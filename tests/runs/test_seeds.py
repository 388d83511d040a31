"""`seeds=N`: the runs it makes, what it refuses, and the table over seeds."""

import json
import re
import shutil
import statistics

import pytest

from dltrain.errors import ConfigError
from dltrain.insight import report as reporting
from dltrain.insight import sweep_pictures, trials
from dltrain.runs import reading, seeds, sweep_table
from dltrain.runs import run_folder as runs

ACCURACY = trials.Score("accuracy", True)
QUICK = ["data=iris", "trainer.epochs=2", "trainer.tensorboard=false"]


def results(sweep):
    found = [reading.read(folder) for folder, _ in reading.walk(sweep)]
    return {run.overrides: run.numbers["test/loss"] for run in found}


def test_a_run_with_seeds_is_a_row_of_mean_and_deviation(dltrain, tmp_path):
    code, out, err = dltrain(*QUICK, "seeds=3", "seed=7")
    assert code == 0, err
    (sweep,) = tmp_path.glob("runs/sweep/*")
    runs = [reading.read(folder) for folder, _ in reading.walk(sweep)]
    assert [run.config["seed"] for run in runs] == [7, 8, 9]
    assert len({run.numbers["test/loss"] for run in runs}) == 3
    losses = [run.numbers["test/loss"] for run in runs]
    (row,) = [line for line in out.splitlines() if "3 of 3" in line]
    assert row.split()[0] == "7-9"
    assert f"{statistics.mean(losses):.4g} ± {statistics.stdev(losses):.2g}" in row
    _, shown, _ = dltrain("show", "last")
    assert row in shown.splitlines()
    _, compared, _ = dltrain("compare", "last")
    assert "they differ in their seed alone" in compared
    code, _, err = dltrain(*QUICK, "seed=8", "name=alone")
    (alone,) = tmp_path.glob("runs/alone/*")
    assert reading.read(alone).numbers["test/loss"] == runs[1].numbers["test/loss"]
    assert (
        runs[1].command.replace(" trainer.threads=1", "")
        == "dltrain data=iris trainer.epochs=2 trainer.tensorboard=False seed=8"
    )


def test_with_other_values_there_is_a_row_for_each_best_first(dltrain, tmp_path):
    code, out, err = dltrain("-m", *QUICK, "seeds=2", "optimizer.lr=1e-6,0.05,1e30")
    assert (code, "2 of 6 jobs failed" in err) == (8, True)
    rows = [line.split()[:2] for line in out.splitlines() if " of 2 " in line]
    assert rows == [["0,1", "optimizer.lr=0.05"], ["0,1", "optimizer.lr=1e-06"], ["0,1", "optimizer.lr=1e+30"]]
    assert "0 of 2" in out
    (sweep,) = tmp_path.glob("runs/sweep/*")
    assert json.loads((sweep / "sweep.json").read_text())["overrides"][-2:] == [
        "optimizer.lr=1e-6,0.05,1e30",
        "seed=0,1",
    ]


def test_the_first_seed_may_stand_in_an_experiment(dltrain, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "late.yaml").write_text(
        "# @package _global_\n# Late.\ndefaults:\n  - override /data: iris\nseed: 40\ntrainer: {epochs: 1}\n"
    )
    code, _, err = dltrain("--config-dir", "mine", "experiment=late", "seeds=2")
    assert code == 0, err
    runs = [reading.read(folder) for folder, _ in reading.walk(tmp_path / "runs")]
    assert [run.config["seed"] for run in runs] == [40, 41]
    assert runs[0].command.replace(" trainer.threads=1", "") == "dltrain experiment=late seed=40 --config-dir=mine"


def test_a_sweep_over_seeds_that_was_killed_goes_on(dltrain, tmp_path):
    assert dltrain(*QUICK, "seeds=3")[0] == 0
    (sweep,) = tmp_path.glob("runs/sweep/*")
    whole = results(sweep)
    shutil.rmtree(sweep / "2")  # it had not begun
    (sweep / "1" / "summary.json").unlink()  # and this one was killed
    code, out, err = dltrain("resume", "last")
    assert code == 0, err
    assert "3 of 3" in out
    assert results(sweep) == whole


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["seeds=0"], "`seeds=0`: seeds must be a whole number of 1 or more"),
        (["seeds=2.5"], "must be a whole number"),
        (["seeds="], "must be a whole number"),
        (["seeds=-3"], "must be a whole number"),
        (["seeds=1,2"], "must be a whole number"),
        (["seeds=99999999999999"], "at most 10,000"),
        (["seeds=2", "seed=0,1"], "`seed=0,1` and `seeds=2`: give the seeds one by one, or their number"),
        (["-m", "seeds=2", "seed=0,1"], "give the seeds one by one, or their number"),
        (["seeds=2", "seed=abc"], "seed: 'abc' is not a whole number"),
        (["seeds=2", "optimizer=sgd,adamw"], "add -m"),
        (["seeds=2", "optimizer.lrr=3"], "did you mean `optimizer.lr`?"),
        (["seeds=2", "resume=last"], "a sweep goes on by resume=auto, or dltrain resume FOLDER"),
        (["seeds=2", "++resume=auto"], "a sweep goes on by resume=auto, or dltrain resume FOLDER"),
        (["--cfg", "seeds=x"], "must be a whole number"),
        (["--cfg", "job", "seeds=3", "seed=abc"], "seed: 'abc' is not a whole number"),
        (["seeds=2", "+sweep.params.optimizer.lr='0.1,0.2'"], "it makes a sweep: add -m"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(dltrain, tmp_path, words, text):
    code, _, err = dltrain("data=iris", *words)
    assert (code, text in err) == (2, True), err
    assert not (tmp_path / "runs").exists()


def test_cfg_shows_the_first_and_says_which_follow(dltrain):
    code, out, _ = dltrain("--cfg", "seeds=3", "seed=5")
    assert code == 0
    assert out.startswith("# seeds=3: 3 runs, with seed=5,6,7\n")
    assert "\nseed: 5\n" in out


def test_one_seed_is_a_run_and_the_last_count_holds(dltrain, tmp_path):
    code, out, err = dltrain(*QUICK, "seeds=5", "seeds=1")
    assert code == 0, err
    assert "1 job in" in out
    assert len(list(reading.walk(tmp_path / "runs"))) == 1


def test_mean_and_deviation_in_words():
    assert sweep_table.mean_and_deviation("accuracy", [0.5, 0.75]) == "62.50% ± 17.68%"
    assert sweep_table.mean_and_deviation("loss", [1.0, 1.0]) == "1 ± 0"
    assert sweep_table.mean_and_deviation("loss", [0.25]) == "0.25"
    assert sweep_table.mean_and_deviation("loss", []) == "-"
    assert seeds.spread([]) == (None, None)


# -- one order for all that ranks ------------------------------------------------------------------------------


def sweep_of(root, monitor, *jobs):
    """A sweep as it stands on the disk: (what was typed, the configuration, the best epoch) of each job."""
    folder = root / "runs" / "sweep" / "20260101-000000-abcd"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    for number, (typed, config, best) in enumerate(jobs):
        job = folder / str(number)
        job.mkdir()
        (job / "overrides.txt").write_text("".join(f"{word}\n" for word in typed.split()))
        (job / "environment.json").write_text(json.dumps({"monitor": monitor}))
        if config is not None:
            (job / "config.yaml").write_text(json.dumps(config))
        summary = {"status": "done" if best else "failed", "best": best, "last": best, "test": best, "seconds": 1.0}
        (job / "summary.json").write_text(json.dumps(summary))
    return folder, [reading.read(path, folder) for path, _ in reading.walk(folder)]


def ending(folder, **statuses):
    """The jobs of a sweep, some of which ended otherwise: `job1="diverged"`."""
    for name, status in statuses.items():
        path = folder / name.removeprefix("job") / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": status}))
    return [reading.read(path, folder) for path, _ in reading.walk(folder)]


def seen_orders(folder, jobs):
    """The number of the best job, as each page, table, picture and word has it."""
    page = reporting.sweep_page(folder)
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_pictures, "_compare", lambda gallery, each, *rest: drawn.extend(each))
        sweep_pictures.of_sweep(seeds.ranked(jobs))
    return {
        "best": int(runs.find(f"{folder}/best").name),
        "report of the sweep": int(sweep_table.jobs(folder)[0].folder.name),
        "page": int(re.search(r">run</th>.*?<tbody>\s*<tr>\s*<t[dh][^>]*>(\d+)<", page, re.DOTALL)[1]),
        "picture": int(min(drawn, key=lambda trial: trial.place).jobs),
    }


def job(seed, lr, *, typed="", **best):
    return f"optimizer.lr={lr} seed={seed} {typed}", {"seed": seed, "optimizer": {"lr": lr}}, best


def test_equals_are_ranked_by_their_validation_loss_everywhere(tmp_path):
    folder, jobs = sweep_of(
        tmp_path,
        "val/accuracy",
        ("optimizer.lr=-1 seed=0", None, {}),
        job(0, 0.1, accuracy=0.9, loss=0.5),
        job(0, 0.2, accuracy=0.9, loss=0.2),
        job(0, 0.3, accuracy=0.8, loss=0.1),
    )
    assert [int(run.folder.name) for run in seeds.in_order(jobs)] == [2, 1, 3, 0]
    assert set(seen_orders(folder, jobs).values()) == {2}


@pytest.mark.parametrize("monitor", ["val/accuracy", "val/f1", "val/rmse", "train/loss"])
def test_configurations_are_ranked_by_the_mean_over_their_seeds_everywhere(tmp_path, monitor):
    name, sign = monitor.removeprefix("val/").replace("/", "_"), -1 if monitor in ("val/rmse", "train/loss") else 1
    given = [(0, 0.1, 0.99), (1, 0.1, 0.10), (0, 0.2, 0.80), (1, 0.2, 0.90)]
    jobs = [job(seed, lr, **{name: sign * value, "loss": 1.0}) for seed, lr, value in given]
    folder, found = sweep_of(tmp_path, monitor, *jobs)
    assert set(seen_orders(folder, found).values()) == {3}  # 0 is higher, and its configuration worse
    assert [[int(run.folder.name) for run in group] for group in seeds.ranked(found)] == [[3, 2], [0, 1]]
    lines = sweep_table.table(found).splitlines()
    assert [line.split()[1] for line in lines if " of 2 " in line] == ["optimizer.lr=0.2", "optimizer.lr=0.1"]


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_what_failed_ranks_after_all_others_whatever_it_had_reached(tmp_path, status):
    rates = [(0.1, 0.97), (0.2, 0.90), (0.3, 0.99), (0.4, 0.80)]
    folder, _ = sweep_of(tmp_path, "val/accuracy", *(job(0, lr, accuracy=value, loss=1.0) for lr, value in rates))
    jobs = ending(folder, job0=status, job2=status, job3="stopped")
    assert [int(run.folder.name) for run in seeds.in_order(jobs)] == [1, 3, 2, 0]
    assert set(seen_orders(folder, jobs).values()) == {1}
    assert [trial.jobs for trial in trials.of_groups(seeds.ranked(jobs), ["optimizer.lr"], ACCURACY)] == ["1", "3"]
    assert sweep_pictures.of_sweep([jobs[:1]]).pictures == []
    assert seeds.best(jobs[:1]).folder.name == "0"  # there is no other


def test_a_configuration_of_which_a_seed_failed_ranks_after_all_others(tmp_path):
    """As for a search, and for who goes on where trials are pruned."""
    given = [(0, 0.1, {"accuracy": 0.99}), (1, 0.1, {}), (0, 0.2, {"accuracy": 0.8}), (1, 0.2, {"accuracy": 0.9})]
    folder, jobs = sweep_of(tmp_path, "val/accuracy", *(job(seed, lr, **best) for seed, lr, best in given))
    assert [run.status for run in jobs] == ["done", "failed", "done", "done"]
    assert [int(run.folder.name) for run in seeds.in_order(jobs)] == [3, 2, 0, 1]
    assert set(seen_orders(folder, jobs).values()) == {3}
    jobs = ending(folder, job1="running")
    assert [int(run.folder.name) for run in seeds.in_order(jobs)] == [0, 1, 3, 2]  # as far as it is known


def test_groups_are_those_of_the_configuration_not_of_what_was_typed(tmp_path):
    kept = {"trainer": {"save_every": 1}, "diagnose": True}
    jobs = [job(seed, 0.1, accuracy=0.9, loss=0.5) for seed in range(3)]
    jobs[1][1].update(kept)
    jobs[1] = ("optimizer.lr=1e-1 seed=1 diagnose=true trainer.save_every=1", *jobs[1][1:])
    failed = ("optimizer.lr=0.1 seed=3", None, {})  # before it had a configuration
    _, found = sweep_of(tmp_path, "val/accuracy", *jobs, failed)
    assert [len(group) for group in seeds.groups(found)] == [4]
    assert "0-3 " in sweep_table.table(found)
    twice = [("data.workers=0 seed=0", {"seed": 0}, {"accuracy": 1.0}), ("data.workers=2 seed=0", {"seed": 0}, {})]
    _, found = sweep_of(tmp_path / "other", "val/accuracy", *twice)
    assert "data.workers=2" in sweep_table.table(found)  # each has its row


def test_runs_that_other_metrics_chose_are_not_ranked_among_each_other(tmp_path):
    """As where `auto` was another metric for each of two tables, or a knob of the sweep."""
    rated = [job(0, lr, accuracy=value, roc_auc=value, loss=1.0) for lr, value in ((0.1, 0.7), (0.2, 0.9), (0.3, 0.8))]
    folder, _ = sweep_of(tmp_path, "val/accuracy", *rated)
    (folder / "1" / "environment.json").write_text(json.dumps({"monitor": "val/roc_auc"}))
    jobs = [reading.read(path, folder) for path, _ in reading.walk(folder)]
    assert [int(run.folder.name) for run in seeds.in_order(jobs)] == [2, 0, 1]
    with pytest.raises(ConfigError, match=r"can't be compared, as trainer.monitor differs"):
        runs.find(f"{folder}/best")
