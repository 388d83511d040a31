"""Checkpoints: what goes in comes out, damage is noticed, and a failed write harms nothing."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from outcomes import plain

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.errors import CheckpointError
from dltrain.runs import checkpoint, storage
from dltrain.training import experiment


def model():
    return {"weight": torch.arange(6.0).view(2, 3), "count": torch.tensor(3)}


def state():
    shared = torch.randn(4)
    return {
        "steps": 3,
        "nothing": None,
        "yes": True,
        "numbers": [1.5, float("nan"), float("inf"), -(2**62)],
        "pair": (0.9, "x"),
        "by_number": {0: {"step": torch.tensor(1.0), "view": shared[:2]}, 1: {"same": shared}},
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    }


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and (a == b or a != a)


def test_what_goes_in_comes_out(tmp_path):
    path = checkpoint.save(tmp_path, step=3, model=model(), state=(expected := state()))
    assert path.name == "step-00000003"
    assert sorted(p.name for p in path.iterdir()) == [
        "MANIFEST.json",
        "model.safetensors",
        "state.json",
        "state.safetensors",
    ]
    weights, found = checkpoint.load(path)
    assert equal(weights, dict(sorted(model().items())))
    assert equal(found, expected)


def test_transposed_and_shared_tensors_survive(tmp_path):
    weight = torch.randn(3, 4)
    path = checkpoint.save(tmp_path, step=1, model={"a": weight.T, "b": weight, "c": weight}, state={})
    weights, _ = checkpoint.load(path)
    assert torch.equal(weights["a"], weight.T)
    assert torch.equal(weights["b"], weights["c"])


def test_objects_are_refused_rather_than_pickled(tmp_path):
    with pytest.raises(TypeError, match="not set"):
        checkpoint.save(tmp_path, step=1, model=model(), state={"x": {1, 2}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "MANIFEST.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove", "link"])
def test_damage_is_noticed(tmp_path, name, damage):
    file = checkpoint.save(tmp_path, step=1, model=model(), state=state()) / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 4
    elif damage == "cut":
        content = content[:-1]
    elif damage == "grow":
        content += b"x"
    file.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        file.symlink_to(tmp_path / "elsewhere")
    elif damage != "remove":
        file.write_bytes(content)
    if name == "MANIFEST.json" and damage == "link":
        return  # the manifest names no hash of itself; what it lists is checked
    with pytest.raises(CheckpointError, match=file.parent.name):
        checkpoint.load(file.parent)


def test_a_damaged_newest_one_gives_way_to_the_one_before(tmp_path):
    checkpoint.save(tmp_path, step=1, model=model(), state={"steps": 1})
    newest = checkpoint.save(tmp_path, step=2, model=model(), state={"steps": 2})
    (newest / "state.json").write_text("{}")
    path, _, found = checkpoint.latest(tmp_path)
    assert (path.name, found["steps"]) == ("step-00000001", 1)
    (tmp_path / "step-00000001" / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is whole"):
        checkpoint.latest(tmp_path)
    assert checkpoint.latest(tmp_path / "missing") is None


def test_a_later_format_is_named(tmp_path):
    path = checkpoint.save(tmp_path, step=1, model=model(), state={})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    (path / "MANIFEST.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99, and this dltrain reads format 1"):
        checkpoint.load(path)


def test_prune_keeps_what_it_is_told_and_clean_clears_leftovers(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step=step, model=model(), state={})
    best = checkpoint.save(tmp_path, step=2, model=model(), state={}, kind="best")
    checkpoint.save(tmp_path, step=9, model=model(), state={}, kind="diverged")
    (tmp_path / ".tmp-step-00000009-1").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.prune(tmp_path, keep=[best, *checkpoint.find(tmp_path)[-1:]])
    storage.clean(tmp_path)
    kept = ["best-00000002", "diverged-00000009", "notes.txt", "step-00000003"]
    assert sorted(p.name for p in tmp_path.iterdir()) == kept


GOLDEN = {"format-1": "146dc0b9df7aec72e5b441eee0f8b8f0cf5ff92eb50396691a9faa874b72140d"}  # of contents, as JSON


@pytest.mark.parametrize("name", GOLDEN)
def test_checkpoints_of_every_release_stay_loadable(name, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(Path(__file__).parents[1] / "golden" / name, folder)
    _, weights, found = checkpoint.latest(folder / "checkpoints")
    content = json.dumps(plain([weights, found], small=math.inf), sort_keys=True)
    assert hashlib.sha256(content.encode()).hexdigest() == GOLDEN[name]
    # other machines may compute the same table a little differently
    summary = experiment.train(make_plan(compose.stored(folder)), folder, resume=True, allow_changed_data=True)
    assert (summary["status"], summary["steps"]) == ("done", 280)
    print(f"\nT15: {name} loads, and its run goes on to the end")
