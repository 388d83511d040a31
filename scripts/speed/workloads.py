"""The work that every contender does: the same rows, the same first weights, the same optimizer, the same epochs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

INITIAL_SEED = 0  # dltrain's default: its own first weights are then those of all contenders


@dataclass(frozen=True)
class Workload:
    """A net, its data and how long it trains in one round. Adam everywhere, no schedule.

    `tolerance`: a contender's mean loss on the training rows, after the last step, may differ from the median of all
    by this share of it. Contenders shuffle by themselves, so the losses agree as those of different seeds do.
    Times are given as shares of the contender `reference`.
    """

    name: str
    title: str
    widths: tuple[int, ...]  # features, hidden units, outputs
    rows: int
    val_rows: int
    batch: int
    epochs: int
    threads: int
    lr: float
    tolerance: float
    reference: str = "tutorial loop"  # what times are divided by
    judged: bool = False  # nothing is trained: the first weights are evaluated on the training rows

    @property
    def steps(self) -> int:
        """Optimizer steps of one round."""
        return self.epochs * -(-self.rows // self.batch)

    @property
    def loss(self) -> str:
        """One output is a binary decision on its sign; more are classes."""
        return "bce" if self.widths[-1] == 1 else "cross_entropy"


_W1 = (784, 512, 256, 10)
WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", "MLP 784-512-256-10, batch 128", _W1, 60_000, 10_000, 128, 4, 2, 1e-3, 0.5),
        Workload("W2", "MLP 64-64-10, batch 32", (64, 64, 10), 1_437, 360, 32, 50, 1, 1e-3, 0.15),
        Workload("W3", "perceptron 2-1, batch 1", (2, 1), 1_000, 200, 1, 2, 1, 1e-2, 0.05),
        Workload(
            "L1",
            "W1 for ten epochs: whole run against bare loop",
            _W1,
            60_000,
            10_000,
            128,
            10,
            2,
            1e-3,
            0.5,
            "dltrain",
        ),
    )
}
WORKLOADS |= {
    w.name: w
    for w in (
        replace(WORKLOADS["W1"], name="W1024", title="MLP 784-512-256-10, batch 1024", batch=1024),
        replace(WORKLOADS["W1"], name="W8192", title="MLP 784-512-256-10, batch 8192", batch=8192),
        replace(
            WORKLOADS["W1"],
            name="E60000",
            title="MLP 784-512-256-10, evaluation of 60,000 rows",
            batch=60_000,
            epochs=1,
            reference="dltrain",
            judged=True,
        ),
    )
}
ON_GPU = {
    "G128": replace(WORKLOADS["W1"], name="G128", epochs=4),
    "G8192": replace(WORKLOADS["W1"], name="G8192", title="MLP 784-512-256-10, batch 8192", batch=8192, epochs=20),
}


def quick(workload: Workload) -> Workload:
    """The same shapes for a few seconds: for trying things out, its losses are looser and its times noisier."""
    rows = min(workload.rows, 10_000)
    epochs = {"W1": 1, "W2": 10, "W3": 1, "L1": 3}.get(workload.name, workload.epochs)
    return replace(workload, rows=rows, val_rows=min(workload.val_rows, 2_000), epochs=epochs, tolerance=0.3)


@dataclass(frozen=True)
class Task:
    """A workload with its arrays, as a contender's process reads it.

    x float32 [rows, features], y int64 [rows], the same for validation; `weights` is [W1, b1, W2, b2, ...] with W
    as torch has it, [out, in]. `folder` is the contender's own, for whatever it leaves behind.
    """

    workload: Workload
    x: np.ndarray
    y: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    weights: list[np.ndarray]
    folder: Path
    device: str = "cpu"


def prepare(workload: Workload, folder: Path, mnist: Path | None = None) -> None:
    """Writes what `read` reads."""
    if workload.widths[0] == 784 and mnist:
        arrays = _mnist(workload, mnist)
    elif workload.name == "W2":
        arrays = _digits(workload)
    else:
        arrays = _clusters(workload)
    for name, array in zip(("x", "y", "x_val", "y_val"), arrays, strict=True):
        np.save(folder / f"{name}.npy", array)
    for i, array in enumerate(_initial(workload)):
        np.save(folder / f"weight{i}.npy", array)
    (folder / "workload.json").write_text(json.dumps(asdict(workload)))


def read(folder: Path, own: Path, device: str = "cpu") -> Task:
    """What `prepare` wrote; the rows are mapped, so that thirty processes hold them once."""
    values = json.loads((folder / "workload.json").read_text())
    workload = Workload(**values | {"widths": tuple(values["widths"])})
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("x", "y", "x_val", "y_val")}
    weights = [np.load(folder / f"weight{i}.npy") for i in range(2 * len(workload.widths) - 2)]
    return Task(workload, **arrays, weights=weights, folder=own, device=device)


def _mnist(workload: Workload, root: Path) -> tuple[np.ndarray, ...]:
    """Pixels from 0 to 1; validation is the official test part, so that all 60,000 rows train."""
    from dltrain import data

    source = data.mnist(str(root), val=0)
    parts = []
    for split, rows in ((source.train, workload.rows), (source.test, workload.val_rows)):
        parts += [split.x[:rows].reshape(-1, 784).numpy().astype(np.float32) / 255, split.y[:rows].numpy()]
    return tuple(parts)


def _digits(workload: Workload) -> tuple[np.ndarray, ...]:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    n, end = workload.rows, workload.rows + workload.val_rows
    return x[:n], y[:n], x[n:end], y[n:end]


def _clusters(workload: Workload) -> tuple[np.ndarray, ...]:
    """One cloud a class, wide enough to overlap with the others."""
    features, classes = workload.widths[0], max(2, workload.widths[-1])
    random = np.random.default_rng(0)
    centers = random.normal(size=(classes, features)).astype(np.float32) * (1.0 if features < 10 else 0.035)
    y = random.integers(0, classes, workload.rows + workload.val_rows)
    x = random.normal(size=(len(y), features)).astype(np.float32) * 0.5 + centers[y]
    return x[: workload.rows], y[: workload.rows], x[workload.rows :], y[workload.rows :]


def _initial(workload: Workload) -> list[np.ndarray]:
    """What dltrain draws: torch's own initial weights for an MLP, zeros for a perceptron."""
    import torch

    torch.manual_seed(INITIAL_SEED)
    layers = [torch.nn.Linear(i, o) for i, o in zip(workload.widths, workload.widths[1:], strict=False)]
    scale = 1 if len(layers) > 1 else 0
    return [scale * p.detach().numpy() for layer in layers for p in layer.parameters()]


def loss(task: Task, weights: list[np.ndarray]) -> float:
    """The mean loss of a ReLU net with these weights over the training rows, in double precision."""
    total = 0.0
    for low in range(0, len(task.x), 8192):
        h, y = task.x[low : low + 8192].astype(np.float64), task.y[low : low + 8192]
        for i in range(0, len(weights), 2):
            h = h @ weights[i].T.astype(np.float64) + weights[i + 1]
            h = np.maximum(h, 0) if i < len(weights) - 2 else h
        if task.workload.loss == "bce":
            total += (np.logaddexp(0, h[:, 0]) - h[:, 0] * y).sum()
        else:
            peak = h.max(1, keepdims=True)
            total += (np.log(np.exp(h - peak).sum(1)) + peak[:, 0] - h[np.arange(len(y)), y]).sum()
    return float(total / len(task.x))
