"""Sick runs and healthy ones: what the doctor is tried on. Each takes a second or so."""

import csv

import numpy as np
from sklearn import datasets

NETS = ("model=module", "+model.width=64")


def write(path, x, y, rng=None):
    """A table with one column for each feature and the target y, its rows in random order if `rng` is given."""
    rows = [[*map(float, row), label] for row, label in zip(x, y, strict=True)]
    if rng is not None:
        rng.shuffle(rows)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(x.shape[1])), "y"])
        writer.writerows(rows)
    return ["data=table", f"data.path={path}", "data.target=y", "data.batch_size=32"]


def shuffled_labels(folder, seed):
    rng = np.random.default_rng(seed)
    x, y = datasets.load_breast_cancer(return_X_y=True)
    return write(folder / "shuffled.csv", x, [f"class {v}" for v in rng.permutation(y)])


def some_wrong_labels(folder, seed):
    rng = np.random.default_rng(seed)
    x, y = datasets.load_digits(return_X_y=True)
    wrong = rng.random(len(y)) < 0.1
    y = np.where(wrong, (y + rng.integers(1, 10, len(y))) % 10, y)
    return write(folder / "wrong.csv", x, [f"digit {v}" for v in y])


def repeated_rows(folder, seed):
    rng = np.random.default_rng(seed)
    x, y = datasets.load_wine(return_X_y=True)
    again = rng.choice(len(x), len(x) // 3)
    return write(
        folder / "leak.csv", np.concatenate([x, x[again]]), [f"class {v}" for v in np.concatenate([y, y[again]])]
    )


def rare_class(folder, seed):
    rng = np.random.default_rng(seed)
    y = (rng.random(1500) < 0.04).astype(int)
    x = rng.standard_normal((1500, 5)) + 0.9 * y[:, None] * np.array([1, 1, 0, 0, 0])
    return write(folder / "rare.csv", x, ["fraud" if v else "fine" for v in y])


def numbered_classes(folder, seed):
    x, y = datasets.load_iris(return_X_y=True)
    return [*write(folder / "numbers.csv", x, y, np.random.default_rng(seed)), "data.task=regression"]


def module(name, *more):
    return ["model=module", f"model._target_=sick_nets.{name}", *more]


SICK = [  # (the name of the verdict, the run, a function of (folder, seed) that makes its data)
    ("lr_too_high", ["data=digits", "optimizer.lr=1", "trainer.epochs=10"], None),
    (
        "lr_too_high",
        ["data=digits", "optimizer=sgd", "optimizer.lr=20", "scheduler=constant", "trainer.epochs=10"],
        None,
    ),
    ("lr_too_high", ["data=diabetes", "optimizer=momentum", "optimizer.lr=3"], None),
    ("lr_too_high", ["data=multilabel", "optimizer=sgd", "optimizer.lr=1e5", "trainer.epochs=3"], None),  # diverges
    ("lr_too_high", ["data=multilabel", "optimizer=sgd", "optimizer.lr=100", "trainer.epochs=3"], None),
    ("lr_too_high", ["data=iris", "loss=hinge", "optimizer=sgd", "optimizer.lr=1e30", "trainer.epochs=3"], None),
    ("lr_too_high", ["data=linear", "model=linear", "optimizer=adam", "optimizer.lr=100", "trainer.epochs=5"], None),
    ("broke_down", ["experiment=perceptron_xor", "optimizer.lr=1e38"], None),
    ("lr_too_low", ["data=digits", "optimizer.lr=1e-6", "trainer.epochs=10"], None),
    ("lr_too_low", ["data=moons", "optimizer=sgd", "optimizer.lr=1e-5"], None),
    ("dead_relu", ["data=digits", *module("NegativeBias"), "trainer.epochs=10"], None),
    ("unscaled_inputs", ["data=wine", "data.scaling=none"], None),
    ("unscaled_inputs", ["data=breast_cancer", "data.scaling=none", "optimizer=sgd", "optimizer.lr=0.01"], None),
    ("shuffled_labels", [], shuffled_labels),
    ("leak", [], repeated_rows),
    ("wrong_loss", ["data=digits", *module("EndsInSoftmax"), "trainer.epochs=10"], None),
    ("wrong_loss", ["data=moons", "model.output=sigmoid"], None),
    ("wrong_loss", ["data=iris", "loss=module", "loss._target_=torch.nn.NLLLoss"], None),
    ("wrong_loss", ["data=sine", "model.output=sigmoid"], None),
    ("wrong_loss", [], numbered_classes),
    (
        "too_small",
        ["data=spirals", "model.widths=[2]", "model.activation=tanh", "optimizer.lr=0.03"],
        None,
    ),
    ("too_small", ["data=circles", "model=linear", "optimizer.lr=0.03"], None),
    ("too_small", ["data=spirals", "model=linear"], None),
    ("too_small", ["data=multilabel", "model=linear", "optimizer.lr=0.03"], None),
    ("alike", ["data=iris", "model.init=zeros", "trainer.epochs=10"], None),
    ("alike", ["data=iris", "model.init=zeros", "model.activation=tanh", "model.norm=batch", "trainer.epochs=5"], None),
    ("alike", ["data=moons", "model.init=zeros", "model.activation=sigmoid", "model.widths=[8,8]"], None),
    ("too_much_regularisation", ["data=digits", "regularisation.max_norm=0.001", "trainer.epochs=5"], None),
    ("too_much_regularisation", ["data=digits", "model.input_dropout=0.95", "trainer.epochs=5"], None),
    ("too_much_regularisation", ["data=digits", "optimizer=sgd", "regularisation.clip_norm=1e-8"], None),
    ("too_much_regularisation", ["data=multilabel", "model.dropout=0.97", "trainer.epochs=5"], None),
    ("too_much_regularisation", ["data=iris", "regularisation.l1=10", "trainer.epochs=10"], None),
    ("weighted", ["data=iris", "data.positive=setosa", "loss=bce", "loss.pos_weight=1000", "trainer.epochs=5"], None),
    (
        "weighted",
        ["data=iris", "loss=cross_entropy", "loss.class_weights=[1e4,1,1]", "trainer.epochs=5"],
        None,
    ),
    ("too_short", ["data=iris", "regularisation=l2", "trainer.max_steps=5"], None),
    ("overfitting", ["experiment=overfitting", "trainer.epochs=150"], None),
    ("overfitting", ["data=diabetes", "model.widths=[256,256]", "optimizer.lr=0.01", "trainer.epochs=60"], None),
    ("saturated", ["data=digits", *module("LargeWeights", "+model.std=3"), "trainer.epochs=3"], None),
    (
        "saturated",
        ["data=wine", *module("LargeWeights", "+model.activation=sigmoid", "+model.std=8"), "trainer.epochs=10"],
        None,
    ),
    (
        "exploding",
        [
            "data=digits",
            *module("LargeWeights", "+model.activation=relu", "+model.std=1", "+model.depth=12"),
            "trainer.epochs=10",
        ],
        None,
    ),
    ("imbalance", [], rare_class),
    ("vanishing", ["experiment=vanishing_gradient"], None),
    ("vanishing", ["data=moons", "model.widths=[32,32,32,32,32,32]", "model.init=normal", "optimizer=sgd"], None),
    (
        "vanishing",
        ["data=moons", "model.widths=[32,32,32,32]", "model.init=normal", "model.activation=tanh", "optimizer=sgd"],
        None,
    ),
    ("label_errors", [], some_wrong_labels),
]
HEALTHY = [
    ["data=digits"],
    ["data=iris"],
    ["data=wine"],
    ["data=breast_cancer"],
    ["data=moons"],
    ["data=rows", "data.x=[[0],[1],[2],[3]]", "data.y=[0,0,0,0]", "trainer.epochs=5"],
    ["data=diabetes", "data.target_transform=quantile"],
    ["data=sine", "optimizer.lr=0.01", "trainer.epochs=60"],
    ["data=circles"],
    ["data=linear", "model=linear", "optimizer.lr=0.1"],
    ["data=spirals", "model.widths=[64,64]", "optimizer.lr=0.02", "trainer.epochs=60"],
    ["experiment=digits_mlp", "trainer.epochs=12"],
    ["experiment=mlp_xor"],
    ["experiment=multilabel_bce"],
    ["experiment=perceptron_iris", "data.features=null"],  # of two rounded lengths many flowers are alike
    ["data=digits", "model.activation=tanh", "model.widths=[64,64]", "optimizer=nesterov"],
]
