"""What is known of a run at its end."""

from __future__ import annotations

from typing import TypedDict


class Summary(TypedDict, total=False):
    """What summary.json holds. status: running, done, early_stopped, stopped, diverged or failed."""

    status: str
    reason: str | None  # of one that was stopped: a signal's name, max_time, or reading.PAUSED
    error: str  # of one that diverged or failed
    train: dict[str, float]  # metrics of the best weights, as val and test
    val: dict[str, float]
    test: dict[str, float]
    rows_judged: dict[str, int]  # of each of these parts
    no_better: bool  # on val and test than one answer for every row
    best: dict[str, float]  # the best validation and the last one: metrics, epoch and step
    last: dict[str, float]
    steps: int
    seconds: float
