"""One linear net without a penalty, with L1 and with L2: its weights as images, sorted, and how many are zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import penalties

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun

ZERO = 0.001  # weights below it are counted as zero
_NAMES = ("no penalty", "L1", "L2")


def study(done: Sequence[Done]) -> Seen:
    runs = [looks.run(one) for one in done]
    weights = dict(zip(_NAMES, map(_weights, runs), strict=True))
    zeros = {name: int((np.abs(w) < ZERO).sum()) for name, w in weights.items()}
    accuracy = dict(zip(_NAMES, (run.metrics["test/accuracy"] for run in runs), strict=True))
    x, _ = looks.rows(runs[0])
    blank = (x.flatten(1) == 0).all(0).numpy()  # pixels of which the loss says nothing: the penalty alone moves these
    alone = {name: int((np.abs(w[:, blank]) < ZERO).sum()) for name, w in weights.items()}
    count, l1, l2 = weights["L1"].size, zeros["L1"], zeros["L2"]
    caption = (
        "Above the weights of each digit as an image (red: ink here speaks for the digit, blue: against it). Below all "
        f"{count} of each net, from the largest to the smallest: where a line begins lower its large weights are "
        "smaller, and where it lies on the axis there is nothing left."
    )
    return Seen(
        [
            Number("weights near zero, no penalty", zeros["no penalty"], 0, 6, ".0f"),
            Number("weights near zero, L1", l1, 295, 325, ".0f"),
            Number("weights near zero, L2", l2, 0, 12, ".0f"),
            Number(
                f"of the {blank.sum() * len(weights['L1'])} that see pixels always blank, L1",
                alone["L1"],
                70,
                70,
                ".0f",
            ),
            Number("the same, L2", alone["L2"], 0, 6, ".0f"),
            *(Number(f"largest weight, {n}", _largest(weights[n]), *r, ".1f") for n, r in _LARGEST.items()),
            *(Number(f"test accuracy, {n}", accuracy[n], *r, ".1%") for n, r in _ACCURACY.items()),
        ],
        2 if l1 > 2 * l2 else 3 if l2 > 2 * l1 else 1,
        f"Of {count} weights {l1} are near zero with L1 and {l2} with L2."
        + (_FADES if alone["L1"] > 2 * alone["L2"] else "")
        + (_NO_GAIN if accuracy["no penalty"] >= max(accuracy["L1"], accuracy["L2"]) else ""),
        [
            looks.picture(
                "weights.png",
                "The weights of three nets",
                caption,
                penalties.images_and_sizes(weights, looks.plan(runs[0]).data.in_shape, ZERO),
            )
        ],
    )


_FADES = (
    " L1 pulls a small weight as hard as a large one, until it is zero; the pull of L2 fades with the weight, which "
    "hardly ever arrives: best seen at the pixels that are always blank, where nothing else pulls."
)
_NO_GAIN = " With neither has it more new digits right; the last command below shows a net that a penalty helps."
_ACCURACY = {"no penalty": (0.945, 0.955), "L1": (0.943, 0.953), "L2": (0.94, 0.949)}
_LARGEST = {"no penalty": (2.4, 2.75), "L1": (2.2, 2.6), "L2": (1.7, 1.95)}


def _weights(run: TrainedRun) -> np.ndarray:
    """[digits, pixels]"""
    return run.model.state_dict()["layers.linear.weight"].numpy()


def _largest(weights: np.ndarray) -> float:
    return float(np.abs(weights).max())
