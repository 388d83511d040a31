"""Thresholds that validation chose, and curves, as `dltrain eval` has them."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn import metrics

from dltrain.runs import run_folder
from dltrain.trained import inference, judge, ranks

SHORT = ("trainer.epochs=3", "trainer.tensorboard=false", "trainer.progress=false", "trainer.threads=1")


@pytest.mark.usefixtures("unpainted")
def test_the_thresholds_are_the_best_on_validation_and_say_what_test_rows_have(dltrain):
    code, _, err = dltrain(*SHORT, "data=breast_cancer")
    assert code == 0, err
    code, out, err = dltrain("eval", "last")
    assert code == 0, err
    folder = run_folder.find("last", Path("runs"))
    found = json.loads((folder / "eval-test.json").read_text())
    trained = inference.open_run(folder, data=True)
    data = judge.read_data(trained)
    p = {
        name: trained.answers(trained.logits(getattr(data, name).x))["p_benign"].to_numpy() for name in ("val", "test")
    }
    y = {name: getattr(data, name).y.numpy() for name in p}
    assert found["thresholds"]["column"] == "p_benign"
    usual, f1, balanced = found["thresholds"]["at"]
    assert (usual["best_for"], usual["threshold"]) == ("usual", 0.5)
    scores = {"f1": metrics.f1_score, "balanced_accuracy": metrics.balanced_accuracy_score}
    for at in (f1, balanced):
        score = scores[at["best_for"]]
        every = [score(y["val"], p["val"] >= t) for t in np.unique(p["val"])]
        assert at["val"][at["best_for"]] == pytest.approx(max(every))
        assert at["here"][at["best_for"]] == pytest.approx(score(y["test"], p["test"] >= at["threshold"]))
    assert "best on val for benign   p_benign from   precision" in out
    malignant, benign = found["classes"]
    for k, row in enumerate((malignant, benign)):
        sign = 2 * k - 1
        assert row["roc_auc"] == pytest.approx(metrics.roc_auc_score(y["test"] == k, sign * p["test"]), abs=1e-6)
        average = metrics.average_precision_score(y["test"] == k, sign * p["test"])
        assert row["average_precision"] == pytest.approx(average, abs=1e-6)
    (curve,) = found["curves"]
    assert curve["name"] == "benign"
    assert curve["roc_auc"] == pytest.approx(metrics.roc_auc_score(y["test"], p["test"]), abs=1e-6)
    assert curve["roc"][0] == [0, 0]
    assert curve["roc"][-1] == curve["precision_recall"][-1][:1] * 2 == [1, 1]
    code, out, _ = dltrain("eval", "last", "--split", "val")
    assert code == 0
    assert "best on val" in out


def test_curves_are_thinned_and_of_many_classes_the_poorest():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(12, (3000,), generator=generator)
    scores = torch.randn(3000, 12, generator=generator) + 3 * torch.nn.functional.one_hot(y, 12) * torch.arange(12)
    positive = y[:, None] == torch.arange(12)
    each = [
        {"name": name, "roc_auc": roc, "average_precision": average}
        for name, (roc, average) in zip("abcdefghijkl", ranks.areas(scores, positive, None), strict=True)
    ]
    found = ranks.curves(scores, positive, None, each)
    assert "".join(curve["name"] for curve in found)[:3] == "abc"
    assert len(found) == 10
    for curve in found:
        assert len(curve["roc"]) < 500
        recall, precision = np.array(curve["precision_recall"]).T
        assert (np.diff(recall) >= 0).all()
        assert -np.trapezoid(precision[::-1], recall[::-1]) == pytest.approx(curve["average_precision"], abs=0.02)
    none = torch.zeros(3000, 1, dtype=torch.bool)
    ((roc, average),) = ranks.areas(scores[:, :1], none, None)
    assert ranks.curves(scores[:, :1], none, None, [{"name": "a", "roc_auc": roc, "average_precision": average}]) == []


@pytest.mark.usefixtures("unpainted")
def test_columns_that_matter_are_found(dltrain):
    generator = np.random.default_rng(0)
    side, noise = generator.choice(["north", "south", "east"], 400), generator.normal(size=400)
    price = 100 + 50 * (side == "north") + 20 * (side == "east") + generator.normal(size=400)
    pl.DataFrame({"side": side, "noise": noise, "price": price}).write_csv("houses.csv")
    code, _, err = dltrain(*SHORT, "trainer.epochs=10", "data=table", "data.path=houses.csv", "data.target=price")
    assert code == 0, err
    code, out, err = dltrain("eval", "last", "--explain")
    assert code == 0, err
    folder = run_folder.find("last", Path("runs"))
    found = run_folder.read_json(folder / "eval-test.json")["importance"]
    assert (found["metric"], found["repeats"], found["rows"]) == ("rmse", 5, 80)
    assert [column["name"] for column in found["columns"]] == ["side", "noise"]  # which has three inputs, as one
    side, noise = (column["mean"] for column in found["columns"])
    assert side > 10 * abs(noise)
    assert "shuffled     80 rows, 5 times a column: rmse" in out
    assert (folder / "plots" / "explain-test.png").is_file()
    assert "median_absolute_error" in out


def test_what_is_no_table_has_no_columns_to_shuffle(dltrain):
    code, _, err = dltrain(*SHORT, "data=digits", "trainer.epochs=1")
    assert code == 0, err
    code, _, err = dltrain("eval", "last", "--explain")
    assert code == 2
    assert "--explain shuffles the columns of a table, and" in err
