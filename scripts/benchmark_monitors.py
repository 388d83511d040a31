"""What it costs to choose the best epoch by one metric or another where a class is rare. Run it with
`python scripts/benchmark_monitors.py [FOLDER]`: FOLDER may hold phoneme.csv.gz, mammography.csv.gz and german.csv.gz,
tables without a header whose last column is the class; without them there are scikit-learn's own sets.

Each set is thinned to shares of positive rows, a net is trained for 30 epochs on five splits, and each metric chooses
its epoch of the same training. Prints a Markdown table: the average precision on the test part that is lost to the
best choice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from dltrain import MLP, Trainer, data, evaluate
from dltrain.parts.losses import BCE

MONITORS = ("accuracy", "average_precision", "roc_auc", "f1", "balanced_accuracy", "mcc", "loss")
SHARES = (0.4, 0.2, 0.1, 0.05, 0.025)
EPOCHS, SEEDS = 30, 5


def sets(folder: Path | None) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, inputs [N, D] and classes 0 and 1 [N]."""
    for path in sorted(folder.glob("*.csv.gz")) if folder else ():
        if path.name.split(".")[0] in ("phoneme", "mammography", "german"):
            frame = pl.read_csv(path, has_header=False)
            y = LabelEncoder().fit_transform(frame.to_series(frame.width - 1).to_numpy())
            yield path.name, frame[:, :-1].to_dummies(pl.selectors.string()).to_numpy().astype(float), y
    cancer, digits = datasets.load_breast_cancer(), datasets.load_digits()
    yield "breast_cancer", cancer.data, 1 - cancer.target
    yield "digits, 8", digits.data, (digits.target == 8).astype(int)
    made = {"n_informative": 8, "flip_y": 0.03, "class_sep": 0.7, "random_state": 0}
    yield "make_classification", *datasets.make_classification(6000, 20, **made)


def thinned(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows of which this share is positive."""
    draw = np.random.default_rng(seed)
    positive, negative = (draw.permutation(np.flatnonzero(y == k)) for k in (1, 0))
    many = int(share / (1 - share) * len(negative))
    if many > len(positive):
        return np.r_[positive, negative[: int((1 - share) / share * len(positive))]]
    return np.r_[positive[:many], negative]


def chosen(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[int, dict[str, float]]:
    """How many positive rows are validated, and the test's average precision at the epoch that each metric chooses."""
    rest, test = train_test_split(np.arange(len(y)), test_size=0.3, random_state=seed, stratify=y)
    train, val = train_test_split(rest, test_size=0.15, random_state=seed + 100, stratify=y[rest])
    x = StandardScaler().fit(x[train]).transform(x).astype(np.float32)
    parts = [data.Tensors(x[rows], y[rows]) for rows in (train, val, test)]
    torch.manual_seed(seed)
    net, loss = MLP(x.shape[1], 1, widths=(128,)), BCE()
    optimizer = AdamW(net.parameters(), lr=3e-3)
    steps = EPOCHS * -(-len(train) // 64)
    trainer = Trainer(net, loss, optimizer, schedule=OneCycleLR(optimizer, 3e-3, total_steps=steps))
    seen = [
        [evaluate(net, part, loss, task="binary", metrics="all") for part in parts[1:]]
        for _ in trainer.fit(parts[0], epochs=EPOCHS, batch_size=64, seed=seed)
    ]
    found = {}
    for name in MONITORS:
        sign = 1 if name == "loss" else -1
        found[name] = min(seen, key=lambda s, n=name, k=sign: (k * s[0][n], s[0]["loss"]))[1]["average_precision"]
    return int(y[val].sum()), found


def main() -> None:
    torch.set_num_threads(1)
    print(f"| | share | rows that validate it | {' | '.join(MONITORS)} |\n| --- |{' ---: |' * (2 + len(MONITORS))}")
    for name, x, y in sets(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        for share in SHARES:
            some = [thinned(y, share, seed) for seed in range(SEEDS)]
            if y[some[0]].sum() < 20:
                continue
            runs = [chosen(x[rows], y[rows], seed) for seed, rows in enumerate(some)]
            means = {monitor: float(np.mean([found[monitor] for _, found in runs])) for monitor in MONITORS}
            lost = " | ".join(f"{mean - max(means.values()):.3f}" for mean in means.values())
            print(f"| {name} | {share:.1%} | {runs[0][0]} | {lost} |", flush=True)


if __name__ == "__main__":
    main()
