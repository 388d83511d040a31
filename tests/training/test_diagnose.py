"""diagnose=true: what is seen in each layer, and that a run computes the same bits with it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dltrain.commands import train
from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.runs import checkpoint, run_folder
from dltrain.training import experiment
from dltrain.training.diagnose import Watch
from dltrain.training.stop import Stop


def finished(folder, *overrides, stop=None, allow=()):
    composed = compose.compose([*overrides, f"runs_dir={folder}", "trainer.epochs=4"])
    assert composed.mistakes == ()
    plan = make_plan(composed, allow)
    made = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, made, ["dltrain"])
    experiment.train(plan, made, stop=stop)
    return plan, made


def state(folder):
    """Everything that the last checkpoint holds but for what a clock says."""
    _, model, rest = checkpoint.latest(folder / "checkpoints")
    return model, rest["trainer"]["random"], rest["trainer"]["optimizer"]


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


CASES = [
    ["data=wine", "model.norm=batch", "model.dropout=0.3"],
    ["data=digits", "optimizer=momentum", "regularisation=[ema,l2,clip_norm,input_noise,max_norm]"],
    ["data=moons", "scheduler=plateau", "optimizer=sgd", "trainer.accumulate=2"],
    ["data=iris", "optimizer=lbfgs", "scheduler=constant", "data.batch_size=full"],
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_a_diagnosed_run_computes_the_same_bits(case, tmp_path):
    _, plain = finished(tmp_path / "a", *case)
    _, watched = finished(tmp_path / "b", *case, "diagnose=true")
    assert equal(state(plain), state(watched))
    assert not (plain / "diagnosis.jsonl").exists()
    lines = [json.loads(line) for line in (watched / "diagnosis.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]


@pytest.mark.usefixtures("unpainted")
def test_of_several_processes_the_first_looks_alone(tmp_path, capsys):
    """Others do not look: to whatever it told them on the way they would listen as to a step, or not at all."""
    case = ["data=digits", "data.batch_size=512", "model.widths=[8]", "model.norm=batch", "trainer.sync_batchnorm=true"]
    plan, folder = finished(tmp_path, *case, "diagnose=true")
    shared = replace(plan, ranks=SimpleNamespace(rank=0, world_size=2))  # it can tell nobody anything
    facts, _ = Watch(shared, build.make_trainer(plan)).look()
    assert all("update" in layer for layer in facts["layers"] if "weight" in layer)
    summary = json.loads((folder / "summary.json").read_text())
    assert train._told(experiment.Ended(shared, folder, summary), []) == 0
    assert any(line.startswith(("complaint", "verdict")) for line in capsys.readouterr().out.splitlines())


def test_nor_does_it_touch_what_a_loss_keeps(tmp_path, monkeypatch):
    (tmp_path / "keeping.py").write_text(
        "import torch\nfrom torch import nn\nclass Centred(nn.CrossEntropyLoss):\n"
        "    def __init__(self):\n        super().__init__()\n        self.register_buffer('centre', torch.zeros(3))\n"
        "    def forward(self, logits, y):\n"
        "        if self.training: self.centre.lerp_(logits.detach().mean(0), 0.1)\n"
        "        return super().forward(logits - self.centre, y)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    case = ["data=iris", "loss=module", "loss._target_=keeping.Centred"]
    _, plain = finished(tmp_path / "a", *case, allow=["keeping"])
    _, watched = finished(tmp_path / "b", *case, "diagnose=true", allow=["keeping"])
    kept = [checkpoint.latest(f / "checkpoints")[2]["trainer"]["loss"] for f in (plain, watched)]
    assert kept[0]["centre"].any()
    assert equal(*kept)
    assert equal(state(plain), state(watched))


def test_each_layer_shows_values_gradient_update_and_averages(tmp_path):
    _, folder = finished(tmp_path, "data=wine", "model.norm=batch", "model.activation=tanh", "diagnose=true")
    line = json.loads((folder / "diagnosis.jsonl").read_text().splitlines()[0])
    seen = {layer["name"]: layer for layer in line["layers"]}
    linear, norm, tanh = (seen[f"layers.{name}1"] for name in ("linear", "norm", "activation"))
    assert linear["gradient"] > 0
    assert 1e-4 < linear["update"] < 0.2
    assert linear["weight"] > 0
    assert linear["weight_gradient"] > 0
    assert norm["std"] == pytest.approx(1, abs=0.1)
    assert {"running_mean", "running_var"} <= norm.keys()
    assert 0 <= tanh["saturated"] < 0.2
    assert -1 <= tanh["low"] < tanh["high"] <= 1
    assert "dead" not in tanh


def test_tensorboard_gets_histograms_of_every_layer(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, folder = finished(tmp_path, "data=iris", "diagnose=true")
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    events.Reload()
    tags = events.Tags()["histograms"]
    for kind, name in (("outputs", "layers.activation1"), ("output_gradients", "layers.linear2")):
        assert f"view/{kind}/{name}" in tags
    for kind in ("weights", "weight_gradients"):
        assert f"view/{kind}/layers.linear1.weight" in tags
    assert len(events.Histograms("view/weights/layers.linear1.weight")) == 4


def test_a_resumed_run_continues_its_diagnosis_without_a_gap_or_a_double(tmp_path):
    case = ["data=iris", "diagnose=true", "trainer.save_every=0"]
    _, whole = finished(tmp_path / "a", *case)
    count = 0

    class After(Stop):
        def __call__(self):
            nonlocal count
            count += 1
            self.reason = "SIGTERM" if count > 25 else None
            return count > 25

    plan, part = finished(tmp_path / "b", *case, stop=After())
    with (part / "diagnosis.jsonl").open("a") as file:
        file.write('{"step": 9999}\n{"ste')  # of a kill after the last checkpoint
    experiment.train(plan, part, resume=True)
    assert (part / "diagnosis.jsonl").read_text() == (whole / "diagnosis.jsonl").read_text()
