"""Hostile checkpoints and run folders, what a `_target_` may not name, and constructs that the source may not use."""

import ast
import csv
import gzip
import hashlib
import importlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import signal
import struct
import sys
import tarfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from outside import OUTSIDE
from sweep_records import write_record

from dltrain.commands import cli
from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.config.policy import resolve
from dltrain.data.preprocessing import facts
from dltrain.errors import ConfigError, DataError
from dltrain.runs import checkpoint, run_folder
from dltrain.trained.predict import as_csv
from dltrain.training import experiment

ROOT = Path(__file__).parents[2]
SECONDS = 60  # of a busy machine, in which each hostile folder must have been refused


# -- T6: hostile checkpoints and run folders -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small real run, which looks as if it had been killed before its end."""
    root = tmp_path_factory.mktemp("finished")
    typed = ["data=iris", "trainer.epochs=1", "trainer.tensorboard=false", f"runs_dir={root}"]
    plan = make_plan(compose.compose(typed))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain", *typed])
    experiment.train(plan, folder)
    (folder / "summary.json").write_text('{"status": "running"}')
    return folder


SECRET = "token-of-the-user"


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A copy of it, to be spoiled."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", SECRET)
    return Path(shutil.copytree(finished, tmp_path / "run"))


class TooSlow(BaseException):
    """Of no kind that the program could take for an error of its own."""


def resume(folder, *arguments, command="resume"):
    """The exit code of `dltrain resume`, or of another command, its seconds, and what it said."""

    def give_up(*_):
        raise TooSlow

    said, before = io.StringIO(), signal.signal(signal.SIGALRM, give_up)
    begin = time.perf_counter()
    signal.alarm(SECONDS)
    try:
        with redirect_stderr(said), redirect_stdout(said), pytest.raises(SystemExit) as end:
            cli.main([command, str(folder), *arguments])
        code = end.value.code
    except TooSlow:
        code = f"none within {SECONDS} s"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return code, time.perf_counter() - begin, said.getvalue()


def step(run):
    """The folder of the one checkpoint to go on from."""
    return checkpoint.find(run / "checkpoints")[-1]


def put(run, name, content):
    """Writes a file of the checkpoint, and its size and hash in the manifest, as an attacker would."""
    (step(run) / name).write_bytes(content)
    facts = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest(run, lambda m: m["files"].__setitem__(name, facts))


def manifest(run, change):
    file = step(run) / "MANIFEST.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def state(run, value, *keys):
    """Sets a value of state.json by its keys: of tagged dicts, or positions in lists."""
    tree = json.loads((step(run) / "state.json").read_text())
    node = tree
    for i, key in enumerate(keys):
        pairs = (
            {k if isinstance(k, (str, int)) else None: n for n, (k, _) in enumerate(node["dict"])}
            if isinstance(node, dict)
            else {}
        )
        holder, place = (node["dict"][pairs[key]], 1) if isinstance(node, dict) else (node, key)
        if i == len(keys) - 1:
            holder[place] = value
        node = holder[place]
    put(run, "state.json", json.dumps(tree).encode())


def settings(run, change):
    """Changes the stored configuration."""
    file = run / "config.yaml"
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def as_pickle(marker):
    return pickle.dumps(Bomb(marker))


def as_torch(marker):
    file = io.BytesIO()
    torch.save({"model": Bomb(marker), "x": torch.zeros(2)}, file)
    return file.getvalue()


def tensors(header, body=b""):
    """A safetensors file with any header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def swap(path, make):
    """Something else in the place of a file."""
    path.unlink()
    make(path)


def link_out(path):
    """A link to a file of the same content elsewhere: only that it is a link is wrong."""
    other = path.parents[3] / path.name
    shutil.move(path, other)
    path.symlink_to(other)


def touch(marker):
    return {"_target_": "pathlib.Path.touch", "self": str(marker)}


def system(marker):
    return {"_target_": "os.system", "command": f"touch {marker}"}


def archive(run, marker):
    """The `_target_` of a function, which would unpack an archive of the run folder to the marker's place."""
    packed = run / f"{marker.name}.gz"
    packed.write_bytes(gzip.compress(b"x"))
    name = "torchvision.datasets.utils.download_and_extract_archive"
    places = {"download_root": str(run), "extract_root": str(marker.parent), "filename": packed.name}
    return {"_target_": name, "url": "http://localhost:9/none", **places}


def aircraft(run, marker):
    """A data set of torchvision's that unpacks the archive beside it with no filter and no hash, if it may."""
    with tarfile.open(run / "fgvc-aircraft-2013b.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(f"../{marker.name}")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    return {"_target_": "torchvision.datasets.FGVCAircraft", "root": str(run), "download": True}


def nested(levels=12):
    """Interpolations that double at every level."""
    first = 'a0: "\\x24{seed}"\n'
    return first + "".join(f'a{i}: "{2 * f"{chr(92)}x24{{a{i - 1}}}"}"\n' for i in range(1, levels))


def bomb(levels=9):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def encoder(num_layers, **sizes):
    layer = {"_target_": "torch.nn.TransformerEncoderLayer", **sizes}
    return {"_target_": "torch.nn.TransformerEncoder", "encoder_layer": layer, "num_layers": num_layers}


def dataset(value):
    return {"_target_": "dltrain.data.datasets.dataset", "dataset": value, "batch_size": 4, "workers": 0}


def callback(marker):
    """What Hydra would run when a sweep starts."""
    return f"_target_: os.mkdir\npath: {marker}\n"


def sweep(run, overrides, **files):
    """A sweep's record, with a config folder of its own beside it."""
    for name, text in files.items():
        path = run / "configs" / "own" / "evil" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    write_record(run, ["data=iris", "trainer.epochs=1", "trainer.tensorboard=false", "seed=1,2", *overrides])


def edited(run, name, old, new):
    """A sweep, with one of the packaged files that it keeps changed."""
    sweep(run, [])
    path = run / "configs" / "packaged" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def written(run, key, text):
    """Writes the value of a key at the top of the configuration as it would be typed."""
    file = run / "config.yaml"
    file.write_text(re.sub(rf"^{key}: .*$", lambda _: f"{key}: {text}", file.read_text(), flags=re.MULTILINE))


def append(run, text):
    with (run / "config.yaml").open("a") as file:
        file.write(text)


FILES = ("model.safetensors", "state.safetensors", "state.json", "MANIFEST.json")
PATH_TAG = "!!python/object/apply:pathlib.PosixPath"
HOSTILE = {  # what each does to a run folder; the second argument is a file that must not appear
    **{f"a pickle as {n}": (lambda r, m, n=n: put(r, n, as_pickle(m))) for n in FILES[:3]},
    **{f"a torch.save file as {n}": (lambda r, m, n=n: put(r, n, as_torch(m))) for n in FILES[:3]},
    "a pickle as the manifest": lambda r, m: (step(r) / "MANIFEST.json").write_bytes(as_pickle(m)),
    "a torch.save file as the manifest": lambda r, m: (step(r) / "MANIFEST.json").write_bytes(as_torch(m)),
    "a pickle as the configuration": lambda r, m: (r / "config.yaml").write_bytes(as_pickle(m)),
    "a pickle as the best weights": lambda r, m: (
        checkpoint.find(r / "checkpoints", "best")[0] / "model.safetensors"
    ).write_bytes(as_pickle(m)),
    "names with ../ in the manifest": lambda r, m: manifest(
        r, lambda c: c.__setitem__("files", {f"../../../{n}": f for n, f in c["files"].items()})
    ),
    "a manifest that is a list": lambda r, m: (step(r) / "MANIFEST.json").write_text("[1]"),
    "a manifest of deep nesting": lambda r, m: (step(r) / "MANIFEST.json").write_text("[" * 200_000),
    **{f"a link as {n}": (lambda r, m, n=n: link_out(step(r) / n)) for n in FILES},
    **{f"a pipe as {n}": (lambda r, m, n=n: swap(step(r) / n, os.mkfifo)) for n in FILES},
    **{f"a folder as {n}": (lambda r, m, n=n: swap(step(r) / n, Path.mkdir)) for n in FILES},
    "a device as the weights": lambda r, m: swap(step(r) / "model.safetensors", lambda p: p.symlink_to("/dev/zero")),
    "a claim of 10 GB": lambda r, m: manifest(r, lambda c: c["files"]["state.json"].__setitem__("size", 10 << 30)),
    "a tensor of 10 GB": lambda r, m: put(
        r, "model.safetensors", tensors({"w": {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, 10**10]}})
    ),
    "a shape beyond 64 bits": lambda r, m: put(
        r,
        "model.safetensors",
        tensors({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"abcd"),
    ),
    "a header beyond the file": lambda r, m: put(r, "model.safetensors", struct.pack("<Q", 2**63) + b"{}"),
    "offsets that go back": lambda r, m: put(
        r, "model.safetensors", tensors({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"abcd")
    ),
    "a future format": lambda r, m: manifest(r, lambda c: c.__setitem__("format", 99)),
    "another step": lambda r, m: manifest(r, lambda c: c.__setitem__("step", 8)),
    "an unknown tag": lambda r, m: put(r, "state.json", b'{"object": "os.system"}'),
    "a state of deep nesting": lambda r, m: put(r, "state.json", b'{"tuple":[' * 100_000),
    "a best checkpoint outside": lambda r, m: state(r, "../../best", "best_metrics", "step"),
    "NumPy's generator out of its table": lambda r, m: state(r, 10**9, "trainer", "random", "numpy", 2),
    "negative numbers in Python's generator": lambda r, m: state(r, -1, "trainer", "random", "python", 1, 0),
    "huge numbers in Python's generator": lambda r, m: state(r, 2**70, "trainer", "random", "python", 1, 0),
    "a clock of 400 digits": lambda r, m: state(r, 10**400, "seconds"),
    "a gradient of 400 digits": lambda r, m: state(r, 10**400, "trainer", "gradient_norm"),
    "a schedule of 400 digits": lambda r, m: state(r, 10**400, "plan", "schedule_steps"),
    "a tensor as the seed": lambda r, m: state(r, {"tensor": "1"}, "config", "seed"),
    "a report of no steps": lambda r, m: state(r, True, "trainer", "pending"),
    "os.system as the model": lambda r, m: settings(r, lambda c: c.__setitem__("model", system(m))),
    "os.system as the data": lambda r, m: settings(r, lambda c: c.__setitem__("data", system(m))),
    "os.system as the optimizer": lambda r, m: settings(r, lambda c: c.__setitem__("optimizer", system(m))),
    "os.system as the dataset": lambda r, m: settings(r, lambda c: c.__setitem__("data", dataset(system(m)))),
    "os.system in a list": lambda r, m: settings(r, lambda c: c["model"].__setitem__("widths", [system(m)])),
    "os.system in a dict": lambda r, m: settings(
        r, lambda c: c["model"].__setitem__("activation", {"a": {"b": [system(m)]}})
    ),
    "os.system in the settings": lambda r, m: settings(r, lambda c: c["trainer"].__setitem__("epochs", system(m))),
    "os.system at the top": lambda r, m: settings(r, lambda c: c.update(system(m))),
    "a method as the model": lambda r, m: settings(r, lambda c: c.__setitem__("model", touch(m))),
    "a partial": lambda r, m: settings(r, lambda c: c.__setitem__("model", {**system(m), "_partial_": True})),
    "an unpacker as the dataset": lambda r, m: settings(r, lambda c: c.__setitem__("data", dataset(archive(r, m)))),
    "an unpacker as an argument": lambda r, m: settings(
        r,
        lambda c: c.__setitem__(
            "data", dataset({"_target_": "torchvision.datasets.FakeData", "transform": archive(r, m)})
        ),
    ),
    "a data set that unpacks what lies beside it": lambda r, m: settings(
        r, lambda c: c.__setitem__("data", dataset(aircraft(r, m)))
    ),
    "a data set that would be downloaded to a folder of the file's choice": lambda r, m: settings(
        r, lambda c: c.__setitem__("data", {"_target_": "dltrain.data.images.mnist", "root": str(m), "batch_size": 4})
    ),
    "a class list of torchvision's that unpacks by itself": lambda r, m: settings(
        r, lambda c: c.__setitem__("data", dataset({"_target_": "torchvision.datasets.ImageNet", "root": str(r)}))
    ),
    "a transform that calls": lambda r, m: settings(
        r,
        lambda c: c.__setitem__(
            "data",
            dataset(
                {
                    "_target_": "torchvision.datasets.FakeData",
                    "transform": {"_target_": "torchvision.transforms.Lambda", "lambd": archive(r, m)},
                }
            ),
        ),
    ),
    "pretrained weights of torchvision's own": lambda r, m: settings(
        r, lambda c: c.__setitem__("model", {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"})
    ),
    "a net of as many layers as nobody has": lambda r, m: settings(
        r, lambda c: c.__setitem__("model", encoder(d_model=4, nhead=1, num_layers=10**9))
    ),
    "a net that fetches a backbone": lambda r, m: settings(
        r, lambda c: c.__setitem__("model", {"_target_": "torchvision.models.segmentation.fcn_resnet50"})
    ),
    "a sweep over a data set that unpacks": lambda r, m: sweep(
        r,
        [
            "data=dataset",
            *(f"++data.dataset.{k}={v}" for k, v in aircraft(r, m).items()),
        ],
    ),
    "an interpolation by an escape": lambda r, m: written(r, "name", r'"\x24{oc.env:TOKEN}"'),
    "an interpolation by another escape": lambda r, m: written(r, "name", r'"\u0024\x7boc.env:TOKEN}"'),
    "an interpolation as a key": lambda r, m: append(r, '"\\x24{seed}": 1\n'),
    "nested interpolations": lambda r, m: append(r, nested()),
    "a harmless tag": lambda r, m: written(r, "name", "!!str a"),
    "a path as the name": lambda r, m: written(r, "name", f"{PATH_TAG} [a]"),
    "a key twice": lambda r, m: append(r, "seed: 0\nseed: 1\n"),
    "a node of Hydra's": lambda r, m: append(r, f"hydra: {{callbacks: {{x: {{_target_: os.mkdir, path: {m}}}}}}}\n"),
    "the environment": lambda r, m: settings(r, lambda c: c.__setitem__("name", "${oc.env:HOME}")),
    "a resolver": lambda r, m: settings(r, lambda c: c.__setitem__("seed", "${oc.decode:'1'}")),
    "a bomb of aliases": lambda r, m: (r / "config.yaml").write_text(bomb()),
    "an alias to itself": lambda r, m: append(r, "x: &x [*x]\n"),
    "a Python object": lambda r, m: append(r, f"x: !!python/object/apply:os.system ['touch {m}']\n"),
    "a Python name": lambda r, m: append(r, "x: !!python/name:os.system\n"),
    "a path object": lambda r, m: append(r, f"x: {PATH_TAG} [{m}]\n"),
    "a configuration of 2 MB": lambda r, m: append(r, "x: [" + "1," * 1_000_000 + "]\n"),
    "a configuration of 1 MB": lambda r, m: (r / "config.yaml").write_text("- 1\n" * 260_000),
    "a configuration of deep nesting": lambda r, m: (r / "config.yaml").write_text("[" * 500_000),
    "a sweep with Hydra's callbacks": lambda r, m: sweep(r, [f"+hydra.callbacks.x={{_target_:os.mkdir,path:{m}}}"]),
    "a sweep with Hydra's launcher": lambda r, m: sweep(r, ["++hydra/launcher=submitit"]),
    "a sweep with the environment": lambda r, m: sweep(r, ["name=${oc.env:HOME}"]),
    "a sweep with the environment by an escape": lambda r, m: sweep(r, ["name=$\\{oc.env:TOKEN\\}"]),
    "a sweep with the environment in quotes": lambda r, m: sweep(r, ["name='\\${oc.env:TOKEN}'"]),
    "a sweep with signs for the terminal": lambda r, m: sweep(r, ["name='a\x1b[2J'"]),
    "a sweep with an option": lambda r, m: sweep(r, ["--config-dir=/tmp"]),
    "a sweep with a search path": lambda r, m: sweep(r, [f"hydra.searchpath=[file://{r}]"]),
    "a sweep whose own config file stands among Hydra's": lambda r, m: sweep(
        r, ["+evil@hydra.callbacks.x=name"], name=callback(m)
    ),
    "a sweep whose own config file sets Hydra's": lambda r, m: sweep(
        r,
        ["+evil=name"],
        name=f"# @package _global_\nhydra: {{callbacks: {{x: {{{callback(m).replace(chr(10), ', ')}}}}}}}",
    ),
    "the same behind what only Hydra can parse": lambda r, m: sweep(
        r,
        ["+evil=name"],
        name=f"# @package _global_\nx: {PATH_TAG} [a]\nhydra:\n  callbacks:\n    x: "
        f"{{_target_: os.mkdir, path: {m}}}\n",
    ),
    "a sweep with a date that there is not": lambda r, m: sweep(r, ["+evil=name"], name="x: 2001-99-99\n"),
    "a sweep with a list of 300 KB": lambda r, m: sweep(r, [f"model.widths=[{'1,' * 150_000}1]"]),
    "a sweep with a list of 10,000 values": lambda r, m: sweep(r, [f"model.widths=[{'1,' * 10_000}1]"]),
    "a sweep with 3,000 nested lists": lambda r, m: sweep(r, [f"model.widths={'[' * 3_000}{']' * 3_000}"]),
    "a sweep whose kept file names a program": lambda r, m: edited(
        r, "optimizer/adamw.yaml", "_target_: torch.optim.AdamW", "_target_: os.system"
    ),
    "a sweep whose kept file asks the environment": lambda r, m: edited(
        r, "train.yaml", "name: null", "name: ${oc.env:HOME}"
    ),
    "a sweep whose kept file is a bomb": lambda r, m: edited(
        r, "train.yaml", "name: null", "name: &a [&b [x,x],*b,*b]\nbomb: " + "[" * 30 + "]" * 30
    ),
    "a sweep whose kept file imports a module": lambda r, m: edited(
        r, "train.yaml", "output_subdir: null", "searchpath: ['pkg://antigravity']"
    ),
    "a sweep whose kept file has others looked for": lambda r, m: edited(
        r, "train.yaml", "output_subdir: null", f"searchpath: ['file://{r.parent}']"
    ),
    "a sweep whose kept file computes where others are looked for": lambda r, m: edited(
        r, "train.yaml", "\nhydra:\n", f"\nhydra: ${{resume}}\nresume: {{searchpath: ['file://{r.parent}']}}\nrest:\n"
    ),
    "a sweep whose kept file names one of elsewhere": lambda r, m: (
        (r.parent / "elsewhere.yaml").write_text("seed: 777\n"),
        edited(r, "train.yaml", "  - _self_\n", "  - ../../../elsewhere\n  - _self_\n"),
    ),
    "a sweep whose kept file leads to itself": lambda r, m: edited(
        r, "data/iris.yaml", "_target_:", "defaults: [iris]\n_target_:"
    ),
    "a sweep whose ledger asks the environment": lambda r, m: (
        sweep(r, []),
        (r / "jobs.jsonl").write_text(
            '{"job": 0, "state": "queued", "overrides": ["data=iris", "name=${oc.env:HOME}"]}\n'
        ),
    ),
    "a sweep whose ledger names jobs of elsewhere": lambda r, m: (
        sweep(r, []),
        (r / "jobs.jsonl").write_text('{"job": 0, "state": "queued", "overrides": ["model._target_=os.system"]}\n'),
    ),
    "a sweep's record of deep nesting": lambda r, m: (r / "sweep.json").write_text("[" * 200_000),
    "a pickle as a sweep's record": lambda r, m: (r / "sweep.json").write_bytes(as_pickle(m)),
}


@pytest.fixture(scope="module")
def tally():
    """The one line to read, when all is done."""
    refused = []
    yield refused
    print(f"\nT6: {len(refused)} of {len(HOSTILE)} hostile folders refused, slowest in {max(refused, default=0):.2f} s")


def test_the_run_goes_on_as_long_as_nobody_has_spoilt_it(run):
    code, _, said = resume(run)
    assert code == 0, said


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_and_nothing_in_it_runs(run, tmp_path, tally, name):
    marker = tmp_path / "marker"
    HOSTILE[name](run, marker)
    code, seconds, said = resume(run)
    assert not marker.exists(), "code of the attacker's ran"
    assert code in (2, 3, 4, 8), said
    leaked = [p for p in tmp_path.rglob("*") if SECRET in p.name or (p.is_file() and SECRET.encode() in p.read_bytes())]
    assert not leaked
    assert SECRET not in said
    tally.append(seconds)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_hostile_folder_runs_when_it_predicts(run, tmp_path, name):
    marker, rows = tmp_path / "marker", tmp_path / "rows.csv"
    names = [f"{part} {what} (cm)" for part in ("sepal", "petal") for what in ("length", "width")]
    rows.write_text(f"{','.join(names)}\n5,3,1,0.2\n")
    HOSTILE[name](run, marker)
    code, _, said = resume(run, str(rows), command="predict")
    assert not marker.exists(), "code of the attacker's ran"
    assert code in (0, 2, 4), said  # what it spoils may be no part of a prediction


@pytest.mark.parametrize("command", ["resume", "predict", "doctor", "report"])
def test_what_the_checkpoint_has_not_is_refused_without_its_memory(run, tmp_path, command):
    """900 million weights would take 3.6 GB, and training them four times as much."""
    settings(run, lambda c: c["model"].update(widths=[30_000, 30_000]))
    (tmp_path / "rows.csv").write_text("a\n1\n")
    more = {"predict": [str(tmp_path / "rows.csv")], "report": ["--replay", "0"]}.get(command, [])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, _, said = resume(run, *more, command=command)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kB
    assert code == {"report": 0, "predict": 4}.get(command, 2), said
    assert command == "report" or "does not fit this configuration" in said


@pytest.mark.parametrize("command", ["resume", "predict"])
@pytest.mark.parametrize(
    ("name", "as_declared"), [*((name, False) for name in FILES[:3]), *((name, True) for name in FILES[:2])]
)
def test_a_hole_in_a_checkpoint_is_not_read(run, tmp_path, name, as_declared, command):
    """3 GB that take no room on the disk; the manifest has their size, and the header of the file may have it."""
    size, file = 3 << 30, step(run) / name
    header = tensors({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}) if as_declared else b""
    file.write_bytes(header)
    os.truncate(file, len(header) + size)
    facts = {"size": len(header) + size, "sha256": "0" * 64}
    manifest(run, lambda m: m["files"].__setitem__(name, facts))
    shutil.rmtree(checkpoint.find(run / "checkpoints", "best")[0])
    (tmp_path / "rows.csv").write_text("a\n1\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, _, said = resume(run, *[str(tmp_path / "rows.csv")] * (command == "predict"), command=command)
    assert code in (2, 4), said
    assert "damaged" in said or "does not fit" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kB


def test_a_net_that_no_checkpoint_knows_is_held_against_the_memory(run, monkeypatch):
    shutil.rmtree(run / "checkpoints")
    settings(run, lambda c: c["model"].update(widths=[5_000, 5_000]))
    monkeypatch.setattr("dltrain.config.trials.free_memory", lambda: 10**8)
    code, _, said = resume(run)
    assert (code, "its weights and their gradients take 0.2 GB, and 0.1 GB are free" in said) == (2, True), said


ODD = {  # of what the run reads beside its checkpoint; it may go on, or say what is wrong
    "a pickle as the summary": lambda r, p: (r / "summary.json").write_bytes(as_pickle(p.with_name("marker"))),
    "a summary of deep nesting": lambda r, p: (r / "summary.json").write_text("[" * 200_000),
    "a count of steps in words": lambda r, p: (r / "summary.json").write_text('{"status": "done", "steps": "many"}'),
    "a log with words for steps": lambda r, p: (r / "metrics.jsonl").write_text('{"step": "x"}\n'),
    "a log of deep nesting": lambda r, p: (r / "metrics.jsonl").write_text("[" * 200_000 + "\n"),
    "a pipe as the log": lambda r, p: swap(r / "metrics.jsonl", os.mkfifo),
    "a link as the log": lambda r, p: swap(r / "metrics.jsonl", lambda f: f.symlink_to(p)),
    "a link as the lock": lambda r, p: (r / ".lock").symlink_to(p),
    "a pipe as the lock": lambda r, p: os.mkfifo(r / ".lock"),
    "a link as the configuration": lambda r, p: (
        p.write_bytes((r / "config.yaml").read_bytes()),
        swap(r / "config.yaml", lambda f: f.symlink_to(p)),
    ),
    "a link as the summary": lambda r, p: swap(r / "summary.json", lambda f: f.symlink_to(p)),
    "links as drafts": lambda r, p: [(r / f".tmp-{n}").symlink_to(p) for n in ("summary.json-1", "x")],
}


@pytest.mark.parametrize("name", ODD)
def test_no_file_outside_a_run_folder_is_changed_and_nothing_hangs(run, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text('{"status": "running"}')
    ODD[name](run, precious)
    before = precious.read_bytes()
    code, _, said = resume(run)
    assert precious.read_bytes() == before
    assert not (tmp_path / "marker").exists()
    assert isinstance(code, int), code
    assert code != 1, said


def lead(path, other):
    """A link to another file or folder in the place of one."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(other)


EVENTS = "events.out.tfevents.1.host.1"
AWAY = {  # what in a run folder leads into another run's, or waits; the second argument is that other run
    "all checkpoints": lambda r, o: lead(r / "checkpoints", o / "checkpoints"),
    "a checkpoint": lambda r, o: lead(step(r), step(o)),
    "the best weights": lambda r, o: lead(*(checkpoint.find(f / "checkpoints", "best")[0] for f in (r, o))),
    "an older checkpoint": lambda r, o: lead(r / "checkpoints" / "step-00000001", step(o)),
    "checkpoints to be put back": lambda r, o: (
        shutil.rmtree(r / "checkpoints"),
        lead(r / ".old-checkpoints", o / "checkpoints"),
    ),
    "plots": lambda r, o: lead(r / "plots", o),
    "profile": lambda r, o: lead(r / "profile", o),
    "the log": lambda r, o: lead(r / "metrics.jsonl", o / "metrics.jsonl"),
    "the diagnosis": lambda r, o: lead(r / "diagnosis.jsonl", o / "metrics.jsonl"),
    "an event file": lambda r, o: lead(r / EVENTS, o / "metrics.jsonl"),
    "a folder of event files": lambda r, o: lead(r / "lr=0.1", o),
    "a pipe as an event file": lambda r, o: os.mkfifo(r / EVENTS),
    "a pipe as the diagnosis": lambda r, o: os.mkfifo(r / "diagnosis.jsonl"),
    "a pipe among the plots": lambda r, o: (
        (shutil.rmtree(r / "plots", ignore_errors=True), (r / "plots").mkdir()) and os.mkfifo(r / "plots" / "x.png")
    ),
    "a sweep's job": lambda r, o: (sweep(r, []), lead(r / "0", o)),
    "a sweep's list": lambda r, o: (sweep(r, []), lead(r / "multirun.yaml", o / "config.yaml")),
}


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, command) for name in AWAY for command in ("resume", "eval")),
        *(
            (name, command)
            for name in ("all checkpoints", "plots", "a pipe as an event file")
            for command in ("doctor", "report")
        ),
    ],
)
def test_nothing_in_a_run_folder_leads_out_of_it(run, finished, tmp_path, name, command):
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    settings(run, lambda c: c["trainer"].update(tensorboard=True))
    AWAY[name](run, other)
    before = contents(other)
    code, _, said = resume(run, command=command)
    assert contents(other) == before
    assert not (other / ".lock").exists()
    if command == "resume":
        assert code in (4, 7), said
    else:  # a page without what can't be read, or a sweep, which has no weights
        assert code in (0, 2, 4, 7), said


# -- what a stranger wrote, on its way out --------------------------------------------------------------------------

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m"
REORDERED = "\u202egnp.exe\u2066"
FORMULA = "=cmd|' /C calc'!A0"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A run on a table whose classes, columns and other words are a stranger's."""
    root = tmp_path_factory.mktemp("strange")
    names = [f"a{ESCAPES}", f"b{REORDERED}", FORMULA]
    rows = [f'{i % 7},{i % 5},"{names[i % 3]}"' for i in range(90)]
    (root / "t.csv").write_text("\n".join([f'"x{ESCAPES}",=1+1,y', *rows]) + "\n", encoding="utf-8")
    typed = ["data=table", f"data.path={root / 't.csv'}", "data.target=y", "model.widths=[4]", f"runs_dir={root}"]
    plan = make_plan(compose.compose([*typed, "trainer.epochs=1", "trainer.tensorboard=false", "trainer.threads=1"]))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain", *typed])
    experiment.train(plan, folder)
    (root / "rows.csv").write_text((root / "t.csv").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def spoil(folder):
    """The same words in whatever is shown of a run."""
    for name in ("summary.json", "environment.json"):
        content = json.loads((folder / name).read_text())
        words = {
            f"key{ESCAPES}": REORDERED,
            "error": FORMULA + ESCAPES,
            "host": ESCAPES,
            "command": f"dltrain {ESCAPES}",
        }
        content |= {key: word for key, word in words.items() if name != "summary.json" or key != "command"}
        for part in ("best", "test"):
            if part in content:
                content[part] |= {f"odd{ESCAPES}": 1.0, FORMULA: 2.0}
        (folder / name).write_text(json.dumps(content))
    with (folder / "overrides.txt").open("a") as file:
        file.write(f"seed{ESCAPES}={FORMULA}\n")


SHOWN = {
    "show": lambda f: ["show", f],
    "show --json": lambda f: ["show", f, "--json"],
    "runs": lambda f: ["runs", f.parent],
    "runs --csv": lambda f: ["runs", f.parent, "--csv"],
    "runs --json": lambda f: ["runs", f.parent, "--json"],
    "watch": lambda f: ["watch", f.parent, "--once"],
    "compare": lambda f: ["compare", f, f.with_name("other"), "-o", f.parent / "compare.png"],
    "eval": lambda f: ["eval", f],
    "predict": lambda f: ["predict", f, f.parents[2] / "rows.csv"],
    "predict -o": lambda f: ["predict", f, f.parents[2] / "rows.csv", "-o", f.parent / "out.csv"],
    "report": lambda f: ["report", f, "--replay", "0"],
    "doctor": lambda f: ["doctor", f],
    "resume": lambda f: ["resume", f],
    "an error": lambda f: ["eval", f.with_name("broken")],
    "another error": lambda f: ["eval", f, f"data.path={f.parent}/{ESCAPES}"],
    "rm": lambda f: ["rm", f],
}


@pytest.mark.parametrize("name", SHOWN)
def test_no_word_of_a_stranger_reaches_a_terminal_or_a_spreadsheet_as_it_stands(strange, tmp_path, name, capsys):
    copied = Path(shutil.copytree(strange.parents[1], tmp_path / "all"))
    folder = copied / strange.relative_to(strange.parents[1])
    shutil.copytree(folder, folder.with_name("other"))
    shutil.copytree(folder, folder.with_name("broken"))
    settings(folder.with_name("broken"), lambda c: c["model"].update(_target_=f"evil_pkg.{ESCAPES}{REORDERED}"))
    spoil(folder)
    (copied.parent / "rows.csv").write_bytes((copied / "t.csv").read_bytes())
    with pytest.raises(SystemExit):
        cli.main([str(word) for word in SHOWN[name](folder)])
    said = capsys.readouterr()
    texts = [said.out, said.err]
    texts += [p.read_text() for p in (folder / "report.html", folder.parent / "out.csv") if p.is_file()]
    for text in texts:
        assert not OBEYED.search(text), text
        assert "--allow evil" not in text
    for text in texts[:1] * ("csv" in name or name == "predict") + texts[2:] * (name == "predict -o"):
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert len(cells) > 3
        assert not [c for c in cells if c[:1] in ("=", "+", "@", "\t") or (c[:1] == "-" and not c[1:2].isdigit())]
        assert name.startswith("predict") or any(c.startswith("'=") for c in cells)


@pytest.mark.parametrize("words", [["eval"], ["dream", "--class", "zzz"], ["dream", "--class", "0"]])
def test_long_names_are_cut_where_they_are_shown(run, words):
    known = json.loads((run / "data.json").read_text())
    known["classes"] = [letter * 20_000 for letter in "abc"]
    (run / "data.json").write_text(json.dumps(known))
    code, _, said = resume(run, *words[1:], command=words[0])
    assert code == (2 if "zzz" in words else 0), said[:1_000]
    assert max(map(len, said.splitlines())) < 1_500


@pytest.mark.parametrize("words", [["show"], ["runs"], ["compare"]])
def test_a_reason_of_several_lines_is_one(run, words):
    lie = "it failed\nfiles\n  1.0 kB  all-is-well.txt"
    for folder in (run, Path(shutil.copytree(run, run.with_name("other")))):
        (folder / "summary.json").write_text(json.dumps({"status": "failed", "error": lie + "x" * 1_000_000}))
    where = {"runs": [str(run.parent)], "compare": [str(run), str(run.with_name("other"))]}.get(words[0], [str(run)])
    code, _, said = resume(*where, command=words[0])
    assert code == 0, said[:1_000]
    assert not [line for line in said.splitlines() if line.startswith("  1.0 kB") or len(line) > 1_500]


@pytest.mark.parametrize("where", ["classes", "a column"])
def test_half_a_sign_is_no_word_of_a_run(where):
    """JSON can hold one half of a pair that stands for one sign; no file and no picture can."""
    column = {"name": "a\ud800" if where == "a column" else "a", "kind": "text", "categories": ["u", "v"]}
    preprocessing = {"kind": "table", "missing": "refuse", "missing_marks": [], "columns": [column]}
    scale = {"targets": [], "target_mean": None, "target_std": None}
    names = ["b", "\ud800" if where == "classes" else "c"]
    known = {"task": "binary", "in_shape": [2], "classes": names, **scale, "preprocessing": preprocessing}
    with pytest.raises(DataError, match=f"data.json is not what a run writes: {where} can't be used"):
        facts(known, "data.json")


@pytest.mark.parametrize(
    ("task", "classes"), [("binary", ["a"]), ("binary", ["a", "b", "c"]), ("multiclass", ["a", "a"])]
)
def test_classes_are_as_many_as_their_task_has_and_no_two_the_same(task, classes):
    known = {"task": task, "in_shape": [2], "classes": classes, "targets": [], "preprocessing": {"kind": "dataset"}}
    with pytest.raises(DataError, match=r"data.json is not what a run writes: classes .*can't be used"):
        facts(known | {"target_mean": None, "target_std": None}, "data.json")


def test_a_number_that_float64_cannot_hold_is_no_scale_of_a_run():
    scale = {"targets": ["y"], "target_mean": [10**400], "target_std": [1.0]}
    known = {"task": "regression", "in_shape": [2], "classes": [], **scale, "preprocessing": {"kind": "dataset"}}
    with pytest.raises(DataError, match=r"data.json is not what a run writes: target_mean can't be used"):
        facts(known, "data.json")


def test_a_class_that_is_a_formula_is_a_text_in_the_file_of_predictions():
    answers = pl.DataFrame({"prediction": [FORMULA, "b", None], "=x": [1.0, -2.0, 0.5], "file": ["-1", "+a", "@b"]})
    text = as_csv(answers, header=True) + as_csv(answers, header=False)
    assert [*csv.reader(io.StringIO(text))][:3] == [
        ["prediction", "'=x", "file"],
        [f"'{FORMULA}", "1.0", "-1"],
        ["b", "-2.0", "'+a"],
    ]


# -- T7: what a `_target_` may name --------------------------------------------------------------------------------

SLOTS = ("data", "model", "loss", "optimizer", "scheduler")
BAD = [
    *(n for n in OUTSIDE if isinstance(n, str)),
    *(f"builtins.{n}" for n in ("exec", "compile", "__import__", "open", "getattr", "print", "object", "type")),
    *(f"os.{n}" for n in ("popen", "execv", "remove", "spawnl", "environ", "path.join")),
    *(f"subprocess.{n}" for n in ("run", "call", "check_output", "getoutput")),
    *("importlib.import_module", "importlib.reload", "runpy.run_path", "runpy.run_module", "code.interact"),
    *("pickle.loads", "pickle.load", "marshal.loads", "shelve.open", "joblib.load", "dill.loads", "cloudpickle.loads"),
    *("shutil.rmtree", "pathlib.Path", "pathlib.Path.unlink", "tempfile.mktemp", "ctypes.CDLL", "pty.spawn"),
    *("functools.partial", "functools.reduce", "operator.attrgetter", "operator.methodcaller", "types.FunctionType"),
    *(
        f"hydra.utils.{n}"
        for n in ("get_class", "get_method", "get_object", "get_static_method", "instantiate", "call")
    ),
    *("hydra._internal.utils._locate", "omegaconf.OmegaConf.register_new_resolver", "pydoc.locate", "timeit.timeit"),
    *("numpy.load", "numpy.f2py.compile", "numpy.ctypeslib.load_library", "pandas.read_pickle", "polars.DataFrame"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "urllib.request.urlopen", "webbrowser.open", "smtplib.SMTP"),
    *("torch.serialization.load", "torch.jit.load", "torch.package.PackageImporter", "torch.ops.load_library"),
    *("torch.utils.cpp_extension.load", "torch.utils.cpp_extension.load_inline", "torch.classes.load_library"),
    *("torch.hub.load_state_dict_from_url", "torch.hub.download_url_to_file", "torch.compile", "torch.tensor"),
    *("torch.nn.modules.module.torch.hub.load", "torch.nn.modules.linear.torch.load", "torch.nn.modules.sys.exit"),
    *("torch.optim.lr_scheduler.types.FunctionType", "torch.optim.torch.hub.load", "torch.optim.optimizer.torch.load"),
    *("torch.optim.lr_scheduler.partial", "torch.optim.lr_scheduler.partial.func", "torch.optim.sgd.sgd"),
    *("torch.nn.Linear.__class__", "torch.nn.Linear.__init__.__globals__", "torch.nn.Module.__subclasses__"),
    *("torch.nn.modules.__builtins__.eval", "dltrain.__builtins__.eval", "dltrain.data.__loader__.load_module"),
    *("torch.nn.Module.load_state_dict", "torch.nn.Module.apply", "torch.nn.Module.register_forward_hook"),
    *("torch.nn.modules.module.register_module_forward_hook", "torch.nn.modules.module._addindent"),
    *("torchvision.datasets.utils.extract_archive", "torchvision.datasets.utils.download_url"),
    *("torchvision.datasets.utils.download_and_extract_archive", "torchvision.datasets.utils.check_md5"),
    *("torchvision.datasets.utils.download_file_from_google_drive", "torchvision.datasets.utils.list_files"),
    *("torchvision.datasets.lsun.pickle.load", "torchvision.datasets.cifar.pickle.load", "torchvision.datasets.LSUN"),
    *("torchvision.datasets.cifar.os.system", "torchvision.datasets.folder.default_loader", "torchvision.io.read_file"),
    *("torchvision.models.resnet.partial", "torchvision.models.list_models", "torchvision.ops.nms"),
    *(
        "dltrain.commands.cli.main",
        "dltrain.runs.checkpoint.load",
        "dltrain.runs.storage.remove",
        "dltrain.runs.storage.write",
    ),
    *("dltrain.data.download.fetch", "dltrain.data.images.gzip.open", "dltrain.data.os.system", "dltrain.losses.torch"),
    *(
        "dltrain.runs.run_folder.subprocess.run",
        "dltrain.config.policy.resolve",
        "dltrain.config.policy.importlib.import_module",
    ),
    *("marker_pkg.Net", "marker_pkg", "marker_pkg.sub.Net", "torch.nn.marker_pkg.Net", "dltrain.models.marker_pkg"),
    *("torch.nn.linear\n.Linear", " torch.nn.Linear", "torch.nn.Linear ", "torch..nn.Linear", ".torch.nn.Linear"),
    *("torch.nn.Linear;os.system", "torch/nn/Linear", "torch.nn:Linear", "TORCH.nn.Linear", "torch.nnx.Linear"),
    *("torchx.nn.Linear", "dltrain_evil.models.MLP", "???", "${oc.env:HOME}", "lambda: 0", "torch.nn.Línear"),
]


def test_bad_names_are_refused_in_every_slot_and_nothing_is_imported(tmp_path, monkeypatch):
    marker = tmp_path / "imported"
    text = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nfrom torch.nn import Linear as Net\n"
    (tmp_path / "marker_pkg").mkdir()
    for file in ("__init__.py", "sub.py"):
        (tmp_path / "marker_pkg" / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("torchvision.models", "torchvision.datasets", "torchvision.transforms.v2", "dltrain.commands.cli"):
        importlib.import_module(name)  # what good names import, too
    before, passed = {name.split(".")[0] for name in sys.modules}, []
    for name in dict.fromkeys(BAD):
        for slot in SLOTS:
            for nested in (False, True):
                try:
                    found = resolve(name, slot, nested=nested)
                except ConfigError:
                    continue
                passed.append(f"{name!r} as {slot}{' argument' * nested}: {found!r}")
    own = {name.split(".")[0] for name in sys.modules} - before
    print(
        f"T7: {len(set(BAD))} bad names in {2 * len(SLOTS)} places: {len(passed)} passed, {len(own)} packages imported"
    )
    assert not passed, "\n".join(passed)
    assert not marker.exists()
    assert not own & {n.split(".")[0] for n in BAD}


def targets(node, key=""):
    """(slot, whether it stands among the arguments, name) of each `_target_` below a group's node."""
    if isinstance(node, list):
        for value in node:
            yield from targets(value, key)
    elif isinstance(node, dict):
        if isinstance(name := node.get("_target_"), str):
            yield key.split(".")[0], "." in key, name
        for child, value in node.items():
            yield from targets(value, f"{key}.{child}".lstrip("."))


def test_every_target_of_the_shipped_configs_passes():
    count = 0
    for file in sorted((ROOT / "configs").rglob("*.yaml")):
        node = yaml.safe_load(file.read_text())
        group = "" if "@package _global_" in file.read_text() else file.parent.name
        for slot, nested, name in targets(node, group):
            if name != "???":  # the user's own class
                assert callable(resolve(name, slot, nested=nested)), (file, name)
                count += 1
    print(f"T7: {count} shipped targets pass")
    assert count >= 40


# -- what the source may not use -----------------------------------------------------------------------------------

_MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
_BUILTINS = {"eval", "exec", "compile", "__import__"}
_NEVER = {
    *(f"yaml.{n}" for n in ("load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all")),
    *("os.system", "os.popen", "hydra.utils.instantiate", "hydra.utils.call", "numpy.lib.format.read_array"),
}


def banned(source):
    """What a Python source uses that could run what is in a file: (line, name) of each."""
    tree, names = ast.parse(source), {}
    for node in ast.walk(tree):  # what each name means, wherever it was imported
        if isinstance(node, ast.Import):
            names |= {
                (a.asname or a.name.split(".")[0]): (a.name if a.asname else a.name.split(".")[0]) for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}

    def full(node):
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{full(node.value)}.{node.attr}"
        return "?"

    found = []
    for node in ast.walk(tree):
        imported = []
        if isinstance(node, ast.Import):
            imported = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported = [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
        found += [(node.lineno, name) for name in imported if name.split(".")[0] in _MODULES or name in _NEVER]
        if isinstance(node, (ast.Name, ast.Attribute)) and (name := full(node)) in _NEVER:
            found.append((node.lineno, name))
        if not isinstance(node, ast.Call):
            continue
        name, given = full(node.func), {k.arg: getattr(k.value, "value", "?") for k in node.keywords}
        method = name.rsplit(".", 1)[-1]
        if name in _BUILTINS or name.removeprefix("builtins.") in _BUILTINS:
            found.append((node.lineno, name))
        if name in ("torch.load", "torch.serialization.load") and given.get("weights_only") is not True:
            found.append((node.lineno, name))
        if given.get("allow_pickle", False) is not False:
            found.append((node.lineno, f"{name}(allow_pickle)"))
        if method in ("extractall", "unpack_archive") and "filter" not in given:
            found.append((node.lineno, f"{name} without filter"))
        if given.get("shell", False) is not False:
            found.append((node.lineno, f"{name}(shell)"))
    return found


def test_the_source_uses_nothing_that_runs_what_is_in_a_file():
    files = [*sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "scripts").rglob("*.py"))]
    found = [f"{f.relative_to(ROOT)}:{line}: {name}" for f in files for line, name in banned(f.read_text("utf-8"))]
    print(f"lint: {len(files)} files, {len(found)} banned constructs")
    assert len(files) > 30
    assert not found, "\n".join(found)


SAMPLES = [
    *(f"import {m}" for m in sorted(_MODULES)),
    *("import pickle as p", "from pickle import loads", "from joblib import load", "def f():\n    import dill"),
    *("eval('1')", "exec('1')", "compile('1', '', 'exec')", "__import__('os')", "import builtins\nbuiltins.eval('1')"),
    *(
        "import torch\ntorch.load(f)",
        "import torch\ntorch.load(f, weights_only=False)",
        "from torch import load\nload(f)",
    ),
    *("import torch as t\nt.load(f)", "import torch\ntorch.load(f, weights_only=flag)"),
    *("import numpy as np\nnp.load(f, allow_pickle=True)", "from numpy import load\nload(f, allow_pickle=flag)"),
    *("import yaml\nyaml.load(f)", "import yaml\nyaml.unsafe_load(f)", "import yaml as y\ny.full_load(f)"),
    *("from yaml import load", "import yaml\nread = yaml.load"),
    *("tar.extractall(folder)", "import shutil\nshutil.unpack_archive(f)"),
    *("import subprocess\nsubprocess.run(c, shell=True)", "from subprocess import Popen\nPopen(c, shell=flag)"),
    *("import os\nos.system(c)", "import os\nos.popen(c)", "from os import system", "from os import popen as p\np(c)"),
    *(
        "import hydra\nhydra.utils.instantiate(c)",
        "from hydra.utils import call",
        "from hydra import utils\nutils.call(c)",
    ),
    "from hydra.utils import instantiate as make\nmake(c)",
]
HARMLESS = [
    "import torch\ntorch.load(f, weights_only=True)",
    "import numpy as np\nnp.load(f, allow_pickle=False)\nnp.load(f)",
    "import yaml\nyaml.safe_load(f)",
    "tar.extractall(folder, filter='data')",
    "import subprocess\nsubprocess.run(c, shell=False)",
    "import re\nre.compile('x')",
    "import json\njson.load(f)",
    "model.eval()",
]


@pytest.mark.parametrize("source", SAMPLES)
def test_the_scan_finds_each_banned_thing(source):
    assert banned(source)


@pytest.mark.parametrize("source", HARMLESS)
def test_the_scan_leaves_what_is_harmless(source):
    assert not banned(source)
