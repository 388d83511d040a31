"""`dltrain eval`: its numbers are those of the summary; other data pass the run's own preprocessing."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn

from dltrain.data import Tensors
from dltrain.data.preprocessing import Facts
from dltrain.errors import StorageError
from dltrain.insight.plots import evaluation as figures
from dltrain.parts.losses import CrossEntropy
from dltrain.runs import run_folder
from dltrain.trained import findings, judge
from dltrain.trained.inference import Trained

SHORT = ("trainer.epochs=2", "trainer.tensorboard=false", "trainer.threads=1")


def train(dltrain, *arguments):
    """A short run; returns its folder."""
    code, _, err = dltrain(*SHORT, *arguments)
    assert code == 0, err
    return run_folder.find("last", Path("runs"))


def houses(path, rows=range(120), price=lambda i: 1000 + 13 * (i % 40)):
    lines = [f"{i},{'' if i % 17 == 3 else 50 + i % 40},{'north' if i % 3 else 'south'},{price(i)}" for i in rows]
    Path(path).write_text("id,area,side,price\n" + "\n".join(lines) + "\n")


def pictures(root):
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (root / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (20, 16), tuple(min(255, c + 4 * i) for c in colour)).save(root / name / f"{i}.png")


RUNS = {
    "iris": ["data=iris"],
    "one against the rest": ["data=iris", "data.positive=setosa"],
    "digits with an average": ["data=digits", "regularisation=[ema,dropout]", "optimizer.lr=0.01"],
    "california's scale": ["data=wine", "data.scaling=quantile"],
    "regression": ["data=diabetes", "data.target_transform=quantile"],
    "labels": ["data=multilabel"],
    "hinge": ["data=iris", "loss=hinge"],
    "one-hot": ["data=iris", "loss=one_hot_mse"],
    "perceptron": ["data=iris", "data.positive=setosa", "model=perceptron", "loss=perceptron"],
    "balanced weights": ["data=breast_cancer", "loss=bce", "loss.pos_weight=balanced"],
    "a few batches": ["data=iris", "trainer.overfit_batches=2"],
    "a table": ["data=table", "data.path=houses.csv", "data.target=price", "data.drop=[id]"],
    "a table with weights": [
        *("data=table", "data.path=houses.csv", "data.target=price", "data.weight=id", "data.time=id"),
        "data.target_transform=log",
    ],
    "streamed images": ["data=image_folder", "data.root=pictures", "data.in_memory=false", "data.image_size=8"],
    "a few streamed images": [
        "data=image_folder",
        "data.root=pictures",
        "data.in_memory=false",
        "data.image_size=8",
        "data.batch_size=8",
        "trainer.overfit_batches=1",
    ],
    "images in memory": ["data=image_folder", "data.root=pictures", "data.test=0.4", "data.image_size=8"],
}


@pytest.mark.parametrize("name", RUNS)
def test_its_numbers_are_those_of_the_summary(request, dltrain, tmp_path, name):
    houses("houses.csv")
    pictures(tmp_path / "pictures")
    folder = train(dltrain, *RUNS[name])
    summary = run_folder.read_json(folder / "summary.json")
    for split in ("test", "val"):
        if split == "val":
            request.getfixturevalue("unpainted")
        code, out, err = dltrain("eval", "last", *(["--split", split] if split != "test" else []))
        assert code == 0, err
        found = json.loads((folder / f"eval-{split}.json").read_text())
        assert found["metrics"] == summary[split]
        assert found["same_data_as_trained_on"] is True
        assert f"{split}, {found['rows']:,} rows" in out
        with Image.open(folder / "plots" / f"eval-{split}.png") as picture:
            assert (picture.width > 500) == (split == "test")
        assert len(found["worst"]) == min(16, found["rows"])
    if "classes" in found:
        assert sum(c["rows"] for c in found["classes"]) == found["rows"]
        matrix = torch.tensor(found["confusion"]["true_in_rows_predicted_in_columns"])
        assert float(matrix.trace() / matrix.sum()) == pytest.approx(found["metrics"]["accuracy"])
    assert ("calibration" in found) == (name not in ("regression", "hinge", "perceptron") and "a table" not in name)


@pytest.mark.usefixtures("unpainted")
def test_a_table_that_moved_is_still_the_same(dltrain):
    houses("houses.csv")
    folder = train(dltrain, *RUNS["a table"])
    Path("houses.csv").rename("elsewhere.csv")
    code, _, err = dltrain("eval", "last")
    assert code == 3
    assert "houses.csv: no such file" in err
    code, _, err = dltrain("eval", "last", "data.path=elsewhere.csv")
    assert code == 0, err
    assert (
        run_folder.read_json(folder / "eval-test.json")["metrics"]
        == run_folder.read_json(folder / "summary.json")["test"]
    )


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("learned", ["log", "quantile", "none"])
def test_metrics_are_of_what_is_predicted_whatever_is_learned(dltrain, learned):
    """In dollars, as the file has them; also of a house that is dearer than all that were learned from."""
    houses("houses.csv")
    folder = train(dltrain, *RUNS["a table"], f"data.target_transform={learned}", "data.val=0", "data.test=0")
    houses("new.csv", rows=range(60), price=lambda i: 990 + 31 * i)
    code, _, err = dltrain("eval", "last", "data.path=new.csv")
    assert code == 0, err
    found = run_folder.read_json(folder / "eval-all.json")
    assert dltrain("predict", "last", "new.csv", "-o", "told.csv")[0] == 0
    error = pl.read_csv("told.csv")["price"] - pl.read_csv("new.csv")["price"]
    assert found["metrics"]["rmse"] == pytest.approx((error**2).mean() ** 0.5, rel=1e-5)
    assert found["metrics"]["mae"] == pytest.approx(error.abs().mean(), rel=1e-5)
    worst = found["worst"][0]
    assert abs(worst["true"]["price"] - worst["predicted"]["price"]) == pytest.approx(error.abs().max(), rel=1e-5)
    if learned == "log":
        houses("free.csv", rows=range(9), price=lambda i: 3 * (i != 4))
        code, _, err = dltrain("eval", "last", "data.path=free.csv")
        assert (code, "free.csv, line 6: target 'price' is 0, and a logarithm" in err) == (3, True)


@pytest.mark.usefixtures("unpainted")
def test_another_table_counts_as_a_whole_under_the_runs_own_scale(dltrain):
    houses("houses.csv")
    folder = train(dltrain, *RUNS["a table"], "data.test=0", "data.val=0", "trainer.epochs=60")
    whole = run_folder.read_json(folder / "summary.json")["train"]
    houses("new.csv", rows=reversed(range(120)))  # the same rows in another order, then three of them
    code, out, err = dltrain("eval", "last", "data.path=new.csv")
    assert code == 0, err
    found = run_folder.read_json(folder / "eval-all.json")
    assert found["metrics"] == pytest.approx(whole)
    assert not found["same_data_as_trained_on"]
    assert "note         all rows of new.csv were judged" in out
    assert not (folder / "eval-test.json").exists()
    houses("three.csv", rows=[5, 6, 20])
    code, out, err = dltrain("eval", "last", "data.path=three.csv")
    assert code == 0, err
    assert "all, 3 rows" in out
    worst = run_folder.read_json(folder / "eval-all.json")["worst"][0]
    assert worst["place"].startswith("three.csv, line ")
    assert set(worst["input"]) == {"area", "side"}
    code, _, err = dltrain("eval", "last", "data.path=three.csv", "--split", "val")
    assert (code, "all of them count" in err) == (2, True)
    Path("other.csv").write_text("area,price\n50,1000\n60,2000\n")
    code, _, err = dltrain("eval", "last", "data.path=other.csv")
    assert (code, "other.csv: no column 'side'" in err) == (3, True)


@pytest.mark.usefixtures("unpainted")
def test_other_classes_are_named(dltrain):
    rows = "\n".join(f"{i},{'yes' if i % 2 else 'no'}" for i in range(60))
    Path("a.csv").write_text(f"x,y\n{rows}\n")
    train(dltrain, "data=table", "data.path=a.csv", "data.target=y")
    Path("b.csv").write_text("x,y\n1,yes\n2,maybe\n")
    code, _, err = dltrain("eval", "last", "data.path=b.csv")
    assert code == 3
    assert "b.csv, line 3: 'maybe' in target 'y' is none of the run's classes: no, yes" in err


@pytest.mark.usefixtures("unpainted")
def test_other_rows_of_other_sources_pass_the_runs_preprocessing(dltrain):
    folder = train(dltrain, "data=iris", "trainer.epochs=30")
    code, out, err = dltrain("eval", "last", "data.split_seed=7")
    assert code == 0, err
    assert "these are other rows than the test part that the run had" in out
    assert run_folder.read_json(folder / "eval-test.json")["metrics"]["accuracy"] > 0.8
    code, _, err = dltrain("eval", "last", "data.positive=setosa")
    assert code == 3
    assert "these data are table, binary, inputs [4], 2 classes (rest, setosa)" in err


@pytest.mark.usefixtures("unpainted")
def test_changed_data_are_refused_unless_allowed(dltrain):
    houses("houses.csv")
    folder = train(dltrain, *RUNS["a table"])
    houses("houses.csv", price=lambda i: 900 + 13 * (i % 40))
    code, _, err = dltrain("eval", "last")
    assert code == 3
    assert "the data changed since" in err
    assert not (folder / "eval-test.json").exists()
    code, out, err = dltrain("eval", "last", "--allow-changed-data")
    assert code == 0, err
    assert "these are other rows" in out


@pytest.mark.usefixtures("unpainted")
def test_bad_runs_and_words_get_one_clear_sentence(dltrain, tmp_path):
    folder = train(dltrain, "data=iris")

    def refused(*arguments, code=2):
        got, out, err = dltrain("eval", *arguments)
        assert (got, out) == (code, ""), err
        assert len(err.splitlines()) <= 4
        return err

    assert "the following arguments are required: RUN" in refused()
    assert "no run called `zzzz`" in refused("zzzz")
    assert "invalid choice: 'tset'" in refused("last", "--split", "tset")
    assert "only the data may be others" in refused("last", "optimizer.lr=0.1")
    assert "dataa" in refused("last", "dataa.path=x")
    for what, code, sentence in (
        ("data.json", 2, "it has no data.json, because it ended before its first step"),
        ("checkpoints", 4, "has no checkpoint yet; go on with it: dltrain resume"),
        ("config.yaml", 2, "is not a run folder: it has no config.yaml"),
    ):
        copy = tmp_path / f"without-{what}"
        shutil.copytree(folder, copy)
        shutil.rmtree(copy / what) if (copy / what).is_dir() else (copy / what).unlink()
        assert sentence in refused(str(copy), code=code)
    for weights in folder.glob("checkpoints/best-*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "its SHA-256 is not the one in the manifest" in refused("last", code=4)
    (folder / "data.json").write_text('{"task": "regression"}')
    assert "data.json is not what a run writes: KeyError: 'in_shape'" in refused("last", code=3)


@pytest.mark.usefixtures("unpainted")
def test_a_run_without_best_weights_is_judged_by_its_last(dltrain):
    folder = train(dltrain, "data=iris")
    for best in folder.glob("checkpoints/best-*"):
        shutil.rmtree(best)
    code, out, err = dltrain("eval", "last")
    assert code == 0, err
    assert "weights of step-" in out


@pytest.mark.usefixtures("unpainted")
def test_a_model_of_ones_own_needs_to_be_allowed_again(dltrain, tmp_path, monkeypatch):
    (tmp_path / "judged_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, in_features: int, out_features: int):\n"
        "        super().__init__(nn.Linear(in_features, out_features))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    train(dltrain, "data=iris", "model=module", "model._target_=judged_net.Net", "--allow", "judged_net")
    code, _, err = dltrain("eval", "last")
    assert (code, "by --allow" in err) == (2, True)
    code, _, err = dltrain("eval", "last", "--allow", "judged_net")
    assert code == 0, err


def test_links_in_a_run_folder_lead_nowhere(dltrain, tmp_path):
    folder = train(dltrain, "data=iris")
    (tmp_path / "outside").mkdir()
    (folder / "plots").symlink_to(tmp_path / "outside")
    code, _, err = dltrain("eval", "last")
    assert (code, "is a link" in err) == (7, True)
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.usefixtures("unpainted")
def test_the_file_that_was_named_is_the_one_that_is_judged(dltrain):
    """Also where the run had a test file of its own; and where there is none of that name."""
    houses("houses.csv")
    houses("test.csv", rows=range(200, 240))
    typed = (*RUNS["a table"], "data.test_path=test.csv", "data.val=0")
    folder = train(dltrain, *typed)
    houses("new.csv", rows=range(7), price=lambda i: 5000)
    code, out, err = dltrain("eval", "last", "data.path=new.csv")
    assert code == 0, err
    assert "all, 7 rows" in out
    assert "all rows of new.csv were judged" in out
    assert run_folder.read_json(folder / "eval-all.json")["worst"][0]["true"]["price"] == pytest.approx(5000)
    code, _, err = dltrain("eval", "last", "data.path=none.csv")
    assert (code, "none.csv: no such file" in err) == (3, True)
    code, out, err = dltrain("eval", "last", "data.test_path=new.csv")
    assert (code, "all rows of new.csv were judged" in out) == (0, True), err
    code, _, err = dltrain("eval", "last", "data.test_path=none.csv")
    assert (code, "none.csv: no such file" in err) == (3, True)
    code, _, err = dltrain("eval", "last", "data.path=new.csv", "--split", "test")
    assert (code, "all of them count" in err) == (2, True)
    Path("houses.csv").rename("moved.csv")  # the run's own rows, which stand elsewhere now
    code, _, err = dltrain("eval", "last", "data.path=moved.csv", "data.test_path=test.csv")
    assert code == 0, err
    assert (
        run_folder.read_json(folder / "eval-test.json")["metrics"]
        == run_folder.read_json(folder / "summary.json")["test"]
    )


@pytest.mark.parametrize("classes", [101, 4_000, 30_000])
def test_many_classes_cost_as_many_numbers_and_not_their_square(classes):
    names = tuple(f"c{i}" for i in range(classes))
    facts = Facts("multiclass", (3,), names, (), None, {"kind": "dataset"})
    outline = SimpleNamespace(settings=SimpleNamespace(compile=False), given_size=8, workers=0, seed=0)
    x, y = torch.randn(60, 3), torch.arange(60) % 30
    trained = Trained(
        Path("run"), Path("best"), outline, facts, nn.Linear(3, classes), CrossEntropy(), torch.device("cpu")
    )
    judged = judge.judge(trained, judge.Rows(Tensors(x, y), "test", True))
    guess = trained.model(x).argmax(1)
    pairs = judged.result["confusion"]["true_predicted_count"]
    assert sum(n for _, _, n in pairs) == 60
    assert {(t, p) for t, p, _ in pairs} == set(zip(y.tolist(), guess.tolist(), strict=True))
    assert judged.result["classes"][29]["rows"] == 2
    assert len(json.dumps(judged.result)) < 60_000 + 150 * classes
    figure = figures.draw(judged.result)
    assert figure.axes[0].get_title(loc="left").endswith(f"the 40 most confused of {classes:,} classes")
    assert figure.axes[0].images[0].get_array().shape == (40, 40)
    assert findings.describe(judged.result).count("\n") < 40


def test_worst_answers_show_as_many_digits_as_tell_them_from_the_truth(dltrain):
    houses("houses.csv", price=lambda i: 1_700_000_000_000 + 13 * (i % 40))
    train(dltrain, *RUNS["a table"])
    code, out, err = dltrain("eval", "last")
    assert code == 0, err
    said = [line.split(": price ")[1].split(", predicted ") for line in out.splitlines() if line.startswith("worst")]
    assert said
    assert all(true.startswith("1700000000") and true != predicted for true, predicted in said)


@pytest.mark.parametrize("name", ["a table", "a test file", "few rows", "images in memory", "streamed images"])
def test_the_worst_answers_name_the_file_or_the_line(dltrain, tmp_path, name):
    houses("houses.csv")
    houses("test.csv", rows=range(200, 240), price=lambda i: 7 * i)
    pictures(tmp_path / "pictures")
    more = {"a test file": ["data.test_path=test.csv"], "few rows": ["trainer.overfit_batches=1", "data.batch_size=20"]}
    folder = train(dltrain, *RUNS.get(name, RUNS["a table"]), *more.get(name, []))
    code, out, err = dltrain("eval", "last")
    assert code == 0, err
    worst = run_folder.read_json(folder / "eval-test.json")["worst"]
    if "images" in name:
        assert len({w["file"] for w in worst}) == len(worst)
        for w in worst:
            assert Path(w["file"]).is_file()
            assert Path(w["file"]).parent.name == w["true"]
    else:
        for w in worst:
            file, line = w["place"].split(", line ")
            cells = Path(file).read_text().splitlines()[int(line) - 1].split(",")
            assert w["true"]["price"] == pytest.approx(float(cells[3]), rel=1e-4)
            assert w["input"]["side"] == cells[2]
        assert file == ("test.csv" if name == "a test file" else "houses.csv")
    assert f"worst        {worst[0].get('file') or worst[0]['place']}: " in out


def test_an_answer_that_is_kept_nowhere_must_be_delivered(dltrain, monkeypatch):
    """Where a run folder can't be written, what is printed is all that there is."""
    houses("houses.csv")
    train(dltrain, *RUNS["a table"])
    monkeypatch.setattr("dltrain.commands.eval.os.access", lambda *_: False)
    assert dltrain("eval", "last")[0] == 0

    def lost():
        raise StorageError("it is closed")

    monkeypatch.setattr("dltrain.errors.streams.delivered", lost)
    code, _, err = dltrain("eval", "last")
    assert (code, "error: it is closed" in err) == (7, True)


def test_all_wrong_answers_stand_in_a_file_the_worst_first(dltrain, tmp_path):
    assert dltrain("data=iris", "trainer.epochs=1", "model=linear")[0] == 0
    code, out, err = dltrain("eval", "last", "--wrong", "wrong.csv")
    assert (code, err) == (0, "")
    table = pl.read_csv(tmp_path / "wrong.csv")
    assert table.columns == ["number", "true", "predicted", "p of the true", "p of the predicted"]
    assert f"wrong        wrong.csv  ({len(table)} rows, worst first)" in out
    (folder,) = tmp_path.glob("runs/*/*")
    found = run_folder.read_json(folder / "eval-test.json")
    assert len(table) == found["rows"] - round(found["rows"] * found["metrics"]["accuracy"])
    assert (table["true"] != table["predicted"]).all()
    assert table["p of the true"].is_sorted()
    assert table["number"][0] == found["worst"][0]["index"]
    for words, said in (
        (["--wrong", "."], "--wrong . is a folder"),
        (["--wrong", "no/x.csv"], "there is no folder no"),
    ):
        code, _, err = dltrain("eval", "last", *words)
        assert code == 2
        assert said in err


@pytest.mark.parametrize("data", ["diabetes", "multilabel"])
def test_numbers_and_labels_have_wrong_answers_too(data, dltrain, tmp_path):
    assert dltrain(f"data={data}", "trainer.epochs=1")[0] == 0
    assert dltrain("eval", "last", "--wrong", "wrong.csv")[0] == 0
    table = pl.read_csv(tmp_path / "wrong.csv")
    assert len(table) > 10
    if data == "diabetes":
        assert table.columns == ["number", "true", "predicted", "error"]
        assert table["error"].abs().is_sorted(descending=True)
        assert np.allclose(table["predicted"] - table["true"], table["error"], atol=1e-3)
    else:
        assert (table["true"].fill_null("") != table["predicted"].fill_null("")).all()
