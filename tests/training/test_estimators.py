"""`dltrain.sklearn`: what scikit-learn asks of an estimator, what it is combined with, and the same bits each time."""

import copy
import functools
import pickle
import random
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn import datasets
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from dltrain import Trainer, losses, make_loader, models
from dltrain.data import Tensors
from dltrain.errors import DivergedError
from dltrain.parts import optimizers
from dltrain.sklearn import MLPClassifier, MLPRegressor


def left_out(estimator):
    """Rows by weight come in other batches than rows that are repeated, but for batch_size="full": see below."""
    many = isinstance(estimator, MLPClassifier)
    return {"check_sample_weight_equivalence_on_dense_data": "batches"} if many else {}


@parametrize_with_checks([MLPClassifier(), MLPRegressor()], expected_failed_checks=left_out)
def test_it_is_an_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])
def test_rows_of_weight_zero_are_left_out_and_twos_count_as_two(make):
    """In one batch there is no order of rows."""
    x, y = iris()
    times = np.random.default_rng(1).integers(0, 3, 150)
    options = {"batch_size": "full", "epochs": 5, "optimizer": "sgd"}
    weighted = make(**options).fit(x, y, sample_weight=0.5 * times)
    repeated = make(**options).fit(np.repeat(x, times, axis=0), np.repeat(y, times))
    for one, other in zip(weights(weighted), weights(repeated), strict=True):
        assert np.allclose(one, other, atol=1e-5)
    begun = make(**options).partial_fit(x, y, **{"classes": [0, 1, 2]} if make is MLPClassifier else {})
    assert weights(begun.partial_fit(x, y, sample_weight=times))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        make().fit(x, y, sample_weight=np.zeros(150))


def iris(rows=150):
    x, y = datasets.load_iris(return_X_y=True)
    kept = np.random.default_rng(0).permutation(150)[:rows]
    return x[kept], y[kept]


def weights(estimator):
    return [p.detach().numpy().copy() for p in estimator.module_.parameters()]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


# -- what comes out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "least"), [(datasets.load_wine, 0.9), (datasets.load_digits, 0.9), (datasets.load_breast_cancer, 0.9)]
)
def test_classes_are_learned(load, least):
    x, y = load(return_X_y=True)
    assert cross_val_score(MLPClassifier(epochs=20), x, y, cv=3).mean() > least


def test_numbers_are_learned_in_their_units():
    x, y = datasets.load_diabetes(return_X_y=True)
    assert cross_val_score(MLPRegressor(widths=(32,)), x, y, cv=3).mean() > 0.4
    shifted = MLPRegressor(epochs=5).fit(x, 1e9 + y)
    np.testing.assert_allclose(shifted.predict(x) - 1e9, MLPRegressor(epochs=5).fit(x, y).predict(x), rtol=1e-3)


def test_several_numbers_are_as_many_columns():
    x, y = datasets.load_linnerud(return_X_y=True)
    net = MLPRegressor(epochs=100).fit(x, y)
    assert net.predict(x).shape == y.shape
    assert net.predict(x).dtype == np.float64
    assert MLPRegressor(epochs=2).fit(x, y[:, :1]).predict(x).shape == (20, 1)
    assert MLPRegressor(epochs=2).fit(x, y[:, 0]).predict(x).shape == (20,)


@pytest.mark.parametrize("loss", ["auto", "bce", "cross_entropy", "one_hot_mse", nn.CrossEntropyLoss])
def test_probabilities_are_of_the_classes_in_their_order(loss):
    x, y = datasets.load_breast_cancer(return_X_y=True, as_frame=True)
    words = y.map({0: "z", 1: "a"})
    net = MLPClassifier(epochs=5, loss=loss).fit(x, words)
    p = net.predict_proba(x)
    assert list(net.classes_) == ["a", "z"]
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert (net.classes_[p.argmax(1)] == net.predict(x)).all()
    assert net.score(x, words) > 0.9


def test_losses_without_probabilities_do_not_offer_them():
    x, y = iris()
    assert not hasattr(MLPClassifier(loss="hinge").fit(x, y), "predict_proba")
    with pytest.raises(ValueError, match="loss='auto' gives"):
        MLPClassifier(loss=nn.MultiMarginLoss, epochs=2).fit(x, y).predict_proba(x)


def test_class_weights_are_those_of_the_cross_entropy():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    by_hand = MLPClassifier(epochs=2, loss=functools.partial(losses.CrossEntropy, class_weights=[4.0, 1.0])).fit(x, y)
    assert same(by_hand, MLPClassifier(epochs=2, class_weight={0: 4}).fit(x, y))
    share = [569 / (2 * n) for n in np.bincount(y)]
    by_hand.set_params(loss=functools.partial(losses.CrossEntropy, class_weights=share)).fit(x, y)
    assert same(by_hand, MLPClassifier(epochs=2, class_weight="balanced").fit(x, y))


def test_it_is_what_a_trainer_makes_of_standardised_rows():
    """Weights, bit for bit: the same seed, order, optimizer and schedule."""
    x, y = iris()
    net = MLPClassifier(widths=(16,), optimizer="adam", lr=1e-2, scheduler="constant", epochs=4, random_state=5)
    net.fit(x, y)
    torch.manual_seed(5)
    model = models.MLP(4, 3, widths=[16])
    rows = Tensors(torch.from_numpy(StandardScaler().fit_transform(x)).float(), torch.from_numpy(y))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    trainer = Trainer(model, losses.CrossEntropy(), optimizer)
    records = trainer.run(make_loader(rows, batch_size=64, shuffle=True, seed=5), epochs=4)
    assert all(np.array_equal(a, p.detach().numpy()) for a, p in zip(weights(net), model.parameters(), strict=True))
    assert [h["train/loss"] for h in net.history_] == [r.metrics["train/loss"] for r in records]


# -- what it is combined with --------------------------------------------------------------------------------------


def test_a_search_finds_the_rate_that_learns():
    x, y = iris()
    search = GridSearchCV(MLPClassifier(epochs=10), {"lr": [1e-6, 1e-2], "batch_size": np.array([16, 64])}, cv=3)
    assert search.fit(x, y).best_params_["lr"] == 1e-2
    assert search.best_score_ > 0.9


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_go_through_a_pipeline(kind):
    x, y = datasets.load_iris(return_X_y=True, as_frame=True)
    x, y = x.assign(side=np.where(x.index % 3, "north", "south")), y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    frame, answers = (x, y) if kind == "pandas" else (pl.DataFrame(x.to_dict("list")), pl.Series(list(y)))
    words = OneHotEncoder(sparse_output=False)
    net = make_pipeline(ColumnTransformer([("words", words, ["side"])], remainder="passthrough"), MLPClassifier())
    net.fit(frame, answers)
    assert net.score(frame, answers) > 0.9
    bare = MLPClassifier(epochs=2).fit(frame[:, :4] if kind == "polars" else frame.iloc[:, :4], answers)
    assert list(bare.feature_names_in_) == list(x.columns[:4])
    with pytest.raises(ValueError, match="feature names"):
        bare.predict(pd.DataFrame(x.iloc[:, :4].to_numpy(), columns=list("abcd")))


def test_scales_are_fitted_on_the_rows_of_fit():
    x, y = iris()
    net = MLPClassifier(epochs=1).fit(x[:100], y[:100])
    np.testing.assert_allclose(net._scale.mean_, x[:100].mean(0))
    held = MLPClassifier(epochs=3, patience=2, val=0.2).fit(x, y)
    assert held._scale.n_samples_seen_ == 120
    assert {"val/accuracy", "val/loss"} <= set(held.history_[0])


def test_patience_keeps_the_best_epoch():
    x, y = datasets.load_breast_cancer(return_X_y=True)
    net = MLPClassifier(epochs=200, patience=3, scheduler="constant").fit(x, y)
    reached = [h["val/accuracy"] for h in net.history_]
    best = reached.index(max(reached)) + 1
    assert net.n_iter_ == len(reached) == best + 3
    assert same(net, clone(net).set_params(epochs=best).fit(x, y))
    x, y = datasets.load_diabetes(return_X_y=True)
    net = MLPRegressor(epochs=200, patience=3, lr=0.01).fit(x, y)
    assert net.n_iter_ < 200
    assert 40 < min(h["val/rmse"] for h in net.history_) < 80  # in the units of y


# -- the same again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "norm": "batch"}, {"optimizer": "muon"}])
def test_the_same_random_state_gives_the_same_bits(options):
    x, y = iris()
    first = MLPClassifier(epochs=2, random_state=3, **options).fit(x, y)
    torch.rand(1), np.random.rand()
    assert same(first, clone(first).fit(x, y))
    assert same(first, copy.deepcopy(first).fit(x, y))
    assert not same(first, clone(first).set_params(random_state=4).fit(x, y))


def test_random_state_may_be_what_scikit_learn_takes():
    x, y = iris()
    one = MLPClassifier(epochs=1, random_state=np.random.RandomState(1)).fit(x, y)
    assert same(one, MLPClassifier(epochs=1, random_state=np.random.RandomState(1)).fit(x, y))
    assert not same(*(MLPClassifier(epochs=1, random_state=None).fit(x, y) for _ in range(2)))


def test_a_pickle_answers_and_goes_on_alike():
    x, y = iris()
    net = MLPClassifier(widths=(64, 64, 64), dropout=0.2).fit(x, y)
    stored = pickle.dumps(net)
    size = sum(4 * p.numel() for p in net.module_.parameters())
    assert len(stored) < 4 * size + 30_000  # weights and two of Adam's averages
    again = pickle.loads(stored)
    assert np.array_equal(again.predict_proba(x), net.predict_proba(x))
    assert same(again.partial_fit(x, y), net.partial_fit(x, y))


@pytest.mark.parametrize("options", [{}, {"optimizer": "momentum", "lr": 0.01}, {"weight_decay": 0.1}])
def test_partial_fit_goes_on_with_the_optimizer(options):
    """Against one Adam (or SGD) that goes through the same batches without a pause."""
    x, y = iris()
    net = MLPClassifier(widths=(8,), batch_size="full", **options)
    torch.manual_seed(0)
    model = models.MLP(4, 3, widths=[8])
    groups = optimizers.parameter_groups(model, weight_decay=options.get("weight_decay", 0.01))
    if "optimizer" in options:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(groups, lr=3e-3)
    scaler = StandardScaler().fit(x[:50])
    for part in np.split(np.arange(150), 3) * 3:
        net.partial_fit(x[part], y[part], classes=[0, 1, 2])
        loss = nn.functional.cross_entropy(
            model(torch.from_numpy(scaler.transform(x[part])).float()), torch.from_numpy(y[part])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert net.n_iter_ == 9
    for mine, theirs in zip(weights(net), model.parameters(), strict=True):
        np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_partial_fit_learns_and_says_what_it_lacks():
    x, y = iris()
    net = MLPClassifier()
    with pytest.raises(ValueError, match=r"first call of partial_fit"):
        net.partial_fit(x, y)
    for _ in range(40):
        net.partial_fit(x, y, classes=[0, 1, 2])
    assert net.score(x, y) > 0.9
    with pytest.raises(ValueError, match="the first call said"):
        net.partial_fit(x, y, classes=[0, 1])
    with pytest.raises(ValueError, match="y has 7"):
        net.partial_fit(x, np.where(y == 2, 7, y))
    x, y = datasets.load_diabetes(return_X_y=True)
    net = MLPRegressor()
    for _ in range(20):
        net.partial_fit(x, y)
    assert net.score(x, y) > 0.4


# -- the process ---------------------------------------------------------------------------------------------------


def state():
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        [str(part) for part in np.random.get_state()],
        torch.get_num_threads(),
        float(torch.tensor(1e-40).mul(1)),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        {name: cls.__dict__.get("step") for name, cls in vars(torch.optim).items() if isinstance(cls, type)},
    )


@pytest.mark.parametrize(("threads", "flushed"), [(1, True), (2, False)])
def test_the_process_is_left_as_it_was(threads, flushed):
    x, y = iris()
    before_all = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(flushed)
    try:
        before = state()
        net = MLPClassifier(dropout=0.5, epochs=2, patience=1).fit(x, y).partial_fit(x, y)
        net.predict_proba(x)
        assert state() == before
        with pytest.raises(ValueError, match="learning rate"):
            MLPClassifier(dropout=0.5, lr=-1).fit(x, y)
        assert state() == before
    finally:
        torch.set_num_threads(before_all)
        torch.set_flush_denormal(False)


def test_what_a_process_has_set_does_not_matter():
    x, y = iris()
    for loss in ("auto", nn.MultiMarginLoss):  # the direct step and the plain one
        net = MLPClassifier(epochs=2, loss=loss).fit(x, y).partial_fit(x, y)
        with torch.inference_mode():
            assert same(net, clone(net).fit(x, y).partial_fit(x, y))
        try:
            torch.set_default_dtype(torch.float64)
            wide = clone(net).fit(x, y)
        finally:
            torch.set_default_dtype(torch.float32)
        assert wide.module_(torch.zeros(1, 4)).dtype == torch.float32


def test_a_fit_that_fails_leaves_nothing_fitted():
    x, y = iris()
    net = MLPClassifier(epochs=2).fit(x, y)
    with pytest.raises(DivergedError, match="smaller lr"):
        net.set_params(optimizer="sgd", lr=1e30).fit(x, y)
    with pytest.raises(NotFittedError):
        net.predict(x)


def test_fits_of_several_threads_do_not_disturb_each_other():
    x, y = iris()
    alone = MLPClassifier(dropout=0.5, epochs=3).fit(x, y)
    before, nets = state(), [clone(alone) for _ in range(4)]
    threads = [threading.Thread(target=net.fit, args=(x, y)) for net in nets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(alone, net) for net in nets)
    assert state() == before


def test_dltrain_alone_imports_no_scikit_learn():
    code = "import dltrain, sys; dltrain.Trainer; assert 'sklearn' not in sys.modules; import dltrain.sklearn"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- parameters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"widths": (), "lr": 0.1},
        {"widths": (np.int64(64),), "batch_size": np.int64(8), "epochs": np.int64(20), "lr": np.float32(0.01)},
        {"patience": np.int64(9), "val": np.int64(30), "batch_size": 8},
        {"optimizer": "sgd", "lr": 0.1},
        {"optimizer": "lbfgs", "batch_size": "full", "scheduler": "constant"},
        {"optimizer": torch.optim.RMSprop, "lr": 1e-3},
        {"optimizer": functools.partial(torch.optim.SGD, momentum=0.9), "lr": 0.05},
        {"scheduler": "plateau"},
        {"scheduler": functools.partial(torch.optim.lr_scheduler.StepLR, step_size=5)},
        {"loss": functools.partial(losses.CrossEntropy, label_smoothing=0.1)},
        {"loss": "hinge"},
        {"norm": "batch", "batch_size": 149},  # a row would be left over
        {"activation": "tanh", "init": "xavier", "norm": "layer", "input_dropout": 0.1},
    ],
    ids=lambda given: str(given).split(" at 0x")[0],
)
def test_each_parameter_is_used(options):
    x, y = iris()
    assert MLPClassifier(**options).fit(x, y).score(x, y) > 0.8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adamv"}, "did you mean `adam"),
        ({"optimizer": 3}, "dltrain list optimizer"),
        ({"optimizer": "lbfgs", "weight_decay": 0.1}, "leave it at None"),
        ({"scheduler": "torch"}, "give the class itself"),
        ({"scheduler": torch.optim.lr_scheduler.StepLR}, r"partial\(StepLR, step_size="),
        ({"optimizer": nn.Linear}, "a class of torch's"),
        ({"loss": nn.functional.cross_entropy}, "a class of torch's"),
        ({"widths": 64}, r"as \(64,\)"),
        ({"dropout": "much"}, "want a number"),
        ({"lr": "fast"}, "want a number"),
        ({"loss": "mse"}, "use loss="),
        ({"loss": "hinge", "class_weight": "balanced"}, "loss='cross_entropy'"),
        ({"activation": "rleu"}, "relu"),
        ({"epochs": 0}, "a number above zero"),
        ({"batch_size": 1.5}, "or 'full'"),
        ({"patience": 1.5}, "a whole number above zero"),
        ({"patience": 3, "val": 1.5}, "val=1.5"),
        ({"norm": "batch", "batch_size": 1}, "use norm='layer'"),
        ({"device": "gpu"}, "use auto, cpu"),
        ({"random_state": -1}, "Seed must be"),
    ],
    ids=lambda given: str(given).split(" at 0x")[0],
)
def test_a_mistake_is_told_at_fit(options, said):
    x, y = iris()
    with pytest.raises(ValueError, match=said):
        MLPClassifier(**options).fit(x, y)


def test_what_cannot_be_told_apart_or_reached_is_refused():
    x, y = iris()
    with pytest.raises(ValueError, match="one class alone"):
        MLPClassifier().fit(x, np.zeros(150))
    net = MLPClassifier(epochs=1).fit(x, y)
    with pytest.raises(ValueError, match="float32"):
        net.predict(np.full((1, 4), 1e60))
    with pytest.raises(NotFittedError):
        MLPRegressor().predict(x)
    assert repr(MLPClassifier(widths=(3,), lr=0.1)) == "MLPClassifier(lr=0.1, widths=(3,))"
