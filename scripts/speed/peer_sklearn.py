"""scikit-learn's own networks."""

from __future__ import annotations

import warnings

from sklearn.linear_model import Perceptron
from sklearn.neural_network import MLPClassifier

from speed.contender import Contender
from speed.workloads import Task


def mlp(task: Task, *, quiet: bool) -> Contender:
    """`MLPClassifier.fit`; not quiet: it prints its loss after each epoch."""
    warnings.simplefilter("ignore")  # it warns that it stops where it is told to stop
    w = task.workload
    net = MLPClassifier(
        w.widths[1:-1], solver="adam", alpha=0.0, batch_size=w.batch, learning_rate_init=w.lr, max_iter=1, tol=0.0,
        n_iter_no_change=10**6, shuffle=True, warm_start=True, verbose=not quiet,
    )  # fmt: skip
    net.fit(task.x[: w.batch * 20], task.y[: w.batch * 20])  # makes coefs_, which a warm start goes on from
    net.max_iter = w.epochs

    def reset() -> None:
        net.coefs_ = [a.T.copy() for a in task.weights[::2]]
        net.intercepts_ = [a.copy() for a in task.weights[1::2]]
        net.loss_curve_, net.best_loss_, net.n_iter_, net.t_ = [], float("inf"), 0, 0

    def weights() -> list:
        pairs = zip(net.coefs_, net.intercepts_, strict=True)
        return [a for w, b in pairs for a in (w.T, b)]

    return Contender(reset, lambda: net.fit(task.x, task.y), weights)


def perceptron(task: Task) -> Contender:
    """Rosenblatt's rule in Cython: another loss and no Adam, so only its time says something."""
    net = Perceptron(max_iter=task.workload.epochs, tol=None)
    return Contender(lambda: None, lambda: net.fit(task.x, task.y), lambda: None)
