"""An image of noise that is changed until the net calls it a 3: a film, with its loss and its rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
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
_NAMES = ("one cycle", "constant")
_FRAMES = 24
_END = 50  # steps, the mean over which is told


def study(done: Sequence[Done]) -> Seen:
    run, moments = looks.run(done[0]), replay.moments(_STEPS, _FRAMES)
    rows = looks.plan(run).data.test
    seen, steady = (
        dream.of(run, _CLASS, rows, steps=_STEPS, rate=_RATE, cycle=cycle, moments=moments) for cycle in (True, False)
    )
    first, last, real = seen.scores
    both = [one.descent.losses for one in (seen, steady)]
    lowest = torch.cat(both).min()
    above = {name: (of_one - lowest).tolist() for name, of_one in zip(_NAMES, both, strict=True)}
    ended, rattling = (fmean(values[-_END:]) for values in above.values())
    settles = "Large steps get down soon, and then jump to and fro; the cycle's last ones settle it." * (
        ended < rattling
    )
    caption = (
        "Left the only parameter, 64 pixels, and how sure the net is of a 3, ŷ₃ of the softmax: an eye need not see "
        "one. Right how far its loss (the output for 3 with a minus, and two small penalties) is above the lowest "
        f"that was found, and the rate; beside it the same at {_RATE:g} throughout. The mean of the last {_END} steps "
        f"is {ended:.0e} and {rattling:.0e}. {settles}"
    ).strip()
    rates = {name: one.descent.rates for name, one in zip(_NAMES, (seen, steady), strict=True)}
    film = plots.gif(_moments(run, seen, moments, above, rates), wait=200, last=3000, shades=128)
    beside = (
        "The noise, what became of it, and of 256 test images the one whose output for 3 is the highest. Below, a "
        "real image of another class, changed along gradients until 3 is just ahead of all others: of the images tried "
        "the one that took the smallest change, which another way might make smaller."
    )
    figure = dream.draw(run, _CLASS, seen)
    return Seen(
        [
            Number("output for 3, of the noise", first, -8, 1, ".1f"),
            Number("output for 3, of what became of it", last, 9, 20, ".1f"),
            Number("output for 3, the highest of 256 real images", real, 6.5, 13, ".1f"),
            Number("how sure the net is of what became of it", float(_sure(run, seen.made[None])[0]), 0.98, 1, ".1%"),
            Number("loss above the lowest in the end, one cycle", ended, 0, 1e-3, ".0e"),
            Number("loss above the lowest in the end, constant", rattling, 5e-3, 0.2, ".0e"),
        ],
        2 if last > real + 0.05 * abs(real) else 1 if last < real - 0.05 * abs(real) else 3,
        f"The noise went from {first:.1f} to {last:.1f}; the best of 256 real images has {real:.1f}.",
        [
            looks.picture("film.gif", "The image, its loss and its rate", caption, film),
            looks.picture("dream.png", "Beside real images", beside, figure),
        ],
    )


def _moments(
    run: TrainedRun,
    seen: Dream,
    moments: Sequence[int],
    losses: dict[str, list[float]],
    rates: dict[str, list[float]],
) -> Iterator[Figure]:
    images = seen.descent.watched
    for step, image, sure in zip(moments, images, _sure(run, images), strict=True):
        yield drawn.moment(image, f"step {step}: ŷ₃ = {sure:.0%}", losses, rates, at=step)


@torch.no_grad()
def _sure(run: TrainedRun, images: torch.Tensor) -> torch.Tensor:
    """The probability [N] of the class."""
    return run.logits(images).softmax(1)[:, _CLASS]
