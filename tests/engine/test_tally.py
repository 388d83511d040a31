"""Every metric against scikit-learn's: weighted and not, drawn tasks, class counts, ties, absent classes, batches."""

import warnings
from math import isnan

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import nn

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.evaluation import available, evaluate
from dltrain.errors import ConfigError
from dltrain.parts.losses import BCE, MSE, CrossEntropy, Hinge, OneHotMSE, probabilities
from dltrain.parts.metrics import METRICS, USUAL


def found(x, y, loss, task, *, weight=None, batch_size=16, **knobs):
    """All metrics of a model whose outputs are `x`."""
    loader = make_loader(Tensors(x, y), batch_size=batch_size)
    loader.weight = weight
    return evaluate(nn.Identity(), loader, loss, task=task, metrics="all", **knobs)


def quietly(function, *given, **knobs):
    with warnings.catch_warnings(action="ignore"):
        return function(*given, **knobs)


def of_classes(x, y, loss, w):
    """What scikit-learn says of outputs [N, K] under a loss, y int64 [N]."""
    x = x.double()
    guess = (x[:, 0] > 0).long() if x.shape[1] == 1 else x.argmax(1)
    p = probabilities(loss, x, "binary" if x.shape[1] <= 2 else "multiclass")
    named = {"sample_weight": w, "zero_division": 0}
    wanted = {
        "accuracy": sk.accuracy_score(y, guess, sample_weight=w),
        "balanced_accuracy": quietly(sk.balanced_accuracy_score, y, guess, sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, guess, sample_weight=w),
        "f1": sk.f1_score(y, guess, average="macro", **named),
        **{f"f1_{a}": sk.f1_score(y, guess, average=a, **named) for a in ("macro", "micro", "weighted")},
        "precision_macro": sk.precision_score(y, guess, average="macro", **named),
        "recall_macro": sk.recall_score(y, guess, average="macro", **named),
    }
    count = max(x.shape[1], 2)
    if p is not None:
        wanted["log_loss"] = sk.log_loss(y, p, labels=range(count), sample_weight=w)
        wanted["brier"] = sk.brier_score_loss(y, p, labels=range(count), sample_weight=w)
    scores = x if p is None else p
    if count == 2:
        scores = scores[:, 1] if scores.shape[1] == 2 and p is not None else x[:, -1] - x[:, 0] * (x.shape[1] == 2)
        return wanted | areas((y == 1)[:, None], scores[:, None], w)
    return wanted | areas(nn.functional.one_hot(y, count).bool(), scores, w)


def areas(truth, scores, w):
    """The means over the columns that have both values."""
    both = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
    each = {
        "roc_auc": [sk.roc_auc_score(truth[:, k], scores[:, k], sample_weight=w) for k in both],
        "average_precision": [sk.average_precision_score(truth[:, k], scores[:, k], sample_weight=w) for k in both],
    }
    return {name: np.mean(values) if values else np.nan for name, values in each.items()}


def drawn(generator, rows, outputs, kind):
    """Outputs with or without ties, some so large that probabilities round to 0 and 1."""
    x = torch.randn(rows, outputs, generator=generator)
    again = x[torch.randint(rows // 3, (rows,), generator=generator)]  # whole rows, whose probabilities are then equal
    return {"plain": x, "ties": again, "sure": 20 * x, "constant": x * 0 + 1}[kind]


CASES = [
    (0, "plain", 0),
    (1, "plain", 0),
    (1, "ties", 1),
    (2, "sure", 0),
    (2, "ties", 1),
    (3, "plain", 1),
    (3, "sure", 1),
]


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_classes_equal_scikit_learn(outputs):
    losses = [BCE()] if outputs == 1 else [CrossEntropy(), OneHotMSE(), nn.CrossEntropyLoss(), Hinge()]
    for seed, kind, weighted in [*CASES, (5, "constant", 1)]:
        generator = torch.Generator().manual_seed(seed)
        rows = int(torch.randint(20, 90, (), generator=generator))
        x, count = drawn(generator, rows, outputs, kind), max(outputs, 2)
        y = torch.randint(count, (rows,), generator=generator)
        if seed == 1:  # a class that no row has, and in binary one that is rare
            y[y == count - 1] = 0
            y[: int(count == 2)] = 1
        w = torch.rand(rows, generator=generator) * 3 if weighted else None
        loss, task = losses[seed % len(losses)], "binary" if count == 2 else "multiclass"
        got = found(x, y, loss, task, weight=w, batch_size=[1, 7, 16, 200][seed % 4])
        wanted = of_classes(x, y, loss, w)
        assert {name: got.pop(name) for name in wanted} == pytest.approx(wanted, abs=1e-6), (seed, kind, weighted)
        assert [*got] == ["loss"]
        each = torch.stack([loss.eval()(x[i : i + 1], y[i : i + 1]) for i in range(rows)])
        assert got["loss"] == pytest.approx(np.average(each, weights=w), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("labels", [1, 3])
def test_labels_equal_scikit_learn(labels):
    for seed, kind, weighted in CASES:
        generator = torch.Generator().manual_seed(seed)
        rows = int(torch.randint(20, 90, (), generator=generator))
        x, y = drawn(generator, rows, labels, kind), torch.rand(rows, labels, generator=generator).round()
        if labels == 3:
            y[:, 1] = 0  # a label without the one value: it has no area
        w = torch.rand(rows, generator=generator) * 3 if weighted else None
        got = found(x, y, BCE(task="multilabel"), "multilabel", weight=w, batch_size=[1, 7, 16, 200][seed % 4])
        guess, p, truth = x > 0, x.double().sigmoid(), y.bool()
        each = [(truth[:, k], p[:, k]) for k in range(labels)]
        kinds = {"micro": "f1_micro", "macro": "f1_macro"}
        flat = guess if labels > 1 else guess[:, 0]  # of one column scikit-learn takes rows for classes
        if labels > 1:
            knobs = {"sample_weight": w, "zero_division": np.nan}
            wanted = {name: sk.f1_score(truth, flat, average=average, **knobs) for average, name in kinds.items()}
            wanted["exact_match"] = sk.accuracy_score(truth, guess, sample_weight=w)
        else:
            wanted = {name: sk.f1_score(truth[:, 0], flat, sample_weight=w) for name in kinds.values()}
            wanted["exact_match"] = sk.accuracy_score(truth[:, 0], flat, sample_weight=w)
        wanted["f1"] = wanted["f1_micro"]
        wanted["accuracy"] = np.average((guess == truth).double().mean(1), weights=w)
        wanted["log_loss"] = np.mean([sk.log_loss(t, q, labels=[False, True], sample_weight=w) for t, q in each])
        wanted["brier"] = np.mean(
            [quietly(sk.brier_score_loss, t, q, sample_weight=w, pos_label=True) for t, q in each]
        )
        wanted |= areas(truth, p, w)
        assert {name: got[name] for name in wanted} == pytest.approx(wanted, abs=1e-6, nan_ok=True), (seed, kind)
        assert set(got) - set(wanted) == {"loss"}


@pytest.mark.parametrize("targets", [1, 3])
def test_targets_equal_scikit_learn(targets):
    for seed, kind, weighted in CASES:
        generator = torch.Generator().manual_seed(seed)
        rows = int(torch.randint(20, 90, (), generator=generator)) + seed  # even and odd numbers
        x, y = drawn(generator, rows, targets, kind), torch.randn(rows, targets, generator=generator).round(decimals=1)
        w = torch.rand(rows, generator=generator) * 3 if weighted else None
        if weighted and seed == 2:
            w = w.round()  # half the weight lies just between two rows, and some rows weigh nothing
        got = found(x, y, MSE(), "regression", weight=w, batch_size=[1, 7, 16, 200][seed % 4])
        x, y = x.double(), y.double()
        wanted = {
            "rmse": sk.root_mean_squared_error(y, x, sample_weight=w),
            "mae": sk.mean_absolute_error(y, x, sample_weight=w),
            "r2": sk.r2_score(y, x, sample_weight=w),
            "median_absolute_error": sk.median_absolute_error(y, x, sample_weight=w),
            "loss": sk.mean_squared_error(y, x, sample_weight=w),
        }
        assert got == pytest.approx(wanted, rel=1e-6), (seed, kind)


def test_what_a_part_cannot_say_is_nan_without_a_warning():
    x, ones = torch.randn(9, 3), torch.ones(9, dtype=torch.long)
    got = found(x, ones, CrossEntropy(), "multiclass")
    assert {name for name, value in got.items() if isnan(value)} == {"roc_auc", "average_precision"}
    got = found(x[:, :1], ones, BCE(), "binary")
    assert {name for name, value in got.items() if isnan(value)} == {"roc_auc", "average_precision"}
    got = found(x, torch.ones(9, 3), BCE(task="multilabel"), "multilabel")
    assert {name for name, value in got.items() if isnan(value)} == {"roc_auc", "average_precision"}
    weightless = found(x, ones, CrossEntropy(), "multiclass", weight=torch.zeros(9))
    assert all(map(isnan, weightless.values()))
    x[2] = torch.nan
    assert isnan(found(x, torch.arange(9) % 3, CrossEntropy(), "multiclass")["roc_auc"])


def test_a_weight_is_that_of_the_row_in_whatever_order_rows_come():
    x, y, w = torch.randn(50, 3), torch.randint(3, (50,)), torch.rand(50)
    loader = make_loader(Tensors(x, y), batch_size=7, shuffle=True)
    loader.weight = w
    shuffled = evaluate(nn.Identity(), loader, CrossEntropy(), task="multiclass", metrics="all")
    assert shuffled == pytest.approx(found(x, y, CrossEntropy(), "multiclass", weight=w), rel=1e-6)
    twice = found(x.repeat(2, 1), y.repeat(2), CrossEntropy(), "multiclass")
    assert found(x, y, CrossEntropy(), "multiclass", weight=torch.full((50,), 2.0)) == pytest.approx(twice, rel=1e-6)


def test_a_loss_without_a_number_for_each_row_is_refused_where_rows_have_weights():
    x, y = torch.randn(20, 1), torch.randn(20, 1)
    with pytest.raises(ConfigError, match="gives one number for a batch, and rows with weights need one for each"):
        found(x, y, lambda outputs, targets: (outputs - targets).square().mean(), "regression", weight=torch.rand(20))


def test_metrics_are_named_and_those_that_there_are_not_refused():
    x, y = torch.randn(20, 3), torch.arange(20) % 3
    loader = make_loader(Tensors(x, y), batch_size=8)
    some = evaluate(nn.Identity(), loader, CrossEntropy(), task="multiclass", metrics=["roc_auc"])
    assert [*some] == [*USUAL["multiclass"], "roc_auc"]
    assert available("multiclass", CrossEntropy()) == tuple(found(x, y, CrossEntropy(), "multiclass"))
    for task, loss in (("multiclass", CrossEntropy()), ("regression", MSE()), ("multilabel", BCE(task="multilabel"))):
        assert {*available(task, loss)} == {*METRICS[task]}
    with pytest.raises(ConfigError, match=r"there is no roc_aux of a multiclass task.*did you mean `roc_auc`"):
        evaluate(nn.Identity(), loader, CrossEntropy(), task="multiclass", metrics=["roc_aux"])
    with pytest.raises(ConfigError, match="there is no brier of a multiclass task under Hinge"):
        evaluate(nn.Identity(), loader, Hinge(), task="multiclass", metrics=["brier"])


def test_too_many_outputs_to_be_ranked_have_no_area(monkeypatch):
    monkeypatch.setattr("dltrain.engine.tally._MOST_KEPT", 50)
    got = found(torch.randn(20, 3), torch.arange(20) % 3, CrossEntropy(), "multiclass")
    assert {name for name, value in got.items() if isnan(value)} == {"roc_auc", "average_precision"}


def test_classes_are_ranked_in_parts_as_together(monkeypatch):
    x, y = torch.randn(40, 9), torch.randint(9, (40,))
    whole = found(x, y, CrossEntropy(), "multiclass")
    monkeypatch.setattr("dltrain.engine.ranking._AT_ONCE", 100)
    assert found(x, y, CrossEntropy(), "multiclass") == whole
