"""Each key of a configuration has one role, and the roles are true."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import yaml
from choices import OF_THE_USER, make_files

from dltrain.config import compose
from dltrain.config.choices import CONFIGS
from dltrain.config.plan import make_plan
from dltrain.runs import checkpoint, key_roles, reading, run_folder
from dltrain.runs.key_roles import Role
from dltrain.training import experiment, resuming

GROUPS = ("data", "model", "loss", "optimizer", "scheduler", "trainer", "regularisation")
NAMED = [key for keys in key_roles.KEYS.values() for key in keys]
OTHER = {  # a key without a result -> another value than the default
    "trainer.max_time": "1000",
    "trainer.save_every": "0",
    "trainer.progress": "false",
    "trainer.tensorboard": "true",
    "trainer.profile": "4",
    "trainer.metrics": "[roc_auc,brier]",
    "trainer.rank_timeout": "60",
    "data.workers": "2",
    "name": "other",
    "runs_dir": "others",
    "diagnose": "true",
}


def keys():
    """Every dotted key of configs/, but for those of experiments, which are choices of the others."""
    top = yaml.safe_load((CONFIGS / "train.yaml").read_text())
    found = {key for key in top if key not in ("defaults", "hydra")}
    for group in GROUPS:
        for file in (CONFIGS / group).glob("*.yaml"):
            text = file.read_text()
            if "@package _global_" not in text:
                found |= set(reading.flat(yaml.safe_load(text) or {}, f"{group}."))
    return found


def test_each_key_has_one_role():
    assert [key for key, count in Counter(NAMED).items() if count > 1] == []
    known = keys()
    assert len(known) > 150
    for key in known:
        by_name, by_node = key in NAMED, f"{key.split('.')[0]}.*" in NAMED
        assert by_name or by_node, f"{key} has no role"
        assert key_roles.of(key) in Role
    trainer = {key for key in known if key.startswith("trainer.")}
    assert trainer == {key for key in NAMED if key.startswith("trainer.")}  # no node stands for those: each is named
    stale = {key for key in NAMED if not key.endswith(".*")} - known
    assert stale == set()
    assert key_roles.of("trainer.of_another_version") is key_roles.of("anything.else") is Role.RESULT
    targets = key_roles.of("data"), key_roles.of("model")  # as a run's configuration has them
    assert targets == (Role.PROBLEM, Role.RESULT)


def test_what_may_change_is_what_it_was():
    """`resume=auto` finds runs of older versions by a digest without these."""
    assert {*key_roles.MAY_CHANGE} == {
        *(
            "trainer.epochs",
            "trainer.max_steps",
            "trainer.schedule_steps",
            "trainer.stop_without_mistakes",
            "trainer.step",
            "trainer.matmul",
            "trainer.flush_denormal",
        ),
        *("data.root", "data.path", "data.test_path", "data.on_disk", "data.workers", "name", "runs_dir", "diagnose"),
        *("trainer.max_time", "trainer.report_every", "trainer.save_every", "trainer.progress", "trainer.tensorboard"),
        *("trainer.profile", "trainer.threads", "trainer.device", "trainer.metrics", "trainer.rank_timeout"),
    }


def test_what_may_change_the_bits_of_a_resumed_run_is_held_against_its_checkpoint():
    plan = make_plan(compose.compose(["data=iris", "trainer.monitor=train/loss"]))
    facts = resuming.facts(replace(plan, step="compiled"))
    for key in key_roles.keys(Role.METHOD, Role.MACHINE, Role.REPORTS):
        assert key.removeprefix("trainer.") in facts


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """The last weights of a small run whose rows are read by a loader, from images that are augmented."""
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ("data=image_folder", *OF_THE_USER["image_folder"], "data.in_memory=false", "data.batch_size=2")
    words += ("data.workers=0", "model.widths=[4]", "model.dropout=0.2", "regularisation=[affine,ema]")
    words += ("trainer.epochs=3", "trainer.tensorboard=false", "trainer.threads=1")

    def train(*more):
        plan = make_plan(compose.compose([*words, *more]))
        folder = run_folder.create(plan.runs_dir, plan.name)
        assert experiment.train(plan, folder)["status"] == "done"
        return checkpoint.latest(folder / "checkpoints")[1]

    return train


def test_housekeeping_changes_no_bit(weights):
    assert {*OTHER} == {*key_roles.KEYS[Role.HOUSEKEEPING]}
    before = weights()
    for key, value in OTHER.items():
        after = weights(f"{key}={value}")
        assert all(torch.equal(before[name], after[name]) for name in before), key
    assert not all(torch.equal(before[name], value) for name, value in weights("seed=1").items())


@pytest.mark.parametrize(("monitor", "same"), [("val/loss", False), ("val/rmse", True)])
def test_losses_of_other_units_are_another_problem_and_metrics_in_the_target_s_own_are_not(monitor, same, tmp_path):
    problems = []
    for transform in ("standard", "log"):
        folder = tmp_path / transform
        folder.mkdir()
        text = f"data: {{target_transform: {transform}}}\nloss: {{_target_: m}}\ntrainer: {{monitor: {monitor}}}\n"
        (folder / "config.yaml").write_text(text)
        (folder / "environment.json").write_text(f'{{"monitor": "{monitor}"}}')
        problems.append(reading.problem(reading.read(folder)))
    assert problems[0]["trainer.monitor"] == monitor
    assert (problems[0] == problems[1]) is same
