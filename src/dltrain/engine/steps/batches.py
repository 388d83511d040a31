"""The batches of a step: as they are read, as a transform makes them, and what each counts for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from dltrain.engine.steps.step import Batch, Loader
from dltrain.parts.regularisers import BatchTransform, changed_with_weights


def read(loader: Loader, epoch: int, start: int, most: int) -> Iterator[Batch]:
    """The batches of an epoch from a position, each with the weights of its rows where the loader has such."""
    found = islice(loader.epoch(epoch, start), most)
    if (weight := weights_of(loader)) is None:
        return found
    return ((x, y, index, weight[index]) for x, y, index in found)


def weights_of(loader: Loader) -> Tensor | None:
    """How much each of a loader's rows counts, float32 [N]; None where all count the same."""
    return getattr(loader, "weight", None)


def rows(batches: Sequence[Batch]) -> int:
    """How many rows a step's batches have together."""
    # `len` of a tensor is a function of Python's, for the time of a small kernel.
    return batches[0][0].shape[0] if len(batches) == 1 else sum(batch[0].shape[0] for batch in batches)


def count(batch: Batch) -> float:
    """What a batch counts for in the mean over a step: its rows, or the sum of their weights."""
    return float(batch[3].sum()) if len(batch) == 4 else batch[0].shape[0]


def weights(batches: Sequence[Batch]) -> list[float]:
    """The sum of the weights of a step's rows; nothing where all count the same."""
    return [sum(map(count, batches))] if len(batches[0]) == 4 else []


def transformed(transform: BatchTransform, batches: Iterable[Batch], epoch: int) -> Iterator[Batch]:
    """Each batch as a transform makes it, when it is asked for."""
    for batch in batches:
        x, y, index = batch[:3]
        with torch.inference_mode(False):  # what it keeps must be of use outside, too
            if len(batch) == 4:
                changed, targets, weight = changed_with_weights(transform, x, y, index, epoch, batch[3])
                made = changed, targets, index, weight
            else:
                made = *transform(x, y, index, epoch), index
        yield made
