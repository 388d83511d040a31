"""Details of an evaluation against scikit-learn and against sums done by hand."""

from math import isnan

import numpy as np
import pytest
import torch
from sklearn import metrics

from dltrain.engine import assessment


def test_classes_equal_scikit_learn():
    y, guess = torch.randint(4, (200,)), torch.randint(4, (200,))
    guess[guess == 3] = 0  # class 3 is never predicted
    counts = assessment.confusion(guess, y, 4)
    assert np.array_equal(assessment.matrix(counts, 4), metrics.confusion_matrix(y, guess))
    assert counts[:, 2].tolist() == sorted(counts[:, 2].tolist(), reverse=True)
    found = assessment.by_class(counts, list("abcd"))
    precision, recall, f1, rows = metrics.precision_recall_fscore_support(y, guess, zero_division=np.nan)
    for i, row in enumerate(found):
        assert (row["name"], row["rows"]) == ("abcd"[i], rows[i])
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx(
            [precision[i], recall[i], f1[i]], nan_ok=True
        )
    assert isnan(found[3]["precision"])
    assert found[3]["f1"] == 0


def test_labels_equal_scikit_learn():
    y, guess = (torch.rand(100, 3) > 0.6).float(), torch.rand(100, 3) > 0.5
    found = assessment.by_label(guess, y, list("abc"))
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, guess)
    for i, row in enumerate(found):
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx([precision[i], recall[i], f1[i]])
        assert row["accuracy"] == pytest.approx(metrics.accuracy_score(y[:, i], guess[:, i]))


def test_targets_equal_scikit_learn():
    y = torch.randn(50, 2, dtype=torch.float64) * 3 + 100
    guess = y + torch.randn(50, 2, dtype=torch.float64)
    for i, row in enumerate(assessment.by_target(guess, y, ["a", "b"])):
        t, g = y[:, i], guess[:, i]
        assert row["rmse"] == pytest.approx(metrics.root_mean_squared_error(t, g))
        assert row["mae"] == pytest.approx(metrics.mean_absolute_error(t, g))
        assert row["r2"] == pytest.approx(metrics.r2_score(t, g))
        assert row["mean_error"] == pytest.approx(float((g - t).mean()))
    constant = assessment.by_target(torch.ones(3, 1), torch.ones(3, 1), ["a"])
    assert isnan(constant[0]["r2"])


def test_calibration_is_the_weighted_gap_of_the_bins():
    confidence = torch.tensor([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 1.0, 0.0])
    right = torch.tensor([True, True, True, False, True, False, True, False])
    found = assessment.calibration(confidence, right, bins=10)
    # 0.95 and 1.0 share the last bin: 4.8 / 5 sure, 4 / 5 right; 0.55: half right; 0: wrong, and sure of it
    assert found["ece"] == pytest.approx((abs(4 - 4.8) + abs(1 - 1.1) + 0) / 8)
    assert [b["rows"] for b in found["bins"]] == [1, 2, 5]
    assert found["bins"][2]["accuracy"] == pytest.approx(0.8)
    sure = assessment.calibration(torch.ones(5), torch.ones(5, dtype=torch.bool))
    assert sure["ece"] == 0


def test_the_worst_answers_are_those_that_were_sure_and_wrong():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.01, 0.99], [0.6, 0.4]])
    y = torch.tensor([0, 0, 0, 0])
    bad = assessment.badness(p.log(), y, p, task="binary")
    assert assessment.worst(bad, 3) == [2, 1, 3]
    assert assessment.worst(bad, 100) == [2, 1, 3, 0]
    score = torch.tensor([[2.0], [-3.0], [0.5]])  # a perceptron's: no probabilities
    assert assessment.worst(assessment.badness(score, torch.tensor([1, 1, 0]), None, task="binary"), 1) == [1]
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 5.0, 1.0]])
    assert assessment.badness(scores, torch.tensor([0, 0]), None, task="multiclass").tolist() == [-1, 5]
    errors = assessment.badness(torch.tensor([[1.0, 1.0], [0.0, 3.0]]), torch.zeros(2, 2), None, task="regression")
    assert errors.tolist() == [1.0, 1.5]


def test_the_trivial_answer_is_that_of_scikit_learns_dummies():
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error

    generator = torch.Generator().manual_seed(0)
    x = np.zeros((50, 1))
    y = torch.randint(4, (50,), generator=generator)
    guess = DummyClassifier(strategy="most_frequent").fit(x, y.numpy()).predict(x)
    found = assessment.trivial(y, task="multiclass")
    for name, score in (("accuracy", accuracy_score), ("balanced_accuracy", metrics.balanced_accuracy_score)):
        assert found[name] == pytest.approx(score(y.numpy(), guess))
    assert found["f1"] == pytest.approx(metrics.f1_score(y.numpy(), guess, average="macro", zero_division=0))
    rare, alike = (torch.arange(50) % 10 == 0).long(), np.zeros(50)
    assert assessment.trivial(rare, task="binary")["average_precision"] == pytest.approx(
        metrics.average_precision_score(rare, alike)
    )
    weight = torch.rand(50, generator=generator)
    found = assessment.trivial(rare, task="binary", weight=weight)
    assert found["accuracy"] == pytest.approx(accuracy_score(rare, alike, sample_weight=weight), rel=1e-6)

    labels = (torch.rand(50, 3, generator=generator) < torch.tensor([0.2, 0.5, 0.9])).float()
    guess = DummyClassifier(strategy="most_frequent").fit(x, labels.numpy()).predict(x)
    wanted = (guess == labels.numpy()).mean()
    assert assessment.trivial(labels, task="multilabel")["accuracy"] == pytest.approx(wanted)

    values = 1e7 + 100 * torch.randn(50, 2, generator=generator, dtype=torch.float64)
    guess = DummyRegressor().fit(x, values.numpy()).predict(x)
    found = assessment.trivial(values, task="regression")
    assert found["rmse"] == pytest.approx(root_mean_squared_error(values.numpy(), guess))
    assert found["r2"] == pytest.approx(r2_score(values.numpy(), guess), abs=1e-9)


def test_a_net_is_no_better_where_it_does_not_beat_the_trivial_answer():
    assert assessment.no_better({"accuracy": 0.1, "loss": 11794.0}, {"accuracy": 0.103})
    assert not assessment.no_better({"accuracy": 0.11}, {"accuracy": 0.103})
    assert assessment.no_better({"accuracy": float("nan")}, {"accuracy": 0.103})
    assert assessment.no_better({"r2": -3.0}, {"r2": 0.0, "rmse": 2.0})
    assert not assessment.no_better({"rmse": 0.1}, {"r2": 0.0, "rmse": 0.0})  # all targets are the same
    assert not assessment.no_better({"accuracy": 1.0}, {"accuracy": 1.0})  # nothing else can be learned
    assert assessment.no_better({"accuracy": 0.9}, {"accuracy": 1.0})
    assert not assessment.no_better(
        {"accuracy": 0.97, "roc_auc": 0.9}, {"accuracy": 0.97}
    )  # it never says the rare one
    assert assessment.no_better({"accuracy": 0.97, "roc_auc": 0.52}, {"accuracy": 0.97})
    assert assessment.no_better({"accuracy": 0.5, "roc_auc": 0.9}, {"accuracy": 0.5})
    assert not assessment.no_better({"r2": 0.2}, {"r2": 0.0, "rmse": 2.0})
    assert not assessment.no_better({"r2": float("nan")}, {"r2": 0.0, "rmse": 0.0})
