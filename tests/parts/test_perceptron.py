"""Novikoff's theorem on real data: the perceptron makes at most (R / gamma)^2 mistakes, and then none."""

import pytest
import torch

from dltrain.data.loaders import make_loader
from dltrain.data.sources.sklearn_sets import digits, iris
from dltrain.data.sources.toy import xor
from dltrain.engine.trainer import Trainer
from dltrain.parts import losses, models

ALL = {"val": 0, "test": 0}


def mistakes(data, *, seed, epochs, lr=1.0):
    """Mistakes in each epoch, and the trained model; a mistake is y f(x) <= 0 before the step."""
    model = models.Perceptron(data.in_features, 1)
    trainer = Trainer(model, losses.Perceptron(), torch.optim.SGD(model.parameters(), lr=lr))
    loader = make_loader(data.train, batch_size=1, shuffle=True, seed=seed)
    counts = []
    for epoch in range(epochs):
        wrong = 0
        for x, y, index in loader.epoch(epoch):
            with torch.no_grad():
                wrong += int((2 * y - 1) * model(x)[0] <= 0)
            trainer.step([(x, y, index)], epoch)
        counts.append(wrong)
    return counts, model


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
