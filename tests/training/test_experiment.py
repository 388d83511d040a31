"""Whole runs in process: what stands in the run folder, and that it is right."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.engine.evaluation import evaluate
from dltrain.errors import ConfigError, DivergedError
from dltrain.runs import checkpoint, reading, run_folder
from dltrain.training import board, experiment, overview


def start(tmp_path, *overrides):
    plan = make_plan(compose.compose(["trainer.tensorboard=false", f"runs_dir={tmp_path}", *overrides]))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain", *overrides])
    return plan, folder


def run(tmp_path, *overrides):
    plan, folder = start(tmp_path, *overrides)
    return plan, folder, experiment.train(plan, folder)


def test_the_run_folder_is_complete_and_true(tmp_path):
    plan, folder, summary = run(tmp_path, "data=iris", "trainer.epochs=20", "optimizer.lr=0.01")
    assert {p.name for p in folder.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "data.json",
        "environment.json",
        "metrics.jsonl",
        "overrides.txt",
        "progress.json",
        "summary.json",
    }
    assert folder.parent.name == "iris-mlp"
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["status"] == "done"
    assert "optimizer.lr=0.01" in (folder / "overrides.txt").read_text().splitlines()
    facts = json.loads((folder / "data.json").read_text())
    assert facts["classes"] == ["setosa", "versicolor", "virginica"]
    assert sum(facts["rows"].values()) == 150
    # the configuration that was written makes the same plan again
    again = make_plan(compose.stored(folder))
    assert again.config == plan.config
    # the best weights on disk give the numbers in the summary
    (best,) = checkpoint.find(folder / "checkpoints", "best")
    weights, facts = checkpoint.load(best)
    model = plan.parts["model"](**plan.sizes)
    model.load_state_dict(weights)
    test = evaluate(model, plan_loader(plan, "test"), plan.loss, task="multiclass", metrics="all")
    assert test == summary["test"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 20
    top = max(line["val/accuracy"] for line in lines)
    lowest = min(line["val/loss"] for line in lines if line["val/accuracy"] == top)
    assert (summary["best"]["accuracy"], summary["best"]["loss"]) == (top, lowest)
    assert facts["metrics"] == summary["best"]


def test_what_fails_while_tensorboard_is_told_the_end_costs_no_summary(tmp_path, monkeypatch):
    plan, folder = start(tmp_path, "data=iris", "trainer.epochs=1", "trainer.tensorboard=true")
    monkeypatch.setattr(board, "texts", lambda *_: {}["nothing"])
    with pytest.raises(KeyError, match="nothing"):
        experiment.train(plan, folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("done", plan.total_steps)
    assert "accuracy" in summary["test"]


def test_a_run_that_is_killed_after_tensorboard_was_told_the_end_tells_it_again(tmp_path, monkeypatch):
    plan, folder = start(tmp_path, "data=iris", "trainer.epochs=1", "trainer.tensorboard=true")
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_write_summary", lambda *_: None)
        experiment.train(plan, folder)
    assert json.loads((folder / "summary.json").read_text())["status"] == "running"
    assert experiment.train(plan, folder, resume=True)["status"] == "done"
    events = EventAccumulator(str(folder)).Reload()
    assert len(events.Tensors("run/result")) == len(events.Tensors("run/command")) == 1
    assert [e.step for e in events.Tensors("val/loss")] == [plan.total_steps]
    assert json.loads((folder / "summary.json").read_text())["status"] == "done"


def plan_loader(plan, split):
    from dltrain.config.build import make_loaders

    return make_loaders(plan)[1][split]


def test_a_program_trains_a_plan_and_gets_what_came_out(tmp_path, capsys):
    """Without a command line: nothing is printed, and nothing exits."""
    words = ["data=iris", "trainer.tensorboard=false", "model.widths=[4]", f"runs_dir={tmp_path}", "name=a"]

    def ended(*more, **options):
        return experiment.run(make_plan(compose.compose([*words, *more])), **options)

    whole = ended("trainer.epochs=2")
    assert whole.folder.parent == tmp_path / "a"
    assert whole.summary["status"] == "done"
    assert json.loads((whole.folder / "summary.json").read_text()) == json.loads(json.dumps(whole.summary))
    assert reading.read(whole.folder).steps == 2 * whole.plan.steps_per_epoch
    again = ended("trainer.epochs=2", "resume=auto")
    assert (again.folder, again.summary) == (whole.folder, None)  # it has all its steps
    longer = ended("trainer.epochs=3", "trainer.schedule_steps=4", "resume=auto")
    assert (longer.folder, longer.summary["steps"]) == (whole.folder, 3 * whole.plan.steps_per_epoch)
    stopped = ended("trainer.max_time=1e-9", "seed=1")
    assert (stopped.summary["status"], stopped.summary["reason"]) == ("stopped", "max_time")
    assert experiment.go_on(stopped.plan, stopped.folder).folder == stopped.folder
    with pytest.raises(DivergedError):
        ended("optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant")
    assert {reading.read(folder).status for folder in (tmp_path / "a").iterdir()} == {"done", "stopped", "diverged"}
    assert capsys.readouterr().out == ""


def test_the_same_command_gives_the_same_bits_and_another_seed_does_not(tmp_path):
    def weights(*overrides):
        _, folder, _ = run(tmp_path, "data=wine", "trainer.epochs=3", "model.dropout=0.3", *overrides)
        return checkpoint.latest(folder / "checkpoints")[1]

    first, second, other = weights(), weights(), weights("seed=1")
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


def test_validation_does_not_disturb_training(tmp_path):
    def weights(*overrides):
        _, folder, _ = run(tmp_path, "data=wine", "trainer.epochs=4", "model.dropout=0.3", *overrides)
        return checkpoint.latest(folder / "checkpoints")[1]

    often, rarely = weights("trainer.eval_every=0.25"), weights("trainer.eval_every=4")
    assert all(torch.equal(often[k], rarely[k]) for k in often)


def test_early_stopping_stops_and_keeps_the_best(tmp_path):
    _, folder, summary = run(
        tmp_path,
        "data=iris",
        "trainer.epochs=200",
        "regularisation=[early_stopping]",
        "regularisation.early_stopping.patience=5",
        "scheduler=constant",
        "optimizer.lr=0.01",
    )
    assert summary["status"] == "early_stopped"
    assert summary["steps"] < 200 * 7
    assert summary["best"]["step"] < summary["last"]["step"] == summary["steps"]
    assert len(checkpoint.find(folder / "checkpoints", "best")) == 1


def test_of_a_large_train_part_some_rows_are_judged(tmp_path, capsys):
    plan, folder, summary = run(tmp_path, "data=blobs", "data.n=16000", "trainer.epochs=1")
    assert len(plan.data.train) > 10_000
    assert summary["rows_judged"] == {"train": 10_000, "val": len(plan.data.val), "test": len(plan.data.test)}
    assert f"train is judged on 10,000 of its {len(plan.data.train):,} rows" in overview.result(plan, folder, summary)
    x = torch.cat([batch.x for batch in plan_loader(plan, "train").epoch()])
    assert len(x.unique(dim=0)) == 10_000
    rows = {tuple(row) for row in plan.data.train.x.tolist()}
    assert all(tuple(row) in rows for row in x.tolist())
    again = torch.cat([batch.x for batch in plan_loader(plan, "train").epoch()])
    assert torch.equal(again, x)
    few, folder, summary = run(tmp_path, "data=iris", "trainer.epochs=1")
    assert summary["rows_judged"]["train"] == len(few.data.train)
    assert "is judged on" not in overview.result(few, folder, summary)


def test_overfit_batches_learns_them_by_heart(tmp_path):
    plan, _, summary = run(tmp_path, "trainer.overfit_batches=1", "trainer.epochs=150")
    assert len(plan.data.train) == len(plan.data.val) == plan.batch_size
    assert summary["val"]["accuracy"] == 1.0


def test_fast_dev_run_takes_two_batches_through_everything(tmp_path):
    _, folder, summary = run(tmp_path, "trainer.fast_dev_run=true")
    assert (summary["status"], summary["steps"]) == ("done", 2)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("steps", [1, 3, 33])
def test_max_steps_is_exact(tmp_path, steps):
    _, _, summary = run(tmp_path, "data=iris", f"trainer.max_steps={steps}")
    assert summary["steps"] == steps
    assert summary["last"]["step"] == steps


def test_a_diverging_run_says_so_and_keeps_what_was_good(tmp_path):
    plan, folder = start(
        tmp_path, "data=diabetes", "optimizer=sgd", "optimizer.lr=1e20", "scheduler=constant", "trainer.save_every=0"
    )
    with pytest.raises(DivergedError, match=r"step \d+: the loss is (inf|nan)"):
        experiment.train(plan, folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "diverged"
    assert "Try a smaller optimizer.lr, regularisation.clip_norm=1.0" in summary["error"]
    assert "update was not made" in summary["error"]


def test_a_diverging_run_names_the_key_that_decides_its_rate(tmp_path):
    plan, folder = start(tmp_path, "data=diabetes", "optimizer=sgd", "scheduler.max_lr=1e20")
    with pytest.raises(DivergedError, match=r"Try a smaller scheduler\.max_lr, "):
        experiment.train(plan, folder)


def test_a_run_does_not_go_on_with_another_configuration(tmp_path):
    _, folder, _ = run(tmp_path, "data=iris", "trainer.epochs=1")
    other = make_plan(compose.compose(["data=iris", "model.widths=[7]", "trainer.tensorboard=false"]))
    with pytest.raises(ConfigError, match=r"model\.widths: \[128\] then, \[7\] now"):
        experiment.train(other, folder, resume=True)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=lbfgs", "data.batch_size=full", "scheduler=constant", "trainer.epochs=3"],
        ["optimizer=muon", "regularisation=[mixup,ema,clip_norm,max_norm,input_noise,l1,l2]"],
        ["regularisation=[affine,elastic,crop_flip,erasing,cutmix]"],
        ["scheduler=plateau", "trainer.eval_every=0.5"],
        ["trainer.accumulate=3", "trainer.precision=bf16"],
        ["model=torchvision", "model.name=resnet18", "trainer.max_steps=2", "data.batch_size=16"],
        ["data=multilabel", "trainer.deterministic=true"],
        ["data=breast_cancer", "loss=cross_entropy", "regularisation=[mixup]"],
        ["data=sine", "loss=huber", "optimizer=nesterov"],
    ],
    ids=lambda o: o[0],
)
def test_combinations_run(tmp_path, overrides):
    _, _, summary = run(tmp_path, "trainer.epochs=1", *overrides)
    assert summary["status"] == "done"
    torch.use_deterministic_algorithms(False)


_DENORMALS = """
import sys, torch
from dltrain.config import build; from dltrain.commands import cli
make = build.make_trainer
def watched(*args, **kwargs):
    x = torch.full((1_000_000,), 7, dtype=torch.int32).view(torch.float32)  # 1e-44; written as a number it may be 0
    kept = (x * 1.0).view(torch.int32) != 0
    print(torch.get_num_threads(), "threads keep", int(kept.sum()))
    return make(*args, **kwargs)
build.make_trainer = watched
sys.exit(cli.main(["trainer.threads=2", "trainer.max_steps=2", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("flush", "kept"), [("true", 0), ("false", 1_000_000)])
def test_all_threads_of_a_run_flush_denormals(tmp_path, flush, kept):
    command = [sys.executable, "-c", _DENORMALS, f"trainer.flush_denormal={flush}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"2 threads keep {kept}\n" in done.stdout


def test_determinism_holds_for_the_run_that_asks_for_it():
    for wanted in (True, False, False, True):
        plan = make_plan(compose.compose([f"trainer.deterministic={str(wanted).lower()}"]))
        build.set_threads_and_determinism(plan)
        assert torch.are_deterministic_algorithms_enabled() == wanted
    torch.use_deterministic_algorithms(False)


def test_a_configuration_of_any_length_that_trains_is_also_read(dltrain, tmp_path, monkeypatch):
    names = [f"a_column_whose_name_takes_as_much_room_as_real_ones_do_{i:04d}" for i in range(1_300)]
    rows = "".join(f"{i % 7},{i % 2}{',0' * len(names)}\n" for i in range(30))
    (tmp_path / "t.csv").write_text(",".join(["size", "label", *names]) + "\n" + rows)
    words = ["data=table", "data.path=t.csv", "data.target=label", f"data.drop=[{','.join(names)}]"]
    quick = ["trainer.epochs=1", "trainer.tensorboard=false", "model.widths=[4]"]
    code, _, err = dltrain(*words, *quick)
    assert code == 0, err
    (folder,) = tmp_path.glob("runs/*/*")
    assert (folder / "config.yaml").stat().st_size > 1 << 16
    assert reading.read(folder).config["data.drop"] == names
    assert reading.read(folder).overrides[-1] == quick[-1]
    code, _, err = dltrain("resume", "last", "trainer.epochs=2", "trainer.schedule_steps=1")
    assert code == 0, err
    code, _, err = dltrain("eval", "last")
    assert code == 0, err
    monkeypatch.setattr("dltrain.config.plan.LARGEST_CONFIG", 1 << 16)
    code, _, err = dltrain(*words, *quick, "name=other")
    assert (code, "as YAML, and 65,536 are the most; data.drop takes" in err) == (2, True), err
    assert not (tmp_path / "runs" / "other").exists()


def test_a_value_that_no_run_folder_may_hold_is_refused_before_there_is_one(dltrain, tmp_path):
    (tmp_path / "t.csv").write_text("a,${x},y\n" + "1,2,0\n2,3,1\n" * 10)
    code, _, err = dltrain("data=table", "data.path=t.csv", "data.target=y", r'data.drop=["\${x}"]')
    assert (code, "data.drop=['${x}'] has an interpolation" in err) == (2, True), err
    assert not (tmp_path / "runs").exists()


def test_more_values_than_a_run_folder_may_hold_are_refused_before_there_is_one(dltrain, tmp_path, monkeypatch):
    monkeypatch.setattr("dltrain.runs.foreign._MOST_NODES", 300)
    points = [[i % 7, i % 5] for i in range(100)]
    code, _, err = dltrain("data=rows", f"data.x={points}".replace(" ", ""), f"data.y={[i % 2 for i in range(100)]}")
    assert (code, "the configuration has more than 300 nodes, which a run folder can't hold" in err) == (2, True), err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["data=digits", "optimizer=sgd", "optimizer.lr=1e6"], "the most frequent class"),
        (["data=diabetes", "optimizer=sgd", "optimizer.lr=1e-12"], "the mean of the targets"),
    ],
)
def test_a_run_at_chance_level_says_so_at_its_end(dltrain, words, answer):
    code, out, err = dltrain(*words, "scheduler=constant", "trainer.epochs=1", "trainer.tensorboard=false")
    assert code == 0, err
    lines = out.splitlines()
    assert f"no better    on val and test than one answer for every row, {answer}" in lines
    assert lines[-1] == "next         dltrain doctor last: it says why nothing was learned"


OWN = """
import torch
from torch.utils.data import Dataset

class Rows(Dataset):
    def __init__(self, amounts=False, signal=0.0, names=True):
        draw = torch.Generator().manual_seed(0)
        self.amounts, self.y = amounts, ["not", "asked"]
        self.labels = (torch.rand(300, generator=draw) < 0.3).long()
        self.x = torch.randn(300, 2, generator=draw) + signal * self.labels[:, None]
        if names:
            self.classes = ["a", "b"]
    def __len__(self):
        return 300
    def __getitem__(self, i):
        return self.x[i], float(self.labels[i]) if self.amounts else int(self.labels[i])
"""


@pytest.mark.parametrize("kind", [[], ["names=false"], ["amounts=true", "names=false"]])
@pytest.mark.parametrize("signal", [0, 5])
def test_streamed_datasets_are_held_against_one_answer_too(dltrain, tmp_path, kind, signal):
    (tmp_path / "own_rows.py").write_text(OWN)
    words = ["data=dataset", "data.dataset._target_=own_rows.Rows", f"+data.dataset.signal={signal}"]
    words += [f"+data.dataset.{word}" for word in kind]
    words += ["model=linear", "trainer.epochs=8", "trainer.tensorboard=false", "data.test=0.3"]
    words += ["optimizer=sgd", f"optimizer.lr={0.05 if signal else 1e-12}"]
    code, out, err = dltrain(*words, "--allow", "own_rows")
    assert code == 0, err
    assert ("no better    on val and test than one answer" in out) == (not signal)


def test_labels_are_held_against_what_most_rows_have():
    plan = make_plan(compose.compose(["data=multilabel"]))
    for val, test, chance in ((0.5, 0.5, True), (0.5, 0.9, False), (0.9, 0.5, False)):
        assert overview.nothing_learned(plan, {"val": {"accuracy": val}, "test": {"accuracy": test}}) == chance


def test_of_datasets_whose_y_is_their_own_nothing_is_said():
    made = make_plan(compose.compose(["data=iris"]))
    for y in (["a", "b"], torch.tensor([-1, 1])):
        part = SimpleNamespace(y=y)
        own = replace(made, data=replace(made.data, val=part, test=part))
        assert not overview.nothing_learned(own, {"val": {"accuracy": 0.3}, "test": {"accuracy": 0.3}})


@pytest.mark.parametrize("words", [["data=iris", "optimizer.lr=0.05"], ["data=diabetes"], ["data=multilabel"]])
def test_a_run_that_learned_does_not(dltrain, words):
    code, out, err = dltrain(*words, "trainer.epochs=20", "trainer.tensorboard=false")
    assert code == 0, err
    assert "no better" not in out


def test_a_job_of_a_sweep_at_chance_level_says_so_too(dltrain):
    words = ["-m", "data=diabetes", "optimizer=sgd", "optimizer.lr=1e-12,0.05", "scheduler=constant"]
    code, out, err = dltrain(*words, "trainer.epochs=5", "trainer.tensorboard=false")
    assert code == 0, err
    first, second = (line for line in out.splitlines() if line.startswith("["))
    assert first.endswith(", no better than one answer to every row")
    assert "no better" not in second


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["optimizer=amsgrad"], ["optimizer  Adam, lr 0.001, amsgrad True"]),
        (["optimizer=adam", "optimizer.betas=[0.5,0.9]"], ["optimizer  Adam, lr 0.001, betas [0.5, 0.9]"]),
        (["optimizer=adam", "optimizer.betas=[0.9,0.999]"], ["optimizer  Adam, lr 0.001"]),
        (
            ["optimizer=nesterov", "scheduler.cycle_momentum=false"],
            [
                "optimizer  SGD, lr 0.05, momentum 0.9, nesterov True",
                "scheduler  onecycle, max_lr 0.05, cycle_momentum False",
            ],
        ),
        (["scheduler=warmup_cosine", "scheduler.min_lr=1e-5"], ["scheduler  warmup_cosine, warmup 0.05, min_lr 1e-05"]),
    ],
)
def test_the_plan_tells_optimizers_and_schedules_apart_by_all_that_makes_them(words, lines):
    told = overview.describe(make_plan(compose.compose(["data=iris", *words]))).splitlines()
    assert set(lines) <= set(told)
