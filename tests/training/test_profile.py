"""`trainer.profile`: a trace and a table that hold what they should, and the same bits as without."""

import json

import pytest
import torch

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError
from dltrain.runs import run_folder, storage
from dltrain.training import experiment, overview


def run(root, *overrides):
    plan = make_plan(compose.compose(["trainer.epochs=1", "trainer.tensorboard=false", f"runs_dir={root}", *overrides]))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    return plan, folder, experiment.train(plan, folder)


@pytest.mark.parametrize("step", ["plain", "direct"])
def test_the_steps_after_the_tenth_are_profiled(tmp_path, step):
    plan, folder, summary = run(tmp_path, "trainer.profile=5", f"trainer.step={step}")
    (trace,) = (folder / "profile").glob("*.json")
    assert trace.name == "steps-11-to-15.pt.trace.json"
    events = json.loads(trace.read_text())["traceEvents"]
    products = [e for e in events if e.get("name") == "aten::addmm" and e.get("ph") == "X"]
    assert len(products) == 10  # two layers
    assert all(e["dur"] > 0 for e in products)
    table = (folder / "profile" / "operations.txt").read_text().splitlines()
    (row,) = (line.split() for line in table if line.startswith("aten::addmm"))
    assert float(row[1]) == 2.0
    assert table[-1].startswith("all")
    assert table[-1].endswith("100.0%")
    assert max(map(len, table)) < 80
    text = overview.result(plan, folder, summary)
    assert str(trace) in text
    assert "aten::addmm" in text


def test_a_profile_changes_no_bit(tmp_path):
    weights = []
    for overrides in ([], ["trainer.profile=3"]):
        _, folder, _ = run(tmp_path, "regularisation=dropout", *overrides)
        (file,) = folder.glob("checkpoints/step-*/model.safetensors")
        weights.append(file.read_bytes())
    assert weights[0] == weights[1]


def test_a_run_that_ends_within_the_profile_leaves_a_shorter_one(tmp_path):
    _, folder, _ = run(tmp_path, "trainer.profile=50", "trainer.max_steps=13")
    assert [f.name for f in (folder / "profile").glob("*.json")] == ["steps-11-to-13.pt.trace.json"]
    assert not torch.autograd.profiler._is_profiler_enabled


@pytest.mark.parametrize("steps", [3, 10])
def test_a_run_of_ten_steps_says_that_there_is_none(tmp_path, steps):
    plan, folder, summary = run(tmp_path, "trainer.profile=5", f"trainer.max_steps={steps}")
    assert not (folder / "profile").exists()
    assert "none: the run ended within its first ten steps" in overview.result(plan, folder, summary)


def test_a_disk_that_refuses_the_trace_does_not_stop_the_run(tmp_path, monkeypatch, capsys):
    def refuse(path, contents):
        raise OSError(28, "No space left on device")

    write = storage.write_folder
    monkeypatch.setattr(storage, "write_folder", lambda p, c, **_: (refuse if p.name == "profile" else write)(p, c))
    _, _, summary = run(tmp_path, "trainer.profile=2")
    assert summary["status"] == "done"
    assert "profile can't be written: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(("steps", "why"), [(0, "0 must be above zero"), (5000, "1000 steps are the most")])
def test_a_profile_of_no_steps_or_of_very_many_is_refused(steps, why):
    with pytest.raises(ConfigError, match=rf"trainer\.profile: .*{why}"):
        make_plan(compose.compose([f"trainer.profile={steps}"]))
