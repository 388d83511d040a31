"""An image of noise that is changed until the net calls it a 3: a film, with its loss and its rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import noise as drawn
from dltrain.insight import dream, plots
from dltrain.training import replay

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.dream import Dream
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun

_CLASS, _STEPS, _RATE = 3, 1000, 0.5  # as in the chapter's command
_FRAMES = 24
_NEAR = 0.2  # of a loss that falls by some twenty


def study(done: Sequence[Done]) -> Seen:
    run, moments = looks.run(done[0]), replay.moments(_STEPS, _FRAMES)
    seen = dream.of(run, _CLASS, looks.plan(run).data.test, steps=_STEPS, rate=_RATE, moments=moments)
    first, last, real = seen.scores
    losses = seen.descent.losses
    at_half = float(losses[_STEPS // 2])
    caption = (
        "Left the only parameter, 64 pixels, and how sure the net is of a 3: an eye need not see one. Right the loss, "
        "which is minus the output for 3 and two small penalties, and the rate. The net's weights do not move. "
        f"{_settled(losses)}"
    )
    film = plots.gif(_moments(run, seen, moments), wait=200, last=3000, shades=128)
    beside = (
        "The noise, what became of it, and the test image whose output for 3 is the highest. Below, a real "
        "image of another class, changed along gradients until 3 is just ahead of all others: of the images tried the "
        "one that took the smallest change, which another way might make smaller."
    )
    figure = dream.draw(run, _CLASS, seen)
    return Seen(
        [
            Number("output for 3, of the noise", first, -8, 1, ".1f"),
            Number("output for 3, of what became of it", last, 9, 20, ".1f"),
            Number("output for 3, the highest of real images", real, 6.5, 13, ".1f"),
            Number("how sure the net is of what became of it", float(_sure(run, seen.made[None])[0]), 0.98, 1, ".1%"),
            Number("loss in the end, less that half-way", float(losses[-1]) - at_half, -0.2, 0.02, ".2f"),
        ],
        2 if last > real + 0.05 * abs(real) else 1 if last < real - 0.05 * abs(real) else 3,
        f"The noise went from {first:.1f} to {last:.1f}; the best of the real images has {real:.1f}.",
        [
            looks.picture("film.gif", "Noise becomes what the net calls a 3", caption, film),
            looks.picture("dream.png", "Beside real images", beside, figure),
        ],
    )


def _settled(losses: torch.Tensor) -> str:
    """How soon the loss [steps] stays near its last, as a sentence."""
    away = torch.nonzero((losses - losses[-1]).abs() > _NEAR)
    after = int(away[-1]) + 1 if len(away) else 0
    if 2 * after > len(losses):
        return f"The loss is within {_NEAR:g} of its last from step {after} on."
    return f"The loss is within {_NEAR:g} of its last from step {after} on: the rest of the cycle hardly changes it."


def _moments(run: TrainedRun, seen: Dream, moments: Sequence[int]) -> Iterator[Figure]:
    losses, rates = seen.descent.losses.tolist(), seen.descent.rates
    images = seen.descent.watched
    for step, image, sure in zip(moments, images, _sure(run, images), strict=True):
        yield drawn.moment(image, f"step {step}: a 3 by {sure:.0%}", losses, rates, at=step)


@torch.no_grad()
def _sure(run: TrainedRun, images: torch.Tensor) -> torch.Tensor:
    """The probability [N] of the class."""
    return run.logits(images).softmax(1)[:, _CLASS]
