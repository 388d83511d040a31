"""One linear layer: what it explains, its curve, and its weights by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import regression
from dltrain.insight import captions

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[0])
    data = looks.plan(run).data
    r2 = run.metrics["test/r2"]
    weights = run.model.state_dict()["layers.linear.weight"][0].numpy()
    epochs, losses = (run.history[name].to_list() for name in ("epoch", "train/loss"))
    names = captions.inputs(data.preprocessing, data.in_features)
    caption = (
        "The loss is of the standardised targets: 1 is the error of always answering their mean. Each weight is by how "
        "many deviations the answer rises with one deviation of its measurement."
    )
    figure = regression.curve_and_weights(epochs, losses, names, weights)
    return Seen(
        [
            Number("test r2, of the best epoch by validation", r2, 0.28, 0.38, ".2f"),
            Number("largest weight", float(np.abs(weights).max()), 0.15, 0.6, ".2f"),
        ],
        1 if r2 > 0.6 else 2 if r2 > 0.2 else 3,
        f"On patients that it has not seen r2 is {r2:.2f}.",
        [looks.picture("weights.png", "The curve, and what was learned", caption, figure)],
    )
