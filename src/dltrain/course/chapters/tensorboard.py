"""TensorBoard: the curves of several runs, read from their event files, and what they look like in a browser."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import events
from dltrain.runs import tensorboard

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun

_SHOT = Path(__file__).with_suffix(".png")  # by scripts/pictures.py
_TAGS = ("train/loss", "val/loss")
_EXPECTED = {
    "0.0001": ((2.2, 2.32), (1.2, 1.6)),
    "0.003": ((0.65, 1.1), (0.09, 0.22)),
    "0.1": ((0.25, 0.95), (0.16, 0.7)),
}
_ALL = (0.0, math.inf)


def study(done: Sequence[Done]) -> Seen:
    rates, runs = looks.typed(done[0], "optimizer.lr"), looks.runs(done[0])
    read = [scalars(run) for run in runs]
    losses = {
        rate: [value for _, value in sorted(of_run["val/loss"].items())]
        for rate, of_run in zip(rates, read, strict=True)
    }
    first, last = (min(losses, key=lambda rate: losses[rate][at]) for at in (0, -1))
    largest = max(apart(run, of_run) for run, of_run in zip(runs, read, strict=True))
    caption = (
        "Drawn from the event files alone. As in TensorBoard the strong lines are smoothed, each point a mean of the "
        "last ones, the newest counting most: what was logged is pale. A curve that is nearly straight tells of a "
        "rate that is too small, one that falls at once and then jumps of one that is too large."
    )
    shot = (
        "A browser at localhost:6006 after `tensorboard --logdir` with the folder of these runs; the picture was "
        "taken once. A run is called by its folder and what it varies. At the top the filter of names, below "
        "each card the values at the step under the pointer."
    )
    return Seen(
        [
            *(
                Number(
                    f"validation loss at {rate}, {when}",
                    losses[rate][at],
                    *_EXPECTED.get(rate, (_ALL, _ALL))[at],
                    ".2f",
                )
                for rate in losses
                for when, at in (("first epoch", 0), ("last epoch", -1))
            ),
            Number("largest relative difference from metrics.jsonl", largest, -math.inf, 6e-8, ".1g"),
        ],
        {("0.1", "0.1"): 1, ("0.1", "0.003"): 2, ("0.003", "0.003"): 3}.get((first, last), 4),
        f"After the first epoch {first} has the lowest, {losses[first][0]:.2f}; after the last {last}, with "
        f"{losses[last][-1]:.2f}. The files differ from metrics.jsonl by the rounding of float32.",
        [
            looks.picture(
                "curves.png",
                "Three runs on one axis",
                caption,
                events.panels(dict(zip(rates, read, strict=True)), _TAGS),
            ),
            looks.picture("browser.png", "The same in TensorBoard", shot, _SHOT.read_bytes()),
        ],
    )


def scalars(run: TrainedRun) -> dict[str, dict[int, float]]:
    """The curves of a run's event file: of each name its value by step."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    read = EventAccumulator(str(tensorboard.place(run.folder)), size_guidance={"tensors": 0})
    read.Reload()
    tags = read.PluginTagToContent("scalars")
    return {tag: {e.step: float(make_ndarray(e.tensor_proto)) for e in read.Tensors(tag)} for tag in tags}


def apart(run: TrainedRun, read: dict[str, dict[int, float]]) -> float:
    """The largest relative difference between a run's event file and its metrics.jsonl."""
    return max(
        abs(read[name][step] - value) / max(abs(value), 1e-12)
        for name in run.history.columns
        if name in read
        for step, value in run.history.select("step", name).drop_nulls().rows()
        if step in read[name]
    )
