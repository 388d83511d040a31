"""The batches of a step: as they are read, as a transform makes them, and what each counts for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, tee
from typing import cast

import torch
from torch import Tensor, nn

from dltrain.data.loaders import StreamLoader, TensorLoader, positions
from dltrain.engine.ranks import Ranks, digest
from dltrain.engine.steps.step import Batch, Loader
from dltrain.parts import row_weights
from dltrain.parts.regularisers import BatchTransform, changed_with_weights


class Shared(tuple[Tensor, ...]):
    """A batch, as `Batch` is, of which other processes have other rows. One that has none reads a row of theirs, which
    does not count, to keep step. `rows`: how many all have; `whole`: what these count for; `own`: what this process's
    do; `counts`: whether it has any; `every`: targets and weights of all, where the loader has them.
    """

    rows: int
    whole: float
    own: float
    counts: bool
    every: Callable[[], tuple[Tensor, Tensor | None]] | None


def read(loader: Loader, epoch: int, start: int, most: int, ranks: Ranks | None = None) -> Iterator[Batch]:
    """The batches of an epoch from a position, each with the weights of its rows where the loader has such. ranks:
    processes that share each of them; raises RanksError where one has another order.
    """
    if ranks is not None:
        return _shared(loader, epoch, start, most, ranks)
    found, weight = islice(loader.epoch(epoch, start), most), weights_of(loader)
    return found if weight is None else ((x, y, index, weight[index]) for x, y, index in found)


def _shared(loader: Loader, epoch: int, start: int, most: int, ranks: Ranks) -> Iterator[Batch]:
    if not isinstance(loader, TensorLoader | StreamLoader):
        raise ValueError(f"processes share the batches of dltrain's own loaders (make_loader), not of {loader!r}")
    order, size, weight = positions(loader, epoch), loader.batch_size, loader.weight
    ranks.check_same(f"the order of epoch {epoch}", digest({"order": order}))
    lows = range(start * size, min(start + most, len(loader)) * size, size)
    ahead, parts = tee((whole, ranks.shard(whole)) for whole in (order[low : low + size] for low in lows))

    def shared(batch: Batch, part: tuple[Tensor, Tensor]) -> Batch:
        whole, own = part
        made = Shared(batch if weight is None else (*batch, weight[batch[2]]))
        made.rows, made.counts = len(whole), len(own) > 0
        made.whole, made.own = (len(whole), len(own)) if weight is None else (_sum(weight[whole]), _sum(weight[own]))
        made.every = None if loader.y is None else partial(_every, whole, loader.y, weight)
        return cast("Batch", made)

    batches = loader.batches((own if len(own) else whole[:1] for whole, own in ahead), epoch)
    # `map` lets go of a batch before it asks for the next, which is gathered into its memory, still in the cache.
    return map(shared, batches, parts)


def _every(rows: Tensor, targets: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return targets[rows.to(targets.device)], None if weight is None else weight[rows]


def weights_of(loader: Loader) -> Tensor | None:
    """How much each of a loader's rows counts, float32 [N]; None where all count the same."""
    return getattr(loader, "weight", None)


def rows(batches: Sequence[Batch]) -> int:
    """How many rows a step's batches have together, in all processes."""
    if type(batches[0]) is Shared:
        return sum(batch.rows for batch in batches if isinstance(batch, Shared))
    # `len` of a tensor is a function of Python's, for the time of a small kernel.
    return batches[0][0].shape[0] if len(batches) == 1 else sum(batch[0].shape[0] for batch in batches)


def _count(batch: Batch) -> float:
    """What a batch counts for in the mean over a step: its rows, or the sum of their weights."""
    if isinstance(batch, Shared):
        return batch.whole
    return _sum(batch[3]) if len(batch) == 4 else batch[0].shape[0]


def _sum(weights: Tensor) -> float:
    # float32 would give the sum of parts other last digits than the sum of all.
    return float(weights.sum(dtype=torch.float64))


def weights(batches: Sequence[Batch]) -> list[float]:
    """The sum of the weights of a step's rows; nothing where all count the same."""
    return [sum(map(_count, batches))] if len(batches[0]) == 4 else []


Parted = tuple[Batch, float]  # a batch, and its share of the step's mean


def parted(batches: Iterable[Batch], given: Sequence[Batch], loss: nn.Module, ranks: Ranks | None) -> Iterator[Parted]:
    """The batches of a step as they are asked for, each with its share, which is 1 of one batch alone.

    given: the same as the loader gave them. The mean is over rows, whatever batches they are in, and whatever process.
    """
    whole = sum(map(_count, given)) if len(given) > 1 else 0
    for batch, first in zip(batches, given, strict=True):
        if not isinstance(first, Shared) or ranks is None:
            yield batch, _count(batch) / whole if whole else 1.0
            continue
        share = _own_share(batch, first, loss, ranks) * (first.whole / whole if whole else 1.0)
        ranks.passing = first.counts, first.rows
        yield batch, share
        ranks.passing = None


def _own_share(batch: Batch, given: Shared, loss: nn.Module, ranks: Ranks) -> float:
    """Of a shared batch what this process's rows count for, times the number of processes."""
    if not row_weights.weighs_classes(loss):
        return ranks.world_size * given.own / given.whole if given.whole else 0.0
    # The loss divides by the weights of the classes that it meets, and each process meets others.
    weight = batch[3] if len(batch) == 4 else None
    own = _by_class(loss, batch[1], weight, given.own) if given.own else 0.0
    if batch is given and given.every is not None:
        whole = _by_class(loss, *given.every(), given.whole)
    else:  # of targets that a transform may have changed each process knows its own alone
        whole = ranks.total(own)
    return ranks.world_size * own / whole if whole else 0.0


def _by_class(loss: nn.Module, targets: Tensor, weight: Tensor | None, rows: float) -> float:
    """What rows count for in the mean of a loss; rows: where it does not weigh these classes."""
    if (shares := row_weights.shares_of(loss, targets)) is None:
        return rows
    return _sum(shares if weight is None else shares * weight.to(shares.device))


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
