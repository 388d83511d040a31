"""A run done again in memory goes the same way, bit for bit."""

import json
from itertools import pairwise

import pytest
import torch

from dltrain.commands import cli
from dltrain.config.plan import make_plan
from dltrain.runs import checkpoint
from dltrain.training import replay, resuming


def run(folder, *overrides):
    with pytest.raises(SystemExit) as stop:
        cli.main([*overrides, f"runs_dir={folder}"])
    assert stop.value.code == 0
    (found,) = folder.glob("*/*")
    return found, make_plan(resuming.stored(found))


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=moons", "model.dropout=0.2", "model.norm=batch", "trainer.epochs=3"],
        ["data=moons", "optimizer=sgd", "scheduler=plateau", "scheduler.patience=0", "trainer.epochs=6"],
        [
            *("data=moons", "optimizer=sgd", "trainer.epochs=8", "trainer.report_every=2", "trainer.eval_every=2"),
            *("scheduler=plateau", "scheduler.patience=0", "scheduler.monitor=train/loss", "scheduler.threshold=0.9"),
        ],
        ["data=iris", "regularisation=[ema,early_stopping,mixup]", "trainer.accumulate=2", "trainer.epochs=20"],
    ],
    ids=["dropout", "plateau", "plateau of the training loss", "ema"],
)
def test_it_ends_at_the_weights_of_the_run(overrides, tmp_path):
    folder, plan = run(tmp_path, *overrides)
    steps = json.loads((folder / "summary.json").read_text())["steps"]
    way = replay.replay(plan, steps=steps, wanted=replay.moments(steps, 8), seconds=60)
    assert way.steps[0] == 0
    assert way.steps[-1] == steps
    last = checkpoint.load(checkpoint.find(folder / "checkpoints")[-1])[0]
    assert way.ends_like(last)
    assert not way.ends_like({name: value + 1 for name, value in last.items()})
    before = checkpoint.load(checkpoint.find(folder / "checkpoints")[-1])[0]
    assert all(torch.equal(before[name], last[name]) for name in last)


def test_it_gives_up_when_time_is_out(tmp_path):
    _, plan = run(tmp_path, "data=moons", "trainer.epochs=1")
    assert replay.replay(plan, steps=plan.total_steps, wanted=[plan.total_steps], seconds=0) is None


def test_moments_are_close_together_at_first():
    found = replay.moments(1000, 30)
    assert found[0] == 0
    assert found[-1] == 1000
    gaps = [b - a for a, b in pairwise(found)]
    assert gaps == sorted(gaps)
    assert replay.moments(3, 30) == [0, 1, 2, 3]
