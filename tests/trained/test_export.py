"""`dltrain export`: what the file answers is what the run answers, also on rows that are missing, unknown or alone."""

import builtins
import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import safetensors
import torch
from PIL import Image
from torch import nn

import dltrain
from dltrain.data.tables.encoding import numbers
from dltrain.errors import ConfigError
from dltrain.runs import run_folder, storage
from dltrain.trained import export, inference
from dltrain.trained.serving import Serving

SHORT = ("trainer.max_steps=5", "trainer.tensorboard=false", "trainer.threads=1")
MIXED = ["data=table", "data.path=mixed.csv", "data.target=price", "data.task=regression"]
RUNS = {
    "digits": ["data=digits", "model.norm=batch", "model.dropout=0.1"],
    "one against the rest": ["data=iris", "data.positive=setosa"],
    "hinge": ["data=iris", "loss=hinge"],
    "a one-hot error": ["data=iris", "loss=one_hot_mse"],
    "labels": ["data=multilabel", "model.norm=layer"],
    "a table": [*MIXED, "data.target_transform=log"],
    "codes": [*MIXED, "data.one_hot=0"],
    "codes made zeros and ones": [*MIXED, "data.one_hot=0", "model=linear"],
    "nothing filled in": ["data=diabetes", "model.activation=gelu", "data.target_transform=quantile"],
    "a perceptron": ["data=iris", "data.positive=setosa", "model=perceptron", "loss=perceptron"],
    "pictures": ["data=image_folder", "data.root=pictures", "data.image_size=8"],
}


@pytest.fixture
def command(dltrain):
    """The command in a folder with a table and pictures."""
    sides = ["north", "south", "", "east"]
    rows = [f"{sides[i % 4]},{'' if i % 7 == 2 else 50 + i % 40},{i % 3 > 0},{1000 + 13 * i}" for i in range(60)]
    Path("mixed.csv").write_text("side,area,new,price\n" + "\n".join(rows).replace("True", "true") + "\n")
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        Path("pictures", name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (9, 7), tuple(c + i for c in colour)).save(f"pictures/{name}/{i}.png")
    return dltrain


def train(command, *arguments):
    code, _, err = command(*arguments, *SHORT)
    assert code == 0, err
    return run_folder.find("last")


def ask(path, rows):
    """What an exported file answers to raw rows, read by the library that it is made for."""
    if path.suffix == ".pt2":
        return torch.export.load(str(path)).module()(rows).numpy()
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(["answers"], {"rows": rows.numpy()})[0]


HEADS = ("one against the rest", "hinge", "a one-hot error")  # of which ONNX has what it has of others


@pytest.mark.parametrize(
    ("name", "form"), [(n, f) for n in RUNS for f in export.FORMATS if f != "onnx" or n not in HEADS]
)
def test_the_file_answers_as_the_run_does(command, name, form):
    folder = train(command, *RUNS[name])
    code, out, err = command("export", "last", "--format", form)
    assert code == 0, err
    path, trained = folder / f"model.{form}", inference.open_run(folder, data=True)
    assert f"model.{form} ({path.stat().st_size:,} bytes), checked on" in out
    if form == "safetensors":
        with safetensors.safe_open(path, "pt") as file:
            known, weights = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        assert json.loads(known["preprocessing"]) == trained.facts.preprocessing
        assert tuple(json.loads(known["classes"])) == trained.classes
        assert json.loads(known["config"])["model"]["_target_"].startswith("dltrain.models")
        assert all(torch.equal(value, weights[key]) for key, value in trained.model.state_dict().items())
        return
    real = export.samples(trained)
    found = ask(path, real.rows)
    np.testing.assert_allclose(found, real.answers, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert found.std() > 0
    np.testing.assert_allclose(ask(path, real.rows[:1]), found[:1], rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_an_average_of_runs_is_one_file(command, form):
    for scaling in ("unit", "standard"):
        train(command, "data=digits", f"data.scaling={scaling}")
    assert command("ensemble", "runs", "--top", "2")[0] == 0
    code, _, err = command("export", "last", "--format", form)
    assert code == 0, err
    folder = run_folder.find("last")
    real = export.samples(inference.open_run(folder, data=True))
    np.testing.assert_allclose(ask(folder / f"model.{form}", real.rows), real.answers, rtol=1e-5, atol=1e-5)


def test_the_preprocessing_inside_gives_the_bits_of_training(command):
    for typed in (MIXED, [*MIXED, "data.scaling=quantile"], ["data=digits"], ["data=digits", "data.scaling=standard"]):
        trained = dltrain.load(train(command, *typed))
        module = Serving(trained.model, trained.loss, trained.facts)
        frame = pl.read_csv("mixed.csv", infer_schema=False)
        raw = frame if trained.facts.kind == "table" else torch.randint(17, (50, 1, 8, 8)).float()
        rows = numbers(frame, trained.facts.preprocessing) if trained.facts.kind == "table" else raw
        assert torch.equal(module.prepare(rows), trained.inputs(raw))


@pytest.mark.parametrize(("offset", "unit", "form"), [(1.7e12, 1e4, "pt2"), (1.7e12, 1e4, "onnx"), (0.0, 1e-9, "pt2")])
def test_values_of_any_size_are_answered_and_checked_in_their_own_unit(command, monkeypatch, offset, unit, form):
    lines = [f"{i / 10},{offset + unit * i!r}" for i in range(60)]
    Path("far.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    folder = train(command, "data=table", "data.path=far.csv", "data.target=y", "data.task=regression")
    assert command("export", "last", "--format", form)[0] == 0
    real = export.samples(inference.open_run(folder, data=True))
    found = ask(folder / f"model.{form}", real.rows)
    np.testing.assert_allclose((found - offset) / unit, (real.answers - offset) / unit, rtol=1e-5, atol=1e-3)
    assert len(np.unique(found)) == len(np.unique(real.answers)) > 5
    monkeypatch.setattr(export, "Serving", Off)
    code, _, err = command("export", "last", "--format", form, "-o", f"off.{form}")
    assert code == 2
    assert "answers otherwise than the run" in err
    assert not Path(f"off.{form}").exists()


class Off(Serving):
    """Answers a thousandth of a standard deviation beside the run's."""

    def forward(self, rows):
        return super().forward(rows) + 1e-3 * self.units.std


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_absurd_values_are_cut_in_the_file_as_in_the_run(command, form):
    rows = [f"{1e30 if i % 20 == 3 else i % 37},{i % 11},{i}" for i in range(100)]
    Path("absurd.csv").write_text("a,b,price\n" + "\n".join(rows) + "\n")
    folder = train(command, "data=table", "data.path=absurd.csv", "data.target=price", "data.task=regression")
    assert command("export", "last", "--format", form)[0] == 0
    trained = dltrain.load(folder)
    new = pl.DataFrame({"a": [1e30, 5.0, -1e200, None], "b": [1.0, 2.0, 3.0, 4.0]})
    raw = numbers(new, trained.facts.preprocessing)
    assert torch.equal(Serving(trained.model, trained.loss, trained.facts).prepare(raw), trained.inputs(new))
    assert trained.inputs(new).abs().max() < 10
    np.testing.assert_allclose(ask(folder / f"model.{form}", raw), trained.predict(new).to_numpy(), rtol=1e-5)
    code, _, err = command("predict", "last", "absurd.csv", "-o", "out.csv")
    assert code == 0
    assert "column 'a': 5 values far from all others" in err
    assert "absurd.csv, line 5" in err


def test_what_a_file_says_about_itself_and_of_missing_and_unknown_cells(command):
    folder = train(command, *MIXED)
    for form in ("pt2", "onnx"):
        assert command("export", "last", "--format", form, "-o", f"mine.{form}")[0] == 0
    assert not (folder / "model.pt2").exists()
    inside = {"dltrain.json": ""}
    torch.export.load("mine.pt2", extra_files=inside)
    known = json.loads(inside["dltrain.json"])
    session = onnxruntime.InferenceSession("mine.onnx", providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["dltrain"]) == known
    assert known["rows"]["shape"] == ["rows", 3]
    assert known["rows"]["columns"][0] == {"name": "side", "kind": "text", "categories": ["east", "north", "south"]}
    assert known["answers"] == known["targets"] == ["price"]
    trained = dltrain.load(folder)
    rows = pl.DataFrame(
        {"side": ["west", None, "east"], "area": [None, float("inf"), 70.0], "new": [None, True, False]}
    )
    raw = numbers(rows, trained.facts.preprocessing)
    expected = trained.predict(rows, allow_unknown=True).to_numpy()
    for form in ("pt2", "onnx"):
        np.testing.assert_allclose(ask(Path(f"mine.{form}"), raw), expected, rtol=1e-6)


def test_quantiles_have_no_onnx_form_but_a_pt2_one(command):
    folder = train(command, *MIXED, "data.scaling=quantile")
    code, _, err = command("export", "last", "--format", "onnx")
    assert (code, "ONNX has no operation for data.scaling=quantile" in err) == (2, True)
    assert command("export", "last", "--format", "pt2")[0] == 0
    assert not (folder / "model.onnx").exists()


def test_without_its_data_an_export_is_checked_on_rows_that_are_named(command):
    train(command, *MIXED)
    Path("mixed.csv").rename("moved.csv")
    code, _, err = command("export", "last", "--format", "pt2")
    assert (code, "name some that are here, --samples FILE" in err) == (3, True)
    code, out, err = command("export", "last", "--format", "pt2", "--samples", "moved.csv")
    assert code == 0, err
    assert "checked on 61 rows of moved.csv" in out


def test_pictures_on_the_scale_of_bytes_check_a_set_with_its_own_levels(command):
    train(command, "data=digits")
    code, out, err = command("export", "last", "--format", "pt2", "--samples", "pictures")
    assert code == 0, err
    assert "checked on 24 rows of pictures" in out


def test_what_can_not_be_exported_is_said_in_a_sentence(command, tmp_path, monkeypatch):
    (tmp_path / "branching_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, in_features: int, out_features: int):\n"
        "        super().__init__(nn.Linear(in_features, out_features))\n"
        "    def forward(self, x):\n"
        "        return super().forward(x.nan_to_num() if x.isnan().any().item() else x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = train(command, "data=iris", "model=module", "model._target_=branching_net.Net", "--allow", "branching_net")
    for form in ("pt2", "onnx"):
        code, out, err = command("export", "last", "--format", form, "--allow", "branching_net")
        assert (code, out) == (2, "")
        assert err.startswith(f"error: Net can't be exported as {form}: ")
        assert len(err.splitlines()) == 1
    assert command("export", "last", "--format", "safetensors", "--allow", "branching_net")[0] == 0
    code, _, err = command("export", "last", "--format", "safetensors")
    assert (code, "a package of your own you name yourself, by --allow" in err) == (2, True)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shutil.rmtree(copy / "checkpoints")
    code, _, err = command("export", str(copy), "--format", "pt2", "--allow", "branching_net")
    assert (code, "has no checkpoint yet" in err) == (4, True)
    code, _, err = command("export", "last", "--format", "pickle")
    assert (code, "invalid choice: 'pickle'" in err) == (2, True)


class Wrong(nn.Module):
    """A serving module that is off by a little."""

    def __init__(self, model, loss, facts):
        super().__init__()
        self.inner = Serving(model, loss, facts)

    def forward(self, rows):
        return self.inner(rows) + 1e-3


def test_a_file_that_answers_otherwise_is_not_kept(command, monkeypatch):
    """That of ONNX is `Off`, above."""
    trained = inference.open_run(train(command, "data=iris"), data=True)
    monkeypatch.setattr(export, "Serving", Wrong)
    with pytest.raises(ConfigError, match=r"MLP as pt2 answers otherwise than the run \(difference 0.001\)"):
        export.export(trained, "pt2")


def test_without_the_extra_packages_the_remedy_is_said(command, monkeypatch):
    train(command, "data=iris")
    real = builtins.__import__

    def without(name, *rest):
        if name == "onnxruntime":
            raise ImportError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = command("export", "last", "--format", "onnx")
    assert (code, "pip install onnx onnxscript onnxruntime" in err) == (2, True)


def test_a_full_disk_leaves_the_old_file_whole(command, monkeypatch):
    folder = train(command, "data=iris")
    (folder / "model.pt2").write_text("the old one")

    class Full:
        def __getattr__(self, name):
            return getattr(os, name)

        def write(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "disk", Full())
    code, _, err = command("export", "last", "--format", "pt2")
    assert (code, "model.pt2 can't be written: No space left on device" in err) == (7, True)
    assert (folder / "model.pt2").read_text() == "the old one"
