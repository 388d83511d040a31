"""What one of several processes has of a batch that they share: which rows are its own."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """x [B, ...], y [B] or [B, K], and index int64 [B]: the samples' positions in their split (on the CPU)."""

    x: Tensor
    y: Tensor
    index: Tensor


class Shared(Batch):
    """One process's rows of a batch. `whole` int64 [B]: the positions of all its rows; own: how many of them are this
    process's, 0 where it keeps step on a row of others', which does not count; of: how many processes share it.
    """

    whole: Tensor
    own: int
    of: int


def shared(batch: Batch, whole: Tensor, own: int, of: int) -> Shared:
    """The batch as a part of a whole one."""
    part = Shared(*batch)
    part.whole, part.own, part.of = whole, own, of
    return part


def own(rows: int, rank: int, of: int) -> slice:
    """Which of a batch's rows are those of process `rank` of so many: runs of rows that differ by one at most."""
    each, more = divmod(rows, of)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))
