"""Evaluation: the metrics against scikit-learn, ragged batches, modes, and wrong targets."""

from math import isnan

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.datasets import load_diabetes
from torch import nn

from dltrain.data import Tensors, diabetes, take
from dltrain.data.loaders import make_loader
from dltrain.data.units import Standard
from dltrain.engine.evaluation import evaluate, predict
from dltrain.errors import DataError
from dltrain.parts.losses import BCE, MSE, CrossEntropy
from dltrain.parts.metrics import USUAL


def loader(x, y, batch_size=16):
    return make_loader(Tensors(x, y), batch_size=batch_size)


def score(logits, y, loss, task, **knobs):
    """Metrics of a model whose outputs are `logits`, in batches of 16."""
    found = evaluate(nn.Identity(), loader(logits, y), loss, task=task, **knobs)
    assert tuple(found) == USUAL[task]
    return found


def test_multiclass_equals_scikit_learn():
    x, y = torch.randn(101, 5), torch.randint(5, (101,))
    y[y == 3] = 0  # class 3 is predicted but never true
    found, guess = score(x, y, CrossEntropy(), "multiclass"), x.argmax(1)
    assert found["accuracy"] == metrics.accuracy_score(y, guess)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, guess, average="macro"), rel=1e-12)
    assert found["loss"] == pytest.approx(metrics.log_loss(y, x.double().softmax(1), labels=range(5)), rel=1e-6)


def test_classes_that_never_occur_leave_f1_alone():
    y = torch.tensor([0, 1, 1])
    x = nn.functional.one_hot(y, 4).float()
    assert score(x, y, CrossEntropy(), "multiclass")["f1"] == 1


@pytest.mark.parametrize("outputs", [1, 2])
def test_binary_equals_scikit_learn(outputs):
    x, y = torch.randn(101, outputs), torch.randint(2, (101,))
    guess = (x[:, 0] > 0).long() if outputs == 1 else x.argmax(1)
    found = score(x, y, BCE() if outputs == 1 else CrossEntropy(), "binary")
    assert found["accuracy"] == metrics.accuracy_score(y, guess)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, guess, average="macro"), rel=1e-12)


def test_a_logit_of_zero_means_class_0():
    assert score(torch.zeros(4, 1), torch.tensor([0, 0, 0, 1]), BCE(), "binary")["accuracy"] == 0.75


def test_multilabel_equals_scikit_learn():
    x, y = torch.randn(101, 4), torch.rand(101, 4).round()
    found, guess = score(x, y, BCE(task="multilabel"), "multilabel"), x > 0
    assert found["accuracy"] == pytest.approx((guess == y.bool()).double().mean().item(), rel=1e-12)
    assert found["exact_match"] == metrics.accuracy_score(y, guess)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, guess, average="micro"), rel=1e-12)


def test_f1_without_any_label_is_undefined():
    assert isnan(score(-torch.ones(5, 2), torch.zeros(5, 2), BCE(task="multilabel"), "multilabel")["f1"])


def test_regression_equals_scikit_learn_in_original_units():
    mean, std = torch.tensor([200_000.0, -3.0]), torch.tensor([50_000.0, 0.25])
    x, y = torch.randn(101, 2), torch.randn(101, 2)
    found = score(x, y, MSE(), "regression", units=Standard(mean, std))
    guess, truth = ((t.double() * std + mean).numpy() for t in (x, y))
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, guess), rel=1e-9)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, guess), rel=1e-9)
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, guess), rel=1e-9)
    assert found["loss"] == pytest.approx(metrics.mean_squared_error(y, x), rel=1e-6)


def test_a_part_of_data_brings_its_own_units():
    """What standardised the targets travels with the part, through either loader, and through rows that are taken."""
    data = diabetes()
    raw = load_diabetes().target
    some = take(data.train, torch.arange(0, len(data.train), 2))
    for part in (data.train, data.val, data.test, some):
        truth = data.units.original(part.y.double())
        assert np.isin(truth[:, 0].round().numpy(), raw).all()
        error = truth - data.units.mean  # of a net that answers 0, which stands for the mean
        for loaded in (make_loader(part, batch_size=16), make_loader(part, batch_size=16, transform=lambda x: x)):
            found = evaluate(Zero(), loaded, MSE(), task="regression")
            assert found["rmse"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-6)
            assert found["mae"] == pytest.approx(float(error.abs().mean()), rel=1e-6)
            assert found["loss"] == pytest.approx(float(part.y.square().mean()), rel=1e-5)
    assert found["rmse"] > 50


class Zero(nn.Module):
    def forward(self, x):
        return x[:, :1] * 0


def test_r2_of_a_constant_target_is_undefined():
    found = score(torch.randn(40, 1), torch.full((40, 1), 0.1), MSE(), "regression")
    assert isnan(found["r2"])
    assert found["rmse"] > 0


@pytest.mark.parametrize("batch_size", [1, 7, 64, 200])
def test_a_ragged_last_batch_counts_by_its_size(batch_size):
    x, y = torch.randn(101, 5), torch.randint(5, (101,))
    whole = evaluate(nn.Identity(), loader(x, y, None), CrossEntropy(), task="multiclass")
    parts = evaluate(nn.Identity(), loader(x, y, batch_size), CrossEntropy(), task="multiclass")
    assert parts == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "task"),
    [
        (nn.L1Loss(), "regression"),
        (nn.SmoothL1Loss(), "regression"),
        (nn.BCEWithLogitsLoss(), "multilabel"),
        (nn.MultiLabelSoftMarginLoss(), "multilabel"),
        (nn.MultiMarginLoss(), "multiclass"),
        (nn.CrossEntropyLoss(), "binary"),
    ],
)
def test_any_loss_of_torch(loss, task):
    k = 2 if task == "binary" else 3
    x, y = torch.randn(40, k), torch.rand(40, k).round()
    if task in ("binary", "multiclass"):
        y = torch.randint(k, (40,))
    assert score(x, y, loss, task)["loss"] == pytest.approx(loss(x, y).item(), rel=1e-6)


def test_eval_mode_inside_and_every_mode_restored():
    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen, self.dropout = nn.BatchNorm1d(3).eval(), nn.Dropout(0.5)
            self.modes = []

        def forward(self, x):
            self.modes.append((self.training, self.dropout.training, torch.is_inference_mode_enabled()))
            return self.dropout(self.frozen(x))

    model, loss = Spy(), CrossEntropy(label_smoothing=0.5)
    x, y = torch.randn(8, 3), torch.randint(3, (8,))
    found = evaluate(model, loader(x, y, None), loss, task="multiclass")
    assert model.modes == [(False, False, True)]
    assert (model.training, model.frozen.training, model.dropout.training, loss.training) == (True, False, True, True)
    plain = nn.functional.cross_entropy(model.frozen(x), y)  # no dropout, no label smoothing
    assert found["loss"] == pytest.approx(plain.item(), rel=1e-6)


def test_modes_are_restored_after_an_error():
    model = nn.Linear(3, 2)
    with pytest.raises(RuntimeError):
        evaluate(model, loader(torch.randn(4, 5), torch.zeros(4, dtype=torch.long)), CrossEntropy(), task="binary")
    assert model.training


def test_evaluation_draws_no_random_numbers():
    model, data = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), loader(torch.randn(9, 3), torch.randint(2, (9,)))
    state = torch.get_rng_state()
    evaluate(model, data, CrossEntropy(), task="binary")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_predict_keeps_the_order(batch_size):
    model, x, y = nn.Linear(3, 2), torch.randn(10, 3), torch.arange(10)
    logits, targets = predict(model, loader(x, y, batch_size), "cpu")
    torch.testing.assert_close(logits, model(x).detach())
    assert torch.equal(targets, y)
    assert model.training


@pytest.mark.parametrize(("outputs", "wrong"), [(3, 3), (3, -1), (1, 2)])
def test_a_class_out_of_range_is_named(outputs, wrong):
    y = torch.tensor([0, 1, wrong, 0])
    loss, task = (BCE(), "binary") if outputs == 1 else (CrossEntropy(), "multiclass")
    message = f"the targets hold class {wrong}, but the model's outputs stand for classes 0 to {max(outputs - 1, 1)}"
    with pytest.raises(DataError, match=message):
        score(torch.randn(4, outputs), y, loss, task)


@pytest.mark.parametrize("wrong", [2.0, -1.0, float("nan")])
def test_a_label_out_of_range_is_named(wrong):
    y = torch.tensor([[0.0, 1.0], [wrong, 0.0]])
    with pytest.raises(DataError, match=f"the targets hold {wrong:g}, but a label must lie between 0"):
        score(torch.randn(2, 2), y, BCE(task="multilabel"), "multilabel")


def test_empty_splits_are_refused():
    empty = loader(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(DataError, match="nothing to evaluate: this split has no samples"):
        evaluate(nn.Identity(), empty, CrossEntropy(), task="multiclass")
    with pytest.raises(DataError, match="nothing to predict"):
        predict(nn.Identity(), empty)


def test_a_model_that_drops_the_outputs_axis_is_named():
    with pytest.raises(ValueError, match=r"must return \[batch, outputs\], but it returned \[4\]"):
        evaluate(nn.Flatten(0), loader(torch.randn(4, 1), torch.zeros(4, dtype=torch.long)), BCE(), task="binary")


def test_numbers_are_plain_floats():
    found = score(torch.randn(20, 3), torch.randint(3, (20,)), CrossEntropy(), "multiclass")
    assert all(type(value) is float for value in found.values())
    assert np.isfinite(list(found.values())).all()
