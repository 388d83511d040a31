"""Seconds of a fit: `dltrain.sklearn.MLPClassifier` against scikit-learn's own on the work W2 of scripts/speed (digits,
64-64-10, batch 32, 50 epochs, Adam at a constant rate, one thread). Run it with
`python scripts/benchmark_estimator.py [--rounds 7]`.

The two take turns, and seconds are the processor's, of one thread; what counts is the ratio of their medians.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from speed.workloads import WORKLOADS

from dltrain import sklearn as estimators

W2 = WORKLOADS["W2"]


def contenders() -> dict[str, object]:
    """The same net, steps and rate; scikit-learn's own is told not to stop before the last epoch."""
    hidden, common = W2.widths[1:-1], {"batch_size": W2.batch, "random_state": 0}
    ours = estimators.MLPClassifier(
        hidden, optimizer="adam", lr=W2.lr, scheduler="constant", epochs=W2.epochs, **common
    )
    theirs = MLPClassifier(
        hidden, alpha=0.0, learning_rate_init=W2.lr, max_iter=W2.epochs, tol=0.0, n_iter_no_change=10**6, **common
    )
    return {"dltrain": ours, "scikit-learn": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's warns that it stops where it is told to
    torch.set_num_threads(W2.threads)
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order]
    train, val = slice(W2.rows), slice(W2.rows, None)

    seconds = {name: [] for name in contenders()}
    for _ in range(args.rounds + 1):  # the first round warms up
        for name, estimator in contenders().items():
            start = time.process_time()
            estimator.fit(x[train], y[train])
            seconds[name].append(time.process_time() - start)
            assert estimator.n_iter_ == W2.epochs
            print(
                f"{name:>12}: {seconds[name][-1]:.3f} s, right in {estimator.score(x[val], y[val]):.2%} of other rows"
            )
    ours, theirs = (statistics.median(values[1:]) for values in seconds.values())
    print(f"\nmedians of {args.rounds}: {ours:.3f} s and {theirs:.3f} s, a ratio of {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
