"""Mistakes of the perceptron, counted online, against the bound (R / gamma)^2 (Novikoff 1962). Run it with
`python scripts/perceptron_bound.py [--seeds 5] [--epochs 20]`; it takes five seconds and prints a table.

A mistake is a step with y f(x) <= 0, which is a step that changes the weights. R is the largest norm of an input with
its constant 1 for the bias; gamma is the margin of the best separating hyperplane through the origin of that space.
"""

import argparse
import warnings

import numpy as np
import torch
from sklearn.svm import SVC

from dltrain.data import Data
from dltrain.data.loaders import make_loader
from dltrain.data.sources.sklearn_sets import digits, iris
from dltrain.data.sources.toy import xor
from dltrain.engine.trainer import Trainer
from dltrain.parts.losses import Perceptron as PerceptronLoss
from dltrain.parts.models import Perceptron

ALL = {"val": 0, "test": 0}  # every row is trained on
SETS = {
    "iris: setosa against the rest, cm": lambda: iris(positive="setosa", scaling="none", **ALL),
    "digits: 0 against 1, pixels / 16": lambda: digits(classes=[0, 1], scaling="unit", **ALL),
    "xor: the four corners": lambda: xor(4, noise=0.0, **ALL),
    "xor: 200 noisy corners": lambda: xor(200, noise=0.1, **ALL),
}


def radius_and_margin(data: Data) -> tuple[float, float | None]:
    """R and gamma; gamma is None where no hyperplane separates the classes. Any separating one bounds the mistakes."""
    x = data.train.x.flatten(1).double().numpy()
    x = np.hstack([x, np.ones((len(x), 1))])
    signed = x * (2 * data.train.y.numpy() - 1)[:, None]
    # Each point and its mirror image: the widest margin of this set passes through the origin.
    svm = SVC(kernel="linear", C=1e6, max_iter=100_000)
    with warnings.catch_warnings(action="ignore"):  # it does not converge where nothing separates
        svm.fit(np.vstack([signed, -signed]), np.repeat([1, -1], len(signed)))
    margin = (signed @ svm.coef_[0]).min() / np.linalg.norm(svm.coef_)
    return np.linalg.norm(x, axis=1).max(), margin if margin > 1e-6 else None


def mistakes_per_epoch(data: Data, *, seed: int, epochs: int) -> list[int]:
    """Mistakes in each epoch, until one has none: from then on nothing changes."""
    model = Perceptron(data.in_features, 1)
    trainer = Trainer(model, PerceptronLoss(), torch.optim.SGD(model.parameters(), lr=1.0))
    loader = make_loader(data.train, batch_size=1, shuffle=True, seed=seed)
    counts = []
    while len(counts) < epochs and 0 not in counts:
        wrong = 0
        for batch in loader.epoch(len(counts)):
            trainer.step([batch])
            wrong += int(model.layers.linear.bias.grad.item() != 0)  # the gradient is -y at a mistake, else 0
        counts.append(wrong)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(".")[0])
    parser.add_argument("--seeds", type=int, default=5, help="orders in which the samples come")
    parser.add_argument("--epochs", type=int, default=20, help="give up after this many")
    args = parser.parse_args()
    torch.set_num_threads(1)

    print("| set | R | gamma | bound | mistakes, one number a seed | epochs | mistakes in the last one |")
    print("| --- | ---: | ---: | ---: | --- | ---: | ---: |")
    for name, make in SETS.items():
        data = make()
        radius, margin = radius_and_margin(data)
        runs = [mistakes_per_epoch(data, seed=seed, epochs=args.epochs) for seed in range(args.seeds)]
        gamma, bound = (f"{margin:.4f}", f"{(radius / margin) ** 2:.1f}") if margin else ("none", "none")
        total, last = (" ".join(str(f(run)) for run in runs) for f in (sum, lambda run: run[-1]))
        print(f"| {name} | {radius:.4f} | {gamma} | {bound} | {total} | {max(map(len, runs))} | {last} |")


if __name__ == "__main__":
    main()
