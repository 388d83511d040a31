"""Pretrained weights: as torchvision gives them, only what the name promises, read as data, and not needed twice."""

import hashlib
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from dltrain.commands import cli
from dltrain.errors import DataError, system
from dltrain.parts import pretrained
from dltrain.parts.models import torchvision as classifier


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub's, and no network."""

    def no_network(*_, **__):
        raise OSError("no network")

    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def publish(monkeypatch, hub, name, content):
    """Puts a file into the cache as the weights of a model, under a name with its own hash."""
    hub.mkdir(parents=True, exist_ok=True)
    draft = hub / "draft"
    torch.save(content, draft)
    file = draft.rename(hub / f"{name}-{hashlib.sha256(draft.read_bytes()).hexdigest()[:8]}.pth")
    chosen = zoo.get_model_weights(name)["DEFAULT"]
    monkeypatch.setattr(chosen.value, "url", f"https://nowhere/{file.name}")
    return file, chosen


def old_names(state):
    """As densenet's files have them, which are older than the counts of batches."""
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    return OrderedDict((k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."), v) for k, v in state.items())


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "densenet121", "googlenet"])
def test_a_network_is_the_one_that_torchvision_makes_of_the_same_file(hub, monkeypatch, name):
    source = zoo.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    state = source.state_dict()
    file, chosen = publish(monkeypatch, hub, name, old_names(state) if name == "densenet121" else state)
    monkeypatch.setattr(type(chosen), "get_state_dict", lambda self, **_: torch.load(file, weights_only=True))
    theirs, ours = (
        zoo.get_model(name, weights=chosen).eval(),
        classifier(name, (3, 64, 64), 5, weights="DEFAULT").eval(),
    )
    head = next(n for n, m in reversed(list(ours.named_modules())) if isinstance(m, nn.Linear))
    assert ours.get_submodule(head).out_features == 5
    theirs.set_submodule(head, ours.get_submodule(head))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x))
    with pretrained.weights("skip"):  # as a checkpoint is loaded: the same network, with other weights
        again = classifier(name, (3, 64, 64), 5, weights="DEFAULT").eval()
    again.load_state_dict(ours.state_dict())
    torch.testing.assert_close(again(x), ours(x))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_weights_are_kept_and_the_head_is_new(hub, monkeypatch, channels):
    source = zoo.resnet18()
    publish(monkeypatch, hub, "resnet18", source.state_dict())
    model = classifier("resnet18", (channels, 32, 32), 5, weights="IMAGENET1K_V1")
    assert model.fc.out_features == 5
    assert torch.equal(model.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    grey = torch.rand(2, 1, 32, 32)
    response = model.conv1(grey.expand(-1, channels, -1, -1))
    expected = source.conv1(grey.expand(-1, 3, -1, -1))
    if channels == 4:  # the fourth plane is the red one again, all scaled by 3/4
        planes = source.conv1.weight[:, [0, 1, 2, 0]] * 0.75
        expected = nn.functional.conv2d(grey.expand(-1, 4, -1, -1), planes, stride=2, padding=3)
    torch.testing.assert_close(response, expected)


def test_a_failed_download_says_what_to_do(hub):
    with pytest.raises(DataError, match=r"read \(no network\); use weights=null, or put resnet18-\w+.pth into .*hub"):
        classifier("resnet18", (3, 32, 32), 5, weights="DEFAULT")


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("honest", [True, False])
def test_a_pickle_in_the_cache_runs_nothing(hub, monkeypatch, tmp_path, honest):
    """Where our own error tells the user to put a file; also one whose hash an attacker has matched."""
    marker = tmp_path / "marker"
    file, _ = publish(monkeypatch, hub, "resnet18", {"fc.weight": Bomb(marker)})
    if not honest:
        file.write_bytes(pickle.dumps(Bomb(marker)))
    what = r"Weights only load failed" if honest else r"resnet18-\w+.pth is another file: its SHA-256 begins with"
    with pytest.raises(DataError, match=what):
        classifier("resnet18", (3, 32, 32), 5, weights="DEFAULT")
    assert not marker.exists()


@pytest.mark.skipif(not hasattr(system.os, "SEEK_DATA"), reason="this system tells nothing of holes")
def test_a_hole_in_the_cache_is_not_read_for_its_hash(hub, monkeypatch):
    file, _ = publish(monkeypatch, hub, "resnet18", {})
    os.truncate(file, 1 << 30)
    with pytest.raises(DataError, match="is a hole, of which few bytes are stored"):
        classifier("resnet18", (3, 64, 64), 5, weights="DEFAULT")


def test_a_file_of_another_hash_is_not_trained_on(hub, monkeypatch):
    file, _ = publish(monkeypatch, hub, "resnet18", zoo.resnet18().state_dict())
    torch.save(zoo.resnet18().state_dict(), file)
    with pytest.raises(DataError, match=r"another file"):
        classifier("resnet18", (3, 32, 32), 5, weights="DEFAULT")


def command(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return end.value.code, said.out + said.err


def test_a_run_goes_on_and_is_judged_without_the_file(hub, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    file, _ = publish(monkeypatch, hub, "shufflenet_v2_x0_5", zoo.shufflenet_v2_x0_5().state_dict())
    code, said = command(
        capsys,
        *("data=digits", "model=torchvision", "model.name=shufflenet_v2_x0_5", "model.weights=DEFAULT"),
        *(
            "scheduler=constant",
            "trainer.max_steps=2",
            "trainer.tensorboard=false",
            "data.batch_size=16",
            "trainer.overfit_batches=1",
        ),
    )
    assert code == 0, said
    file.unlink()
    (folder,) = tmp_path.glob("runs/*/*")
    (folder / "summary.json").write_text(json.dumps({"status": "running"}))
    for words in (["resume", folder], ["resume", folder, "trainer.max_steps=3"], ["eval", folder], ["doctor", folder]):
        code, said = command(capsys, *words)
        assert code == 0, said
    for path in (folder / "checkpoints").iterdir():  # without them the weights are needed, and not fetched
        path.rename(folder / f"{path.name}.away")
    (folder / "summary.json").write_text(json.dumps({"status": "running"}))
    code, said = command(capsys, "resume", folder)
    assert code == 3
    assert "nothing is downloaded for a stored configuration" in said
