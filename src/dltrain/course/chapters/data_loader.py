"""What a loader gives: the first batches of several epochs, seeds and numbers of workers, and the nets from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dltrain.config import build, construct
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import batches as plots
from dltrain.data.loaders import Batch, Loader, make_loader

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    alone, several = runs = looks.runs(done[0])[:2]
    plan, workers = looks.plan(alone), looks.typed(done[0], "data.workers")[:2]
    loaders: list[Loader] = [build.make_loaders(looks.plan(run))[0] for run in runs]
    seed = plan.seed + 1
    transform = construct.make_sample_transform(plan.regularisation, plan.data)
    other = make_loader(plan.data.train, batch_size=plan.batch_size, shuffle=True, seed=seed, transform=transform)
    first, again = ([*loader.epoch()] for loader in loaders)
    second = [*loaders[0].epoch(1)]
    shown = {
        f"seed {plan.seed}, epoch 0": first[0],
        "the same images in epoch 1, where they come in other batches": _same(second, first[0].index),
        f"seed {plan.seed}, epoch 1": second[0],
        f"seed {seed}, epoch 0": next(iter(other.epoch())),
        f"seed {plan.seed}, epoch 0, read by {workers[1]} processes": again[0],
    }
    pairs = zip(looks.last_weights(alone).values(), looks.last_weights(several).values(), strict=True)
    apart = max(float((a - b).abs().max()) for a, b in pairs)
    same = int((_rows(first) == _rows(second)).sum())
    in_order = torch.equal(_rows(first), _rows(again))
    caption = (
        "The first eight images of a batch, as the net gets them, and their numbers. In each epoch an image is changed "
        "in another way: some are shifted out of their frame, which leaves them black. The last row of pictures is the "
        "first, pixel for pixel."
    )
    return Seen(
        [
            Number("rows of an epoch", len(_rows(first)), 1221, 1221, ",.0f"),
            Number("different rows among them", len(_rows(first).unique()), 1221, 1221, ",.0f"),
            Number("rows in the same place in the epochs 0 and 1", same, 0, 6, ".0f"),
            Number("largest difference between the weights of the two nets", apart, 0, 0, ".1g"),
        ],
        3 if apart == 0 else 2 if in_order else 1,
        f"The weights that {workers[0]} and {workers[1]} processes led to are "
        f"{'the same' if apart == 0 else f'up to {apart:.0e} apart'}: what is "
        "random about a sample is drawn from seed, epoch and its number, whoever reads it.",
        [looks.picture("batches.png", "The first batch", caption, plots.rows(shown))],
    )


def _rows(batches: Sequence[Batch]) -> torch.Tensor:
    """The numbers of the rows of an epoch, in order."""
    return torch.cat([batch.index for batch in batches])


def _same(batches: Sequence[Batch], wanted: torch.Tensor) -> Batch:
    """The rows with these numbers, in this order, of an epoch."""
    at = torch.cat([(_rows(batches) == number).nonzero()[0] for number in wanted])
    x, y = (torch.cat([batch[part] for batch in batches])[at] for part in (0, 1))
    return Batch(x, y, wanted)
