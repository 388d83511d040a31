"""What a user can get wrong on the command line: the message, the exit code, and that nothing is written or lost."""

import gzip
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

from dltrain.commands import cli


@pytest.fixture
def dltrain(tmp_path, monkeypatch, capsys):
    """Runs a command line in an empty folder; returns its exit code and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(a) for a in arguments])
        return stopped.value.code, capsys.readouterr().err

    yield run
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in sys.modules[name].__file__:
            del sys.modules[name]


def refused(result, code, *parts):
    """A refusal: exit code, a short message with these parts, and no trace of a run."""
    assert result[0] == code, result[1]
    for part in parts:
        assert part in result[1]
    assert "Traceback" not in result[1]
    assert not os.path.exists("runs")


# -- the command line ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trainer.epoch=3"], ["`trainer.epoch=3`: unknown key; did you mean `trainer.epochs`?"]),
        (["optimzer=adam"], ["`optimzer=adam`: unknown key; did you mean `optimizer`?"]),
        (["optimizer=adma"], ["optimizer has no `adma`; did you mean `adam`?"]),
        (["+optimzer.x=1"], ["optimzer: there is no such key; did you mean `optimizer`? (override +optimzer.x=1)"]),
        (["+foo=1"], ["foo: there is no such key; there are seed, name, runs_dir, resume, d"]),
        (["optimizer.lr=nan"], ["optimizer.lr: nan is not a finite number (override optimizer.lr=nan)"]),
        (["optimizer.lr=inf"], ["optimizer.lr: inf is not a finite number"]),
        (["optimizer.lr="], ["optimizer.lr: want a number, got an empty text"]),
        (["optimizer.lr=''"], ["optimizer.lr: want a number, got an empty text"]),
        (["optimizer.lr=-1"], ["optimizer.lr: Invalid learning rate: -1 (override optimizer.lr=-1)"]),
        (["seed=08"], ["seed: want a whole number, got the text '08'; write 8 (override seed=08)"]),
        (["name=false"], ["name: want text or null, got false; to mean the word, quote it"]),
        (["name=../x"], ["name: '../x' can't name a folder"]),
        (["trainer.monitor=val/acc"], ["there is no metric `val/acc`; did you mean `val/accuracy`?"]),
        (["loss=mse"], ["loss: mse does not fit the task multiclass of this data; use loss=cross_entropy,"]),
        (["data=diabetes", "loss=bce"], ["bce does not fit the task regression of this data; use loss=mse, mae or"]),
        (["model.widths=64"], ["model.widths: want a list of whole numbers, got 64; write [64]"]),
        (["model.dropout=2"], ["model.dropout: 2 must be at least 0 and below 1 (override model.dropout=2)"]),
        (["optimizer.lr=1,2"], ["`optimizer.lr=1,2` gives several values: add -m"]),
        (["model.widths=[64"], ["`model.widths=[64` can't be read: close every bracket and quote"]),
        (["seed=${seed}"], ["seed: ${seed} can't be resolved: it leads to itself (override seed=${seed})"]),
        (["data=image_folder"], ["data.root: give a value: data.root=..., text (configs/data/image_folder.yaml)"]),
        (["model=module"], ["model._target_: say which class to use, by its dotted name"]),
        (["model=module", "model._target_=os.system"], ["`os.system` is not allowed here"]),
        (["model=module", "model._target_=torch.nn.functional.torch.load"], ["it is `torch.serialization.load`"]),
        (["model=module", "model._target_=my_net.Net"], ["add --allow my_net to the command"]),
        (["--alow", "x"], ["unknown option --alow; did you mean `--allow`?"]),
        (["--epochs", "3"], ["unknown option --epochs; a value is written as in trainer.epochs=3"]),
        (["train", "data=iris"], ["`train`: write key=value or group=name; leave it out: dltrain trains unless told"]),
        (["optimizer.lr=0"], ["scheduler.max_lr: 0: it must be above zero (the value of optimizer.lr, override optim"]),
        (
            ["data.batch_size=1e9"],
            ["want a whole number above zero, full or auto; got 1000000000.0; write 1000000000 "],
        ),
        (
            ["data=table", "data.path=t.csv", "data.target=true"],
            ["got true; to mean the word, quote it"],
        ),
        (
            ["data=table", "data.path=t.csv", "data.target=y", "data.drop=[2019,null,x]"],
            ['\'data.drop=["2019","null","x"]\''],
        ),
        (["--config-dir", "nope"], ["--config-dir nope: there is no such folder"]),
        (["list", "modle"], ["there is no group `modle`; did you mean `model`?"]),
        (["list", "model", "mpl"], ["model has no `mpl`; did you mean `mlp`?"]),
        (["resume"], ["say which run: dltrain resume RUN"]),
        (["resume", "last", "runs_dir=there"], ["a run goes on in its own folder", "there/last"]),
        (["resume", "nothing"], ["no run called `nothing` in runs"]),
        (["-m", "model=mlp,lin"], ["`model=mlp,lin`: model has no `lin`; did you mean `linear`?"]),
        (["-m", "optimizer.lr=1,2", "trainer.epoch=3"], ["unknown key; did you mean `trainer.epochs`?"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_a_wrong_command_is_refused(dltrain, arguments, parts):
    refused(dltrain(*arguments), 2, *parts)


def test_all_mistakes_are_reported_at_once(dltrain):
    code, err = dltrain("trainer.epoch=3", "optimizer.lr=nan", "model.dropout=2", "loss=mse", "seed=08")
    refused((code, err), 2, "trainer.epochs", "optimizer.lr", "write 8")
    code, err = dltrain("loss=mse", "optimizer.eps=-1")  # what only classes and data know
    refused((code, err), 2, "loss: mse", "optimizer.eps")


def test_a_device_that_is_not_there(dltrain, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(dltrain("trainer.device=cuda"), 2, "torch finds no CUDA device on this machine; use trainer.device=cpu")


def test_the_traceback_is_there_for_those_who_ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"unknown key"):
        cli.main(["--debug", "trainer.epoch=3"])


def test_a_name_that_yaml_reads_as_something_else_is_kept(dltrain, tmp_path):
    assert dltrain("name=no", "trainer.fast_dev_run=true", "trainer.tensorboard=false")[0] == 0
    (folder,) = (tmp_path / "runs" / "no").iterdir()
    assert "name: 'no'" in (folder / "config.yaml").read_text()


# -- a user's own experiment file ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "# @package _global_\nmodel:\n  foo: 3\noptimzer:\n  lr: 1\ntrainer:\n  epoch: 3\nname: no\n",
            [
                "model.foo: MLP has no `foo`; it has widths,",
                "optimzer: there is no such key; did you mean `optimizer`? (mine/experiment/exp.yaml)",
                "trainer.epoch: trainer has no `epoch`; did you mean `epochs`? (mine/experiment/exp.yaml)",
                "name: want text or null, got false",
            ],
        ),
        ("model:\n  widths: [3]\n", ["the file's first line must be `# @package _global_`"]),
        ("# @package _global_\nmodel: {widths: [3\n", ["mine/experiment/exp.yaml, line 3: this is not YAML"]),
        ("# @package _global_\nmodel: 3\n", ["model: choose one: model=NAME", "(mine/experiment/exp.yaml)"]),
        ("# @package _global_\ndefaults: [override /model: mpl]\n", ["experiment=exp"]),
        ("# @package _global_\ndefaults:\n  - override /model: mpl\n", ["did you mean `mlp`? (experiment=exp)"]),
        (
            "# @package _global_\nregularisation:\n  early_stopping: {patiense: 3}\n  augmentation: {afine: {}}\n",
            ["early_stopping has no `patiense`; did you mean `patience`?", "did you mean `affine`?"],
        ),
    ],
)
def test_a_wrong_experiment_file(dltrain, tmp_path, text, parts):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "exp.yaml").write_text(text)
    refused(dltrain("--config-dir", "mine", "experiment=exp"), 2, *parts)


def test_a_target_of_an_experiment_file_is_never_imported(dltrain, tmp_path):
    (tmp_path / "evil_pkg.py").write_text("open('imported', 'w')\nfrom torch.nn import Linear as Net\n")
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nmodel:\n  _target_: evil_pkg.Net\n  x: [{_target_: evil_pkg.run}]\n"
    (tmp_path / "mine" / "experiment" / "exp.yaml").write_text(text)
    result = dltrain("--config-dir", "mine", "experiment=exp", "--allow", "other_pkg")
    refused(result, 2, "model._target_: `evil_pkg.Net` is not allowed", "model.x[0]._target_: `evil_pkg.run` is not")
    assert not (tmp_path / "imported").exists()


# -- a user's own code -----------------------------------------------------------------------------------------

NET = """
from torch import nn
class Net(nn.Module):
    def __init__(self, in_features: int, num_classes: int, hidden: int = 8):
        super().__init__()
        if hidden < 2:
            raise ValueError("hidden is too small for me")
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_features, hidden), nn.Linear(hidden, num_classes))
    def forward(self, x):
        return self.layers(x)
"""


def test_own_model_from_the_folder_at_hand(dltrain, tmp_path):
    (tmp_path / "my_net.py").write_text(NET)
    chosen = ["model=module", "model._target_=my_net.Net"]
    refused(dltrain(*chosen), 2, "if my_net is yours and you trust it, add --allow my_net to the command")
    allowed = [*chosen, "--allow", "my_net"]
    refused(dltrain(*allowed, "+model.hidden=1"), 2, "model.hidden: hidden is too small for me (at my_net.py:7)")
    refused(dltrain(*allowed, "model.hidden=4"), 2, "to give your class this argument write +model.hidden=4")
    assert dltrain(*allowed, "+model.hidden=4", "trainer.fast_dev_run=true", "trainer.tensorboard=false")[0] == 0


# -- data ------------------------------------------------------------------------------------------------------


def table(text, *more):
    with open("t.csv", "w") as file:
        file.write(text)
    return ["data=table", "data.path=t.csv", "data.target=y", *more]


ROWS = "".join(f"{i},{i % 5},{'ab'[i % 2]}\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "more", "code", "parts"),
    [
        ("", [], 3, ["t.csv: the file is empty"]),
        ("u,v,y\n", [], 3, ["has a header (u, v, y) and no rows"]),
        ("u,v,z\n" + ROWS, [], 3, ["no column 'y' (data.target)", "Its columns: u, v, z"]),
        ("u,v,y\n" + ROWS + "1,2\n", [], 3, ["t.csv, line 42: 2 cells where the header has 3"]),
        ("u,v,y\n" + ROWS + "1,2,a,4\n", [], 3, ["t.csv, line 42: 4 cells where the header has 3"]),
        ("u,v,y\n" + ROWS + "1,x,a\n", [], 3, ["line 42: 'x' in column 'v', whose other cells are numbers"]),
        ("u,v,y\n" + ROWS + "1,,a\n", ["data.missing=refuse"], 3, ["column 'v' has 1 value missing or not finite"]),
        ("u,v,y\n" + ROWS + "1,2,\n", [], 3, ["target 'y' is missing or not finite in 1 of 41 rows: t.csv, line 42"]),
        ("u,v,y\n" + ROWS, ["data.task=regression"], 3, ["t.csv, line 2: 'a' in target 'y' is not a number"]),
        ("u,v,y\n" + ROWS, ["data.features=[u,w]"], 3, ["'w'"]),
        ("u,v,y\n" + ROWS + "1,-2,a\n", ["data.weight=v"], 3, ["t.csv, line 42: '-2' in column 'v' (data.weight)"]),
        ("u,v,y\n" + ROWS, ["data.group=u", "data.time=v"], 2, ["data.group", "by groups or by data.time=v"]),
        ("u,v,y\n" + ROWS, ["data.group=y"], 2, ["data.group", "this is the target"]),
        ("u,v,y\n" + ROWS, ["data.weight=v", "trainer.step=compiled"], 2, ["trainer.step: rows have weights"]),
        ("u,v,y\n" + ROWS, ["data.scaling=standart"], 2, ["data.scaling", "did you mean `standard`?"]),
    ],
)
def test_a_wrong_table(dltrain, text, more, code, parts):
    refused(dltrain(*table(text, *more)), code, *parts)


@pytest.mark.parametrize(
    ("cell", "note"), [("", "1 value missing"), ("inf", "1 value not finite"), ("nan", "1 value not finite")]
)
def test_what_is_imputed_is_counted_aloud(dltrain, capsys, cell, note):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*table(f"u,v,y\n{ROWS}1,{cell},a\n"), "trainer.fast_dev_run=true", "trainer.tensorboard=false"])
    assert stopped.value.code == 0
    assert f"column 'v': {note}" in capsys.readouterr().out


def test_na_is_a_class_like_any_other(dltrain, tmp_path):
    rows = ROWS.replace(",b", ",NA")
    assert dltrain(*table("u,v,y\n" + rows), "trainer.fast_dev_run=true", "trainer.tensorboard=false")[0] == 0
    (folder,) = (tmp_path / "runs" / "table-mlp").iterdir()
    assert json.loads((folder / "data.json").read_text())["classes"] == ["NA", "a"]


def idx(path, array, cut=None, magic=None):
    header = struct.pack(f">{1 + array.ndim}I", magic or 0x0800 + array.ndim, *array.shape)
    with gzip.open(path, "wb") as file:
        file.write((header + array.astype(np.uint8).tobytes())[:cut])


@pytest.mark.parametrize(
    ("cut", "magic", "top", "parts"),
    [
        (20_000, None, 10, ["train-images-idx3-ubyte.gz", "expected 23,536 bytes, got 20,000"]),
        (10, None, 10, ["train-images-idx3-ubyte.gz"]),
        (None, 0x1234, 10, ["train-images-idx3-ubyte.gz", "00 00 12 34"]),
        (None, None, 99, ["train-labels-idx1-ubyte", "label"]),
    ],
)
def test_a_wrong_idx_file(dltrain, tmp_path, cut, magic, top, parts):
    for name, n in (("train", 30), ("t10k", 20)):
        idx(tmp_path / f"{name}-images-idx3-ubyte.gz", np.zeros((n, 28, 28)), *((cut, magic) if n == 30 else ()))
        idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", np.arange(n) % top)
    refused(dltrain("data=mnist", f"data.root={tmp_path}", "data.val=10"), 3, *parts)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("self.y[:] = 7", "dataset[0]: label 7 is out of range: there are 2 classes from 0"),
        ("self.x[5] = float('nan')", "dataset[5]: x or y holds NaN or infinity"),
        ("self.x = self.x[:0]", "is empty"),
    ],
)
def test_a_wrong_dataset(dltrain, tmp_path, code, message):
    (tmp_path / "my_data.py").write_text(
        "import torch\nfrom torch.utils.data import Dataset\nclass Rows(Dataset):\n    classes = ['a', 'b']\n"
        f"    def __init__(self):\n        self.x, self.y = torch.ones(40, 3), torch.arange(40) % 2\n        {code}\n"
        "    def __len__(self): return len(self.x)\n    def __getitem__(self, i): return self.x[i], self.y[i]\n"
    )
    chosen = ["data=dataset", "data.dataset._target_=my_data.Rows", "data.in_memory=true", "--allow", "my_data"]
    refused(dltrain(*chosen), 3, message)


# -- run folders -----------------------------------------------------------------------------------------------


def test_a_file_in_the_way_of_the_run_folder(dltrain, tmp_path):
    (tmp_path / "there").write_text("mine")
    refused(dltrain("runs_dir=there"), 2, f"runs_dir: {tmp_path / 'there'} is a file; name a folder")
    refused(dltrain("runs_dir=there/below"), 2, "is a file; name a folder (override runs_dir=there/below)")
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that refuses folders even to root")
def test_a_file_system_that_refuses_the_run_folder(dltrain):
    code, err = dltrain("runs_dir=/proc/runs")
    refused((code, err), code, "/proc")
    assert code in (2, 7)  # root passes the question for permission and fails at the folder itself
    assert "runs_dir" in err


@pytest.fixture
def stopped_run(dltrain, tmp_path):
    """The folder of a run that was stopped after two steps."""
    assert dltrain("trainer.fast_dev_run=true", "trainer.tensorboard=false", "data=iris")[0] == 0
    (folder,) = (tmp_path / "runs" / "iris-mlp").iterdir()
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "status": "stopped"}))
    return folder


def contents(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock")
    return {p.relative_to(folder): p.read_bytes() for p in files}


def change(folder, old, new):
    text = (folder / "config.yaml").read_text()
    assert old in text
    (folder / "config.yaml").write_text(text.replace(old, new))


def test_a_run_folder_whose_configuration_was_edited(dltrain, stopped_run):
    change(stopped_run, "- 128", "- 64")
    before = contents(stopped_run)
    code, err = dltrain("resume", stopped_run)
    assert code == 2
    assert "was made with another configuration" in err
    assert "model.widths: [128] then, [64] now" in err
    assert contents(stopped_run) == before


def test_a_checkpoint_of_another_model(dltrain, stopped_run):
    change(stopped_run, "- 128", "- 64")
    (state,) = (stopped_run / "checkpoints").glob("step-*/state.json")
    text = state.read_text().replace("[128]", "[64]")
    state.write_text(text)
    manifest = state.with_name("MANIFEST.json")
    facts = json.loads(manifest.read_text())
    facts["files"]["state.json"] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    manifest.write_text(json.dumps(facts))
    code, err = dltrain("resume", stopped_run)
    assert code == 4
    assert "does not fit this configuration" in err
    assert "linear1" in err


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("_target_: dltrain.models.MLP", "_target_: os.system", "`os.system` is not allowed here"),
        ("activation: relu", "activation: relu\n  a: [{_target_: builtins.eval}]", "`builtins.eval` is not allowed"),
        ("seed: 0", "seed: ${oc.env:HOME}", "which is plain values: it has an interpolation"),
        ("seed: 0", "seed: [", "is not the configuration of a run"),
        ("seed: 0", "sead: 0", "sead: there is no such key; did you mean `seed`?"),
    ],
)
def test_a_strangers_run_folder_runs_nothing(dltrain, stopped_run, old, new, part):
    change(stopped_run, old, new)
    before = contents(stopped_run)
    code, err = dltrain("resume", stopped_run)
    assert code == 2
    assert part in err
    assert str(stopped_run / "config.yaml") in err
    assert contents(stopped_run) == before


def test_a_failing_job_leaves_the_others(dltrain, tmp_path):
    quick = ["trainer.fast_dev_run=true", "trainer.tensorboard=false", "data=iris"]
    words = ("optimizer=nesterov", "optimizer.momentum=0.9,0", "optimizer.nesterov=false,true", "scheduler=constant")
    code, err = dltrain("-m", *words, *quick)
    assert code == 8
    assert "[3] optimizer=nesterov optimizer.momentum=0 optimizer.nesterov=True" in err
    assert "Nesterov momentum requires a momentum and zero dampening" in err
    assert "1 of 4 jobs failed" in err
    statuses = sorted(json.loads(p.read_text())["status"] for p in (tmp_path / "runs").rglob("summary.json"))
    assert statuses == ["done", "done", "done", "failed"]
    shutil.rmtree(tmp_path / "runs")
    code, err = dltrain("-m", "model.dropout=0.1,2", *quick)
    assert code == 2
    assert "model.dropout: 2 must be at least 0 and below 1 (override model.dropout=2)" in err


# -- the same through a real process ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trainer.epoch=3", "x"], 2, "error:\n  `x`: write key=value"),
        (["data=table", "data.path=no.csv", "data.target=y"], 3, "error: no.csv: no such file\n"),
        (["optimizer.lr=1e30", "optimizer=sgd", "scheduler=constant", "trainer.epochs=3"], 5, "error: step "),
    ],
)
def test_a_process_ends_with_the_code(tmp_path, arguments, code, message):
    done = subprocess.run(
        [sys.executable, "-m", "dltrain.commands.cli", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
