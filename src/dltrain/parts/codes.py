"""Columns of categories that travel as one code each among numbers, and what stands for them in a net: a vector that is
learned for each category, or zeros and ones.

A batch is x float [B, in_features]. `codes` names its columns of codes as pairs [position, count]: such a column holds
the whole numbers 0 ... count - 1, of which 0 is no category.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Codes = Sequence[Sequence[int]]

MOST = 1 << 24  # codes of a column: float32 holds each whole number up to here
_LARGEST = 1 << 16  # numbers that stand for a category; more are a slip of the hand


class Embeddings(nn.Module):
    """Numbers, then for each column of codes the vector of its category: [B, in_features] to [B, width].

    size: how long the vectors are; 8 for any column is the rule of Holzmueller et al. 2024 (RealMLP-TD). They are drawn
    from N(0, 1 / size): so each has a mean squared length of 1, as a row of zeros and ones with a single one has, and
    as a number in standard units, and the layer above starts with outputs of the size that it is made for. The vector
    of code 0 begins as zeros, and stays so where no train row lacks a category: what is unknown later changes nothing
    then. Source: Guo & Berkhahn, Entity Embeddings of Categorical Variables, 2016.
    """

    def __init__(self, in_features: int, codes: Codes, *, size: int) -> None:
        super().__init__()
        check(codes, in_features)
        if not 1 <= size <= _LARGEST:
            raise ValueError(f"model.embedding={size}: a whole number from 1 to {_LARGEST:,}, or 0 for zeros and ones")
        self.positions = [at for at, _ in codes]
        self.spans = _between(self.positions, in_features)
        self.names = [f"weight{k}" for k in range(len(codes))]
        self.in_features, self.width = in_features, in_features + (size - 1) * len(codes)
        for name, (_, count) in zip(self.names, codes, strict=True):
            weight = torch.empty(count, size)
            nn.init.normal_(weight, std=size**-0.5)
            with torch.no_grad():
                weight[0] = 0
            self.register_parameter(name, nn.Parameter(weight))

    @property
    def tables(self) -> list[Tensor]:
        """The vectors of each column of codes, [count, size], in the order of `codes`."""
        return [getattr(self, name) for name in self.names]  # `get_parameter` refuses what `functional_call` puts there

    def forward(self, x: Tensor) -> Tensor:
        found = [F.embedding(x[:, at].long(), w) for at, w in zip(self.positions, self.tables, strict=True)]
        return torch.cat([*(x[:, begin:end] for begin, end in self.spans), *found], 1)

    def extra_repr(self) -> str:
        return ", ".join(f"column {at}: {[*w.shape]}" for at, w in zip(self.positions, self.tables, strict=True))


class Expand(nn.Module):
    """Zeros and ones in the place of each code, one for each category: [B, in_features] to [B, width].

    Columns stay in their order, and code 0 becomes zeros: what `data=table` makes of few categories.
    """

    def __init__(self, in_features: int, codes: Codes) -> None:
        super().__init__()
        check(codes, in_features)
        self.codes = sorted((at, count) for at, count in codes)
        self.spans = _between([at for at, _ in self.codes], in_features, empty=True)
        self.width = expanded(in_features, codes)

    def forward(self, x: Tensor) -> Tensor:
        begin, end = self.spans[0]
        parts = [x[:, begin:end]]
        for (at, count), (begin, end) in zip(self.codes, self.spans[1:], strict=True):
            hot = x[:, at : at + 1] == torch.arange(1, count, dtype=x.dtype, device=x.device)
            parts += [hot.to(x.dtype), x[:, begin:end]]
        return torch.cat(parts, 1)

    def extra_repr(self) -> str:
        return ", ".join(f"column {at}: {count - 1}" for at, count in self.codes)


class OneHot(nn.Module):
    """A net that knows no codes, with `Expand` in front of it."""

    def __init__(self, model: nn.Module, in_features: int, codes: list[list[int]]) -> None:
        super().__init__()
        self.expand, self.model = Expand(in_features, codes), model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.expand(x))


def expanded(in_features: int, codes: Codes) -> int:
    """How many inputs there are with zeros and ones in the place of codes."""
    return in_features + sum(count - 2 for _, count in codes)


def widest(model: nn.Module, in_features: int) -> int:
    """How many numbers of a row stand side by side, at most, where a net begins: of codes those that it makes of them.

    It counts the memory that a batch takes.
    """
    return max([in_features, *(m.width for m in model.modules() if isinstance(m, Expand))])


def check(codes: Codes, in_features: int) -> None:
    """Raises ValueError for codes that can't be: positions twice or beyond the inputs, no category, or too many."""
    if not all(len(pair) == 2 and all(isinstance(n, int) for n in pair) for pair in codes):
        raise ValueError(f"codes={codes}: give pairs of a position and the number of codes")
    if len({at for at, _ in codes}) != len(codes) or not all(0 <= at < in_features for at, _ in codes):
        raise ValueError(f"codes={codes}: positions must be different, and below {in_features}")
    if wrong := [count for _, count in codes if not 2 <= count <= MOST]:
        raise ValueError(f"codes={codes}: {wrong[0]:,} codes of a column; there may be 2 to {MOST:,}")


def mistake(x: Tensor, codes: Codes) -> str | None:
    """What is wrong with inputs [N, in_features] that are to have these codes, in words; None where nothing is."""
    for at, count in codes:
        wrong = ~((x[:, at] >= 0) & (x[:, at] < count) & (x[:, at] == x[:, at].round()))
        if wrong.any():
            row = int(wrong.nonzero()[0])
            return f"row {row} has {x[row, at]:g} in column {at}, which is to be a code, a whole number below {count}"
    return None


def _between(positions: list[int], end: int, *, empty: bool = False) -> list[tuple[int, int]]:
    """Where the columns beside these begin and end, as slices; empty: also those that hold none."""
    ends = [-1, *sorted(positions), end]
    return [(a + 1, b) for a, b in pairwise(ends) if empty or a + 1 < b]
