"""Checkpoints: the weights of a run that was stopped and went on, beside those of one that was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain.course import lab, looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import resumed
from dltrain.runs import checkpoint

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    whole, stopped, resumed_run = map(looks.run, done)
    ours, theirs = ([*looks.last_weights(run).values()] for run in (whole, resumed_run))
    apart = lab.difference(ours, theirs)
    held = sum(file.stat().st_size for file in checkpoint.find(whole.folder / "checkpoints")[-1].rglob("*"))
    sizes = held / sum(4 * weight.numel() for weight in ours)
    at = float(str(stopped.config["trainer.epochs"]))  # of its folder by now the other one's
    curves = {
        "not stopped": whole.history,
        "stopped and resumed": resumed_run.history,
    }
    caption = (
        f"The validation loss of both runs; the vertical line is where one was stopped, after {at:g} epochs. The "
        "dashed curve lies on the other: what a checkpoint holds is all that the next step depends on."
    )
    how_far = "by no bit" if apart.difference == 0 else f"by at most {apart.difference:.2g}"
    return Seen(
        [
            Number("largest difference of the last weights", apart.difference, 0.0, 0.0, ".2g"),
            Number("numbers compared", apart.count, 9_610, 9_610, ",.0f"),
            Number("size of a checkpoint, as a multiple of its weights", sizes, 3.0, 4.0, ".2f"),
        ],
        3 if apart.difference == 0 else 2 if apart.difference < 1e-4 else 1,
        f"The last weights differ {how_far}. With Adam's two means the checkpoint has {sizes:.1f} "
        "times the size of the weights, three of them W, m and s.",
        [looks.picture("curves.png", "Two runs, one curve", caption, resumed.curves(curves, at=at))],
    )
