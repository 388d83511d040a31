"""Training processes are killed at random moments; resumed, each ends with the same bits and log.

With DLTRAIN_SOAK=1 the counts are those of scripts/soak.sh.
"""

import json
import os
import random
import shlex
import signal
import time
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from killed import Child
from nursery import COMMON, RUNS, SAVING, new_folder, plan_of
from outcomes import outcome

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.engine.trainer import Trainer
from dltrain.runs import checkpoint, run_folder
from dltrain.training import experiment

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))


def lost(folder: Path) -> int:
    """Reports that a kill cost: lines of the log beyond the newest checkpoint."""
    found = checkpoint.latest(folder / "checkpoints")
    file = folder / "metrics.jsonl"
    whole = [line for line in file.read_text().splitlines(True) if line.endswith("\n")] if file.exists() else []
    return sum(json.loads(line)["step"] > (found[2]["trainer"]["steps"] if found else 0) for line in whole)


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_it_ends_with_the_same_bits(case, name):
    case, dice = case(name), random.Random(name)
    trials, kills, inside, most = (167 if SOAK else 6), 0, 0, 0
    for _ in range(trials):
        folder = case.new()
        while True:
            child = Child(case, folder)
            time.sleep(dice.uniform(0, 1.1 * case.seconds))
            if dice.random() < 0.5:  # saves are short: wait for one
                while child.place != SAVING and not child.over():
                    time.sleep(0.0001)
                time.sleep(dice.uniform(0, 0.004))
            where = child.place
            child.signal(signal.SIGKILL)
            if child.ended() == 0:
                break
            kills, inside, most = kills + 1, inside + (where == SAVING), max(most, lost(folder))
            if dice.random() < 0.5:
                assert Child(case, folder).ended() == 0
                break
        assert outcome(folder) == case.expected
        assert not [p for p in folder.rglob(".*") if p.name != ".lock"]
    print(f"\nT1 {name}: {trials} runs, {kills} kills, {inside} inside a save, {trials} identical; {most} report lost")
    assert most <= 1
    _kills["all"] += kills
    _kills["inside a save"] += inside


_kills = {"all": 0, "inside a save": 0}


def test_a_fifth_of_the_kills_came_inside_a_save():
    if _kills["all"] < 50:
        pytest.skip("needs the kills of the tests above")
    print(f"\nT1: {_kills['all']} kills, {_kills['inside a save']} inside a save")
    assert _kills["inside a save"] >= 0.2 * _kills["all"]


def test_stopped_at_any_step_of_thirty_it_ends_with_the_same_bits(case):
    case = case("accumulation")
    total = case.plan.total_steps

    class After:
        """Stops after a number of steps."""

        reason = "SIGTERM"

        def __init__(self, steps):
            self.left = steps + 1

        def after(self, seconds):
            pass

        def by_any(self, left):
            return left

        def __call__(self):
            self.left -= 1
            return self.left <= 0

        wanted = __call__

    steps = range(1, min(30, total) + 1, 1 if SOAK else 3)
    for step in steps:
        folder = case.new()
        experiment.train(case.plan, folder, stop=After(2 * step))  # the loop asks about twice a step
        experiment.train(case.plan, folder, resume=True)
        assert outcome(folder) == case.expected
    print(f"\nT12: stopped and resumed at {len(steps)} steps, all identical")


def test_no_worker_and_two_workers_give_the_same_bits(case, tmp_path):
    name = "streamed images, two workers"
    plan = plan_of(name, "data.workers=0")
    folder, found = new_folder(plan, tmp_path), []
    experiment.train(plan, folder)
    for weights, state, *rest in deepcopy([outcome(folder), case(name).expected]):
        found.append((weights, state, *rest))
        assert state["config"]["data"].pop("workers") == 2 * (len(found) - 1)
    assert found[0] == found[1]


def test_not_a_number_is_met_before_the_update(tmp_path):
    trials = 20
    for trial in range(trials):
        step, kind = 3 + trial, ("loss", "gradient", "data", "weight")[trial % 4]
        how = "plain" if kind in ("loss", "gradient") else "direct"  # those two are hooks, which are autograd's
        words = shlex.split(f"{COMMON} {RUNS['bf16']} trainer.step={how} runs_dir={tmp_path}")
        plan = make_plan(compose.compose(words))
        folder = run_folder.create(plan.runs_dir, plan.name)
        with pytest.MonkeyPatch.context() as patch:
            inner = Trainer._step

            def bad(self, batches, epoch, *, step=step, kind=kind, inner=inner):
                if self.steps == step:
                    _poison(self, batches, kind)
                return inner(self, batches, epoch)

            patch.setattr(Trainer, "_step", bad)
            with pytest.raises(experiment.DivergedError, match=f"step {step + 1}: .*first in .*lr .*gradient norm"):
                experiment.train(plan, folder)
        path, weights, state = checkpoint.latest(folder / "checkpoints")
        assert state["trainer"]["steps"] == step, path
        assert all(t.isfinite().all() for t in weights.values() if t.is_floating_point())
        (kept,) = checkpoint.find(folder / "checkpoints", "diverged")
        _, study = checkpoint.load(kept)
        assert study["step"] == step + 1
        assert 0 < study["samples"][0].numel() <= plan.batch_size
        assert json.loads((folder / "summary.json").read_text())["status"] == "diverged"
    print(f"\nT11: {trials} runs with NaN or infinity, all stopped before the update, last checkpoint finite")


def _poison(trainer, batches, kind):
    if kind == "data":
        batches[0][0][2] = float("inf")
    elif kind == "loss":
        trainer.loss.register_forward_hook(lambda _m, _i, out: out * float("nan"))
    elif kind == "gradient":
        first = trainer.parameters[0]
        first.register_hook(lambda grad: torch.full_like(grad, float("inf")))
    else:
        with torch.no_grad():
            trainer.parameters[0].view(-1)[0] = float("nan")
