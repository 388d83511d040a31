"""`dltrain ensemble` on real runs: its folder answers as numpy's average of what its members predict."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import datasets

import dltrain as library
from dltrain.commands import cli
from dltrain.data.units import Log
from dltrain.errors import CheckpointError, ConfigError, DataError
from dltrain.parts import metrics
from dltrain.runs import reading, run_folder

QUICK = ("trainer.max_steps=40", "trainer.tensorboard=false", "trainer.progress=false", "trainer.threads=1")
SWEEPS = {  # name -> what is typed beside -m
    "digits": ["data=digits", "optimizer=adamw,momentum", "seed=0,1"],
    "binary": ["data=breast_cancer", "loss=bce,cross_entropy,one_hot_mse"],
    "labels": ["data=multilabel", "optimizer=adamw,momentum"],
    "values": ["data=diabetes", "data.scaling=quantile,none", "data.target_transform=log", "loss=mse"],
    "mixed": ["data=table", "data.path=mixed.csv", "data.target=price", "data.scaling=standard,quantile"],
    "codes": ["data=table", "data.path=mixed.csv", "data.target=price", "data.one_hot=0", "model=mlp,linear"],
    "weights": ["data=table", "data.path=mixed.csv", "data.target=new", "data.weight=price", "seed=0,1"],
    "hinge": ["data=iris", "loss=hinge", "seeds=1"],
    "iris": ["data=iris", "loss=cross_entropy", "seeds=2"],
}


TOP = ["--top", "2"]
SIDES = ("north", "south", "", "east")
MIXED = "\n".join(  # a text, a number with gaps and one beyond all others, a truth value
    ["side,area,new,price"]
    + [f"{SIDES[i % 4]},{'' if i % 7 == 2 else 50 + i % 40 + 1e6 * (i == 11)},{str(i % 3 > 0).lower()},{10 * (i % 40)}"
       for i in range(120)]
)  # fmt: skip


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([*words])
    return stop.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweeps")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("mixed.csv").write_text(MIXED)
        for name, words in SWEEPS.items():
            assert run("-m", *words, *QUICK, f"name={name}") == 0
    return root


@pytest.fixture
def root(trained, tmp_path, monkeypatch):
    """A copy of the sweeps, so that a test may spoil it."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    shutil.copy(trained / "mixed.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(name: str):
    if name in ("mixed", "codes", "weights"):
        return pl.read_csv(io.StringIO(MIXED))
    if name == "digits":
        return datasets.load_digits().images
    if name == "labels":
        return np.random.default_rng(0).normal(size=(50, 2))
    return (datasets.load_breast_cancer() if name == "binary" else datasets.load_diabetes(scaled=False)).data


def numbers(answers: pl.DataFrame) -> np.ndarray:
    return answers.select(
        [c for c in answers.columns if c.startswith("p_") or c in ("progression", "price")]
    ).to_numpy()


def averaged(folder: Path, inputs) -> np.ndarray:
    """What `predict` says for its members, averaged by numpy: of those that learned logarithms the logarithm."""
    members = json.loads((folder / "summary.json").read_text())["members"]
    each = []
    for member in members:
        each.append(numbers(library.load(member["folder"]).predict(inputs)))
    weights = [member["weight"] for member in members]
    if isinstance(library.load(folder).facts.units, Log):
        return np.exp(np.average(np.log(each), axis=0, weights=weights))
    return np.average(each, axis=0, weights=weights)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, []) for name in ("digits", "binary", "labels", "values")),
        ("binary", TOP),
        ("mixed", TOP),
        ("codes", TOP),
        ("weights", TOP),
    ],
    ids=lambda given: given if isinstance(given, str) else "top" if given else "greedy",
)
def test_it_answers_as_the_average_of_what_its_members_predict(root, name, how, capsys):
    assert run("ensemble", f"runs/{name}", *how) == 0
    printed = capsys.readouterr().out
    folder = run_folder.find("last")
    inputs, made = rows(name), library.load(folder)
    answers = made.predict(inputs)
    np.testing.assert_allclose(numbers(answers), averaged(folder, inputs), rtol=2e-5, atol=2e-5)
    alone = made.predict(inputs[:1])
    assert alone.equals(answers[:1])
    summary = reading.read(folder).summary
    assert made.evaluate("val") == pytest.approx(summary["val"], rel=1e-6)
    assert made.evaluate("test") == pytest.approx(summary["test"], rel=1e-6)
    metric = metrics.default_monitor(made.facts.task)
    assert f"val {metric}" in printed
    assert str(folder) in printed
    if not how:
        sign = 1 if metrics.larger_is_better(metric) else -1
        best = max(sign * member["val"][metric] for member in summary["members"])
        runs = run_folder.collect([f"runs/{name}"])
        assert sign * summary["val"][metric] >= max(best, *(sign * r.numbers[f"best/{metric}"] for r in runs)) - 1e-6
    else:
        assert [member["weight"] for member in summary["members"]] == [1, 1]


def test_its_folder_is_enough_wherever_it_lies(root, capsys):
    assert run("ensemble", "runs/values", *TOP, "runs_dir=elsewhere", "name=mine") == 0
    (folder,) = (root / "elsewhere" / "mine").iterdir()
    answers = library.load(folder).predict(rows("values"))
    shutil.rmtree(root / "runs")
    moved = shutil.move(folder, root / "moved")
    assert library.load(moved).predict(rows("values")).equals(answers)
    for words in (["eval"], ["export", "--format", "safetensors"], ["report"], ["show"]):
        assert run(words[0], str(moved), *words[1:]) == 0, words
    capsys.readouterr()
    for words in (["resume"], ["resume", "trainer.epochs=3"], ["doctor"]):
        assert run(words[0], str(moved), *words[1:]) == 2
        assert "is an ensemble, an average of runs that were trained before" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="is an ensemble"):
        library.resume(moved)
    assert run("export", str(moved), "--format", "onnx") == 2
    assert "data.scaling=quantile" in capsys.readouterr().err
    assert "data.scaling=quantile" in Path(f"{moved}/report.html").read_text("utf-8")  # of a member


def test_a_program_has_it_as_a_run(root):
    members = [library.load(folder) for folder, _ in reading.walk(root / "runs" / "digits")]
    made = library.ensemble(*members, top=2)
    assert made.status == "done"
    assert made.metrics["test/accuracy"] == made.evaluate("test")["accuracy"]
    assert made.config["model.labels"] is False
    assert made.history.is_empty()
    assert made.export("safetensors").is_file()
    with pytest.warns(UserWarning, match="left out: 1 run: ensemble"):
        again = library.ensemble("runs/digits", made)
    assert len(reading.read(again.folder).summary["members"]) <= 4
    assert library.compare(made, again).entries.height == 2


def test_what_is_left_out_decides_nothing_though_it_is_the_best(root, capsys):
    (first,) = root.glob("runs/hinge/*/0")
    summary = json.loads((first / "summary.json").read_text())
    summary["best"]["accuracy"] = 2.0
    (first / "summary.json").write_text(json.dumps(summary))
    assert run("ensemble", "runs/hinge", "runs/iris", *TOP) == 0
    assert "Hinge makes no probabilities" in capsys.readouterr().out
    folder = run_folder.find("last")
    assert library.load(folder).evaluate("test") == pytest.approx(reading.read(folder).summary["test"], rel=1e-6)
    assert "CrossEntropy" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        ("data.target_transform=log,quantile", r"it learned by data.target_transform=\w+, the best run by \w+:"),
        (
            "data.min_count=1,40",
            r"its inputs are \[\d\], those of the best run \[\d\]: data.min_count is \d+, there \d+",
        ),
    ],
)
def test_in_what_a_run_differs_from_the_best_is_said(root, capsys, typed, what):
    words = ("data=table", "data.path=positive.csv", "data.target=price", "data.task=regression", typed)
    Path("positive.csv").write_text(MIXED.replace(",0\n", ",5\n"))
    assert run("-m", *words, *QUICK, "name=unlike") == 0
    capsys.readouterr()
    assert run("ensemble", "runs/unlike") == 2
    assert re.search(what, capsys.readouterr().err)


def test_nets_of_ones_own_are_allowed_by_who_runs_it(root, capsys):
    own = ("model=module", "model._target_=own_nets.TwoLayers", "--allow", "own_nets")
    for seed in (0, 1):
        assert run("data=iris", f"seed={seed}", 'name="lr=own"', *own, *QUICK) == 0
    capsys.readouterr()
    assert run("ensemble", "runs/lr=own") == 2
    assert "own_nets.TwoLayers` is not allowed here" in capsys.readouterr().err
    assert run("ensemble", "runs/lr=own", "--allow", "own_nets") == 0
    assert run("eval", "last") == 2
    assert run("eval", "last", "--allow", "own_nets") == 0


def test_members_that_are_gone_or_damaged_are_left_out(root, capsys):
    (sweep,) = (root / "runs" / "digits").iterdir()
    shutil.rmtree(sweep / "0" / "checkpoints")
    weights = next((sweep / "1").glob("checkpoints/best-*/model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"\1\2\3\4")
    (sweep / "3" / "data.json").write_text("{}")  # of the one that is best, or next to it
    assert run("ensemble", "runs/digits") == 2
    assert "1 of 4 runs can be averaged" in capsys.readouterr().err
    shutil.copy(sweep / "2" / "data.json", sweep / "3")
    assert run("ensemble", "runs/digits") == 0
    printed = capsys.readouterr().out
    assert printed.count("left out") == 2
    assert "has no checkpoint yet" in printed
    assert "damaged" in printed
    shutil.rmtree(sweep / "2" / "checkpoints")
    assert run("ensemble", "runs/digits") == 2
    error = capsys.readouterr().err
    assert "1 of 4 runs can be averaged, and two are needed" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/digits", "runs/values"], "can't be averaged, as data"),
        (["runs/digits/best"], "1 of 1 runs can be averaged"),
        (["runs/hinge"], "Hinge makes no probabilities"),
        (["runs/digits", "--top", "9"], "--top 9: there are 4 runs"),
        (["runs/digits", "--top", "0"], "write how many, as in --top 5"),
        (["runs/digits", "--top", "2", "--greedy"], "not allowed with"),
        (["runs/nothing"], "no run called `runs/nothing`"),
        (["name=a"], "say which runs"),
        (["runs/digits", "name=../up"], "can't name a folder"),
        (["runs/digits", "data.split_seed=4"], "the data changed since"),
        (["runs/digits", "model.widths=[3]"], "and 1 more: `model.widths=[3]`: the weights are what they are"),
        ([], "the following arguments are required"),
    ],
)
def test_what_can_not_be_averaged_is_said_in_a_sentence(trained, monkeypatch, capsys, words, said):
    monkeypatch.chdir(trained)
    before = sorted(trained.rglob("*"))
    assert run("ensemble", *words) in (2, 3)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) <= 5
    assert sorted(trained.rglob("*")) == before


def test_a_folder_from_a_stranger_runs_no_code(root, capsys):
    assert run("ensemble", "runs/digits", "--top", "2") == 0
    folder = run_folder.find("last")
    text = (folder / "config.yaml").read_text("utf-8")
    for old, new, said in (
        ("_target_: dltrain.models.MLP", "_target_: os.system", "`os.system` is not allowed here"),
        ("_target_: dltrain.ensembles.Member", "_target_: torch.hub.load", "`torch.hub.load` is not allowed here"),
        ("weight: 1", "weight: 0", "weight=0"),
        ("weight: 1", "weight: many", "want a whole number"),
        ("outputs: softmax", "outputs: eval", "want one of"),
        ("in_features: 64", "in_features: 99999999", "does not fit"),
    ):
        assert old in text
        (folder / "config.yaml").write_text(text.replace(old, new), "utf-8")
        with pytest.raises((ConfigError, CheckpointError, DataError), match=said):
            library.load(folder)
    (folder / "config.yaml").write_text(text, "utf-8")
    assert run("ensemble", "runs/labels", *TOP, "name=labels") == 0
    labels = run_folder.find("last") / "config.yaml"
    labels.write_text(labels.read_text("utf-8").replace("  labels: true", "  labels: false"), "utf-8")
    for words in (["eval"], ["export", "--format", "safetensors"]):
        assert run(words[0], str(labels.parent), *words[1:]) == 2
        assert "answers with [6] numbers for a row, not [3]" in capsys.readouterr().err
    summary = json.loads((folder / "summary.json").read_text())
    for members in (3, [3], [{"run": "\x1b[2J", "weight": [], "overrides": {"a": 1}}], {}):
        (folder / "summary.json").write_text(json.dumps({**summary, "members": members}))
        capsys.readouterr()
        assert run("show", str(folder)) == 0
        assert "\x1b" not in capsys.readouterr().out
        assert run("resume", str(folder)) == 2
