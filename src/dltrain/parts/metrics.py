"""Metrics by their names: which a task has, which way is better, and how a value is told. Torch is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dltrain.data import Task

METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("loss", "accuracy", "f1"),
    "multiclass": ("loss", "accuracy", "f1"),
    "multilabel": ("loss", "accuracy", "exact_match", "f1"),
    "regression": ("loss", "rmse", "mae", "r2"),
}
DIRECTION: dict[str, Literal["min", "max"]] = {  # in the order in which they are shown
    "loss": "min",
    "accuracy": "max",
    "exact_match": "max",
    "f1": "max",
    "rmse": "min",
    "mae": "min",
    "r2": "max",
}
MAIN = ("accuracy", "rmse")  # one for each task: what a row of a table has room for
SHARES = ("accuracy", "f1", "exact_match")  # from 0 to 1, and in per cent along an axis


def mode(metric: str) -> Literal["min", "max"]:
    """Whether a smaller or a larger value of the metric is better."""
    if metric not in DIRECTION:
        raise ValueError(f"there is no metric {metric}; the metrics are {', '.join(DIRECTION)}")
    return DIRECTION[metric]


def default_monitor(task: Task) -> str:
    """The metric by which the best epoch is chosen unless the user says otherwise."""
    return next(name for name in MAIN if name in METRICS[task])


def larger_is_better(metric: str) -> bool:
    """Whether larger values are; of any name that is no metric they are not."""
    return DIRECTION.get(metric.rsplit("/", 1)[-1]) == "max"


def in_percent(metric: str) -> bool:
    """Whether a text says it in per cent, and a difference in percentage points; of test/accuracy as of accuracy."""
    return metric.rsplit("/", 1)[-1] in ("accuracy", "exact_match")  # shares of rows


def text(metric: str, value: float | None) -> str:
    """A value as a person reads it."""
    if value is None or value != value:
        return "-"
    if in_percent(metric):
        return f"{value:.2%}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def difference(metric: str, value: float) -> str:
    """The difference of two values, without a unit."""
    return f"{100 * value:.2f}" if in_percent(metric) else f"{value:.4g}"
