"""Novikoff's theorem on real data: the perceptron makes at most (R / gamma)^2 mistakes, and then none."""

import pytest
import torch

from dltrain.data import separation
from dltrain.data.loaders import make_loader
from dltrain.data.sources.sklearn_sets import digits, iris
from dltrain.data.sources.toy import xor
from dltrain.engine.trainer import Trainer
from dltrain.parts import losses, models

ALL = {"val": 0, "test": 0}


def mistakes(data, *, seed, epochs, lr=1.0, **options):
    """Mistakes in each epoch, as the trainer counts them, and the trained model."""
    model = models.Perceptron(data.in_features, 1)
    trainer = Trainer(model, losses.Perceptron(), torch.optim.SGD(model.parameters(), lr=lr), **options)
    loader = make_loader(data.train, batch_size=1, shuffle=True, seed=seed)
    return [record.metrics["train/mistakes"] for record in trainer.fit(loader, epochs=epochs)], model


def signed(data):
    """float64 [n, d + 1]: y (x, 1), the points that a separating weight vector has on its positive side."""
    x = data.train.x.flatten(1).double()
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1) * (2 * data.train.y - 1)[:, None]


def margin(points):
    """The largest margin of a hyperplane through the origin, from a hard-margin support vector machine."""
    from sklearn.svm import SVC

    both = torch.cat([points, -points]).numpy()  # symmetric, so that the intercept is zero
    w = torch.tensor(SVC(kernel="linear", C=1e6).fit(both, [1] * len(points) + [-1] * len(points)).coef_[0])
    return ((points @ w).min() / w.norm()).item()


SEPARABLE = {
    "iris": (lambda: iris(positive="setosa", scaling="none", **ALL), 11.1562, 0.74912),
    "digits": (lambda: digits(classes=[0, 1], scaling="unit", **ALL), 4.9089, 0.59168),
}


@pytest.mark.parametrize("name", SEPARABLE)
def test_mistakes_stay_below_novikoffs_bound_and_end(name):
    make, radius, gamma = SEPARABLE[name]
    data = make()
    points = signed(data)
    assert points.norm(dim=1).max().item() == pytest.approx(radius, abs=1e-4)
    assert margin(points) == pytest.approx(gamma, rel=1e-2)
    assert separation.bound(data.train.x, data.train.y) == pytest.approx((radius / gamma) ** 2, rel=1e-3)
    for seed in range(3):
        counts, model = mistakes(data, seed=seed, epochs=6)
        assert 0 < sum(counts) <= (radius / gamma) ** 2
        assert counts[-1] == 0
        learnt = torch.cat([model.layers.linear.weight[0], model.layers.linear.bias]).detach().double()
        assert (points @ learnt).min() > 0


def test_the_learning_rate_only_scales_the_perceptron():
    """From zero weights every rate makes the same mistakes; a power of two scales the weights exactly."""
    data = iris(positive="setosa", scaling="none", **ALL)
    runs = [mistakes(data, seed=0, epochs=3, lr=lr) for lr in (1.0, 0.25)]
    assert runs[0][0] == runs[1][0]
    assert torch.equal(runs[0][1].layers.linear.weight, 4 * runs[1][1].layers.linear.weight)


@pytest.mark.parametrize(("n", "noise"), [(4, 0.0), (100, 0.1)])
def test_on_xor_mistakes_never_end(n, noise):
    data = xor(n, noise=noise, **ALL)
    counts, _ = mistakes(data, seed=0, epochs=20)
    assert min(counts) > 0
    assert separation.bound(data.train.x, data.train.y) == float("inf")


def test_a_bound_is_not_looked_for_in_what_is_too_large_or_not_finite():
    x, y = torch.randn(6, 2), torch.tensor([0, 1] * 3)
    assert separation.bound(x.repeat(200_000, 1), y.repeat(200_000)) is None
    assert separation.bound(x.index_fill(0, torch.tensor([2]), torch.inf), y) is None


# -- the count -------------------------------------------------------------------------------------------------------


def by_hand(data, *, seed, epochs):
    """Rosenblatt's rule in plain numbers: the mistakes of each epoch."""
    w, b, counts = torch.zeros(data.in_features), torch.zeros(()), []
    for epoch in range(epochs):
        wrong = 0
        for x, y, _ in make_loader(data.train, batch_size=1, shuffle=True, seed=seed).epoch(epoch):
            sign = 2 * int(y) - 1
            if sign * (x[0] @ w + b) <= 0:
                w, b, wrong = w + sign * x[0], b + sign, wrong + 1
        counts.append(wrong)
    return counts


def test_each_step_counts_the_same():
    """One answer at a time; a tie, as with weights of zero at first, is a mistake."""
    data = xor(60, **ALL)
    expected = by_hand(data, seed=3, epochs=3)
    for kind in ("plain", "direct"):
        assert mistakes(data, seed=3, epochs=3, step=kind)[0] == expected


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "bf16"}])
def test_in_batches_of_several_classes_each_answer_counts(options):
    """Setosa, versicolor and virginica, each against the rest; weights of rows change nothing about what is wrong."""
    data = iris()
    found = []
    for kind in ("plain", "direct"):
        model = models.Perceptron(4, 3)
        trainer = Trainer(model, losses.Perceptron(), torch.optim.SGD(model.parameters(), lr=0.1), step=kind, **options)
        loader = make_loader(data.train, batch_size=16, shuffle=True, seed=0)
        found.append([record.metrics["train/mistakes"] for record in trainer.fit(loader, steps=4, report_every=1)])
    assert found[0] == found[1]
    assert found[0][0] == 16 * options.get("accumulate", 1) * 3  # all answers are ties
    assert 0 < found[0][-1] < found[0][0]


def test_weighted_rows_are_counted_once_each():
    x, y, index = torch.eye(4), torch.tensor([0, 1, 0, 1]), torch.arange(4)
    for kind in ("plain", "direct"):
        model = models.Perceptron(4, 1)
        trainer = Trainer(model, losses.Perceptron(), torch.optim.SGD(model.parameters(), lr=1.0), step=kind)
        trainer.step([(x, y, index, torch.tensor([0.5, 2.0, 1.0, 3.0]))])
        assert trainer.mistakes.count() == 4


def test_other_losses_and_lbfgs_have_no_count():
    data = xor(20, **ALL)
    for loss, optimizer in ((losses.Hinge(), torch.optim.SGD), (losses.Perceptron(), torch.optim.LBFGS)):
        model = models.Perceptron(2, 1)
        trainer = Trainer(model, loss, optimizer(model.parameters(), lr=0.1))
        (record,) = trainer.fit(make_loader(data.train, batch_size=20), epochs=1)
        assert "train/mistakes" not in record.metrics


def test_the_count_goes_on_in_the_middle_of_an_epoch():
    data = xor(40, **ALL)

    def trainer():
        model = models.Perceptron(2, 1)
        return Trainer(model, losses.Perceptron(), torch.optim.SGD(model.parameters(), lr=1.0))

    def loader():
        return make_loader(data.train, batch_size=1, shuffle=True, seed=0)

    (whole,) = trainer().fit(loader(), epochs=1)
    first, second = trainer(), trainer()
    done = iter(range(17))
    assert list(first.fit(loader(), epochs=1, stop=lambda: next(done, None) is None)) == []
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    (rest,) = second.fit(loader(), epochs=1)
    assert rest.metrics["train/mistakes"] == whole.metrics["train/mistakes"]
