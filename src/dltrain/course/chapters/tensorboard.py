"""TensorBoard: the scalars of the event file beside those of metrics.jsonl, and curves drawn from it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import events

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[0])
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    read = EventAccumulator(str(run.folder), size_guidance={"tensors": 0, "compressedHistograms": 0})
    read.Reload()
    tags = read.Tags()["tensors"]
    assert isinstance(tags, list)
    scalars = {tag: {e.step: float(make_ndarray(e.tensor_proto)) for e in read.Tensors(tag)} for tag in tags}
    spread = [
        (event.step, [value for _, value in event.compressed_histogram_values])
        for event in read.CompressedHistograms("output_gradients/layers.linear1")
    ]
    logged = {
        name: run.history.select("step", name).drop_nulls().rows() for name in run.history.columns if name in tags
    }
    differences = [
        abs(scalars[name][step] - value) / max(abs(value), 1e-12)
        for name, rows in logged.items()
        for step, value in rows
        if step in scalars[name]
    ]
    largest = max(differences)
    caption = (
        "Drawn from the event file alone: the losses, the learning rate of one cycle, and how the derivatives of the "
        "loss by the first layer's outputs are spread, which diagnose=true writes."
    )
    figure = events.panels(scalars, spread)
    return Seen(
        [
            Number("curves in the event file", len(scalars), 20, 30, ".0f"),
            Number("values that stand in both files", len(differences), 150, 150, ".0f"),
            Number("largest relative difference", largest, -inf, 6e-8, ".1g"),
        ],
        3 if largest == 0 else 1 if largest < 1e-7 else 2,
        f"{len(differences)} values stand in both files, and the largest relative difference is {largest:.1g}.",
        [looks.picture("events.png", "What TensorBoard reads", caption, figure)],
    )
