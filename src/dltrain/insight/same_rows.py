"""Single runs held against each other on the rows that both were tested on: one seed each, but many rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dltrain.engine import evaluation
from dltrain.errors import DataError
from dltrain.insight.differences import LEVEL, Difference
from dltrain.runs import reading
from dltrain.runs.reading import Run
from dltrain.trained import inference, judge

_RESAMPLES = 2_000  # of the rows, whose 95 % give an interval


def against(base: Run, others: Sequence[Run], metric: str, *, allow: Sequence[str]) -> list[Difference | None]:
    """How the answers of each differ from those of `base` on the same test rows; None where these are others, or where
    the metric is none of single rows.

    Of classes and labels the share that is right, of a regression the RMSE. Two classifiers by McNemar's exact test
    (1947) of the rows that one of them alone has right; the intervals, and all else, by the paired bootstrap. Raises
    DltrainError where a net or its data can't be had again.
    """
    if metric not in ("test/accuracy", "test/rmse"):
        return [None for _ in others]
    rows = _test_rows(base)
    same = [bool(rows) and _test_rows(run) == rows for run in others]
    if not any(same):
        return [None for _ in others]
    own = _by_row(base, allow)
    return [_difference(_by_row(run, allow), own, metric) if s else None for run, s in zip(others, same, strict=True)]


def _test_rows(run: Run) -> object:
    """What tells the test rows of a run from others."""
    data = reading.node(reading.read_json(run.folder / "data.json")[0])
    return reading.node(data.get("sha256")).get("test")


def _by_row(run: Run, allow: Sequence[str]) -> np.ndarray:
    """Of each test row whether it is right (of labels: the share of them), or its squared error [N]."""
    trained = inference.open_run(run.folder, allow=allow, data=True)
    found = judge.judge(trained, judge.choose_rows(trained, split="test"))
    if found.weight is not None:
        raise DataError(f"{run.folder}: its rows count by their weights, and a test of rows knows none")
    guess, y, task = found.answers.guess, found.y, trained.facts.task
    if task == "regression":
        error = evaluation.answers(guess, trained.facts.units) - evaluation.original(y, trained.facts.units)
        return error.square().numpy()
    right = guess == (y > 0.5 if task == "multilabel" else y)
    return right.double().reshape(len(y), -1).mean(1).numpy()


def _difference(one: np.ndarray, base: np.ndarray, metric: str) -> Difference:
    draw, squared = np.random.default_rng(0), metric == "test/rmse"
    resampled = (draw.integers(0, len(base), (1, len(base))) for _ in range(_RESAMPLES))
    each = [_size(one[rows], squared=squared) - _size(base[rows], squared=squared) for rows in resampled]
    changes = np.concatenate(each)
    low, high = np.quantile(changes, [LEVEL / 2, 1 - LEVEL / 2])
    mean = float(_size(one[None], squared=squared)[0] - _size(base[None], squared=squared)[0])
    p = _mcnemar(one, base) if _is_binary(one, base) and not squared else _by_bootstrap(changes)
    return Difference(mean, float(low), float(high), p, paired=True, rows=len(base))


def _size(values: np.ndarray, *, squared: bool) -> np.ndarray:
    """values [R, N] or [R, N, K] -> [R]: the mean, of squared errors its root, as a mean over the targets."""
    mean = values.mean(1)
    return np.sqrt(mean).reshape(len(values), -1).mean(1) if squared else mean


def _is_binary(*rows: np.ndarray) -> bool:
    return all(bool(((row == 0) | (row == 1)).all()) for row in rows)


def _mcnemar(one: np.ndarray, base: np.ndarray) -> float:
    """Whether the rows that one alone has right may be halved between the two by chance."""
    from scipy.stats import binomtest

    gained, lost = int((one > base).sum()), int((one < base).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _by_bootstrap(changes: np.ndarray) -> float:
    """Two-sided: how rarely the difference has the other sign."""
    if not changes.any():
        return 1.0
    least = min(int((changes <= 0).sum()), int((changes >= 0).sum()))
    return min(1.0, 2 * max(least, 1) / len(changes))
