"""Seeds: two choices over ten of them, the difference of each pair, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING

import polars as pl

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import repeats
from dltrain.insight.compare import interval

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    table = looks.table(done[0])
    relu, tanh = (
        table.filter(pl.col("model.activation") == name).sort("seed")["test/accuracy"].to_list()
        for name in ("relu", "tanh")
    )
    differences = [100 * (a - b) for a, b in zip(relu, tanh, strict=True)]
    wins, ties = sum(d > 0 for d in differences), sum(d == 0 for d in differences)
    low, high = interval(differences) or (-inf, inf)
    mean = fmean(differences)
    images = len(looks.plan(looks.runs(done[0])[0]).data.test)
    caption = (
        "Above each line joins the two runs of one seed: blue where ReLU is better, orange where tanh is, grey where "
        "they are equal; the larger a dot and the thicker a line, the more runs share it. Below the differences, a "
        "dot for each seed, their mean, and its 95 % interval, which decides: one that holds 0 shows no difference. "
        f"One image of the {images} of the test part is {100 / images:.2f} points."
    )
    return Seen(
        [
            Number("test accuracy of ReLU, mean", fmean(relu), 0.92, 0.94, ".1%"),
            Number("test accuracy of tanh, mean", fmean(tanh), 0.92, 0.94, ".1%"),
            Number("seeds with which ReLU is better", wins, 1, 9, ".0f"),
            Number("mean difference, in points", mean, -0.5, 0.5, "+.2f"),
            Number("its 95 % interval, from", low, -1.2, 0.1, "+.2f"),
            Number("to", high, -0.1, 1.2, "+.2f"),
        ],
        3 if low <= 0 <= high else 1 if mean > 0 else 2,
        f"ReLU is better with {wins} of {len(differences)} seeds{f', equal with {ties}' * bool(ties)}; the mean "
        f"difference is {mean:+.2f} points, its 95 % interval {low:+.2f} to {high:+.2f}.",
        [
            looks.picture(
                "seeds.png", "Two choices, ten seeds", caption, repeats.pairs({"ReLU": relu, "tanh": tanh}, (low, high))
            )
        ],
    )
