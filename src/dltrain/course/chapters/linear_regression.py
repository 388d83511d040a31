"""One linear layer from several starts: their curves, the loss that no plane can undercut, and the weights by name."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import regression
from dltrain.insight import captions

if TYPE_CHECKING:
    from dltrain.course.chapter import Done

_ALIKE = 0.1  # how far weights may lie apart that are called the same
_SERUM = {"s1", "s2", "s3", "s4"}
_BLOOD = " Of the blood values s1 to s6 the first four are all of cholesterol: total, LDL, HDL, and total by HDL."


def study(done: Sequence[Done]) -> Seen:
    runs = looks.runs(done[0])
    data = looks.plan(runs[0]).data
    names = captions.inputs(data.preprocessing, data.in_features)
    x, y = (part.double().numpy() for part in looks.rows(runs[0]))
    lowest, best = least_squares(x, y[:, 0])
    ends = [{name.rpartition(".")[2]: w.double().numpy() for name, w in looks.last_weights(r).items()} for r in runs]
    weights = np.stack([end["weight"][0] for end in ends])
    worst = max(float(((x @ end["weight"].T + end["bias"] - y) ** 2).mean()) for end in ends)
    spread = np.ptp(weights, axis=0)
    near, far = int(spread.argmin()), int(spread.argmax())
    alike = [name for name, apart in zip(names, spread, strict=True) if apart <= _ALIKE]
    told = f" ({', '.join(alike)})" if alike else ""
    r2 = float(np.mean([run.metrics["test/r2"] for run in runs]))
    curves = [(run.history["epoch"].to_list(), run.history["train/loss"].to_list()) for run in runs]
    caption = (
        "Above the loss of each start on standardised answers: 1 is the error of always giving their mean, and the "
        "dashed line is the lowest loss of any plane, by least squares. Below the weights at the end: by how many "
        "standard deviations the answer rises with one of the measurement. The dots are the starts, the rings least "
        f"squares.{_BLOOD * (set(names) >= _SERUM)}{alikest(x, names)}"
    )
    figure = regression.curves_and_weights(curves, lowest, names, weights, best)
    return Seen(
        [
            Number("test r2, mean of the starts", r2, 0.28, 0.38, ".2f"),
            Number("largest train loss at the end, over least squares'", worst / lowest, 1, 1.03, ".3f"),
            Number(f"how far apart the starts are in a weight, least: {names[near]}", spread[near], 0, 0.05, ".2f"),
            Number(f"the same, most: {names[far]}", spread[far], 0.15, inf, ".2f"),
            Number("weights that are the same to within 0.1, of 10", len(alike), 4, 8, ".0f"),
        ],
        1 if len(alike) == len(names) else 2 if alike else 3,
        f"They agree on {len(alike)} of {len(names)} weights{told}; those of {names[far]} lie {spread[far]:.2f} apart. "
        f"No loss is more than {worst / lowest - 1:.1%} above the least squares', and r2 says that {r2:.0%} of the "
        "variance is explained on patients that were not seen.",
        [looks.picture("weights.png", "The way down, and what was learned", caption, figure)],
    )


def alikest(x: np.ndarray, names: Sequence[str]) -> str:
    """Which two columns of x [N, D] move together most; nothing of a single one."""
    if len(names) < 2:
        return ""
    found = np.triu(np.corrcoef(x.T), 1)
    i, j = np.unravel_index(np.abs(found).argmax(), found.shape)
    return f" The two that move together most are {names[i]} and {names[j]}: their correlation is {found[i, j]:.2f}."


def least_squares(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """The lowest mean squared error that a plane over x [N, D] can have for y [N], and its weights [D]."""
    rows = np.column_stack([x, np.ones(len(x))])
    found = np.linalg.lstsq(rows, y, rcond=None)[0]
    return float(((rows @ found - y) ** 2).mean()), found[:-1]
