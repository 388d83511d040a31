"""Seeds: two choices over ten of them, the difference of each pair, and whether it is more than noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import repeats
from dltrain.insight import frames

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    table = looks.table(done[0])
    found = frames.compare(list(table["folder"]), metric="test/accuracy").differences.row(0, named=True)
    relu, tanh = (
        table.filter(pl.col("model.activation") == name).sort("seed")["test/accuracy"].to_list()
        for name in ("relu", "tanh")
    )
    differences = [a - b for a, b in zip(relu, tanh, strict=True)]
    mean = sum(differences) / len(differences)
    wins = sum(d > 0 for d in differences)
    ties = sum(d == 0 for d in differences)
    caption = (
        "Each line joins the two runs of one seed: it rises or falls by the seed. The large dots are the means, their "
        "bars one standard deviation over the seeds."
    )
    return Seen(
        [
            Number("test accuracy of ReLU, mean", sum(relu) / len(relu), 0.92, 0.94, ".1%"),
            Number("test accuracy of tanh, mean", sum(tanh) / len(tanh), 0.92, 0.94, ".1%"),
            Number("seeds with which ReLU is better", wins, 1, 9, ".0f"),
            Number("p of the difference, paired over the seeds", found["p"], 0, 1, ".2f"),
        ],
        3 if found["p"] >= 0.05 else 1 if mean > 0 else 2,
        f"ReLU is better with {wins} of {len(differences)} seeds{f', equal with {ties}' * bool(ties)}; the mean "
        f"difference is {100 * mean:+.2f} points, p = {found['p']:.2f}.",
        [looks.picture("seeds.png", "Two choices, ten seeds", caption, repeats.pairs({"ReLU": relu, "tanh": tanh}))],
    )
