"""Whether a set is fit to learn from: scale, balance, rows in two parts, and what neighbours say of the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from dltrain.data import RawImages, Split, Tensors

_SAMPLE = 2000  # rows whose neighbours are looked for: 2,000 x 2,000 distances take 16 MB
_NEIGHBOURS = 10
_WORDS = {0: np.uint64, 4: np.uint32, 2: np.uint16, 6: np.uint16} | dict.fromkeys((1, 3, 5, 7), np.uint8)  # by size
_FEW, _WIDEST = 50, 5  # features of rows that may meet by chance, and how many of them, of the most values, tell it
_AT_ONCE = 8192  # rows whose numbers stay in the cache while a mark is made of each


def sample(split: Split, n: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """At most n rows of a split, drawn without repetition: x float32 [m, ...], y, and their positions int64 [m]."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(split), generator=generator)[:n].sort().values
    if isinstance(split, Tensors):
        return split.normalise(split.x[index]).float(), split.y[index], index
    pairs = [split[i] for i in index.tolist()]
    x = torch.stack([torch.as_tensor(x) for x, _ in pairs])
    x = split.normalise(x) if isinstance(split, RawImages) else x
    return x.float(), torch.stack([torch.as_tensor(y) for _, y in pairs]), index


def spread_out(x: Tensor, positions: Sequence[int]) -> Tensor:
    """Rows [N, features] with zeros and ones, one for each code that occurs, in the place of the columns of codes."""
    if not positions:
        return x
    hot = [torch.unique(x[:, at], return_inverse=True)[1] for at in positions]
    others = [at for at in range(x.shape[1]) if at not in {*positions}]
    return torch.cat([x[:, others], *(torch.eye(int(h.max()) + 1)[h] for h in hot)], 1)


# LeCun et al. 1998 ("Efficient BackProp") want inputs of mean 0 and size 1. First weights are drawn for that; pixels
# from 0 to 16 and lengths in cm still train, sums of money do not.
LARGE, SMALL = 20.0, 0.02


def sizes(x: Tensor) -> Tensor:
    """The root mean square of each feature [F]; of images [N, C, H, W] that of each channel."""
    flat = x.transpose(0, 1).reshape(x.shape[1], -1) if x.dim() == 4 else x.reshape(len(x), -1).T
    return flat.double().square().mean(1).sqrt()


def repeated(part: Split, train: Split) -> Tensor:
    """Positions int64 in `part` of the rows whose inputs stand in `train` too, bit by bit; none unless in memory."""
    import polars as pl

    if part is train or not (isinstance(part, Tensors) and isinstance(train, Tensors)):
        return torch.empty(0, dtype=torch.int64)
    ours, theirs = (pl.Series(_marks(split.x.numpy())) for split in (part, train))
    return torch.from_numpy(ours.is_in(theirs.implode()).to_numpy().nonzero()[0])


def by_chance(part: Split, train: Split) -> bool:
    """Whether rows of `part` that stand in the train part are no copies: their numbers are few and rounded, so that
    rows meet. Of the pairs of distinct rows which agree in all features but one, less than a fifth agree in that, too.

    With two lengths of the irises it is a tenth, on the Titanic a twentieth, and a fifth to all where each row of such
    tables stands there twice.
    """
    if not (isinstance(part, Tensors) and isinstance(train, Tensors)):
        return False
    ours, theirs = (_distinct(split.x.flatten(1).numpy()) for split in (part, train))
    if ours.shape[1] > _FEW:
        return False
    whole = _pairs(ours, theirs)
    features = range(ours.shape[1])
    widest = sorted(features, key=lambda at: len(np.unique(theirs[:, at])), reverse=True)[:_WIDEST]
    return any(5 * whole < _pairs(np.delete(ours, at, 1), np.delete(theirs, at, 1)) for at in widest)


def _distinct(rows: np.ndarray) -> np.ndarray:
    return rows[np.unique(_marks(rows), return_index=True)[1]]


def _pairs(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many pairs of a row [N, F] and a row [M, F] are equal."""
    values, which = np.unique(np.concatenate([_marks(ours), _marks(theirs)]), return_inverse=True)
    counts = (np.bincount(each, minlength=len(values)) for each in np.split(which, [len(ours)]))
    return int(np.prod([*counts], axis=0).sum())


def repeats(
    x: Tensor | tuple[Tensor, Tensor, Tensor],
    y: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    place: Callable[[int], str],
) -> list[str]:
    """A note on the validation and test rows that stand in the train part too, inputs and targets bit by bit.

    x: [N, ...], or those of the train, validation and test rows; y: [N] or [N, K], rows: their numbers, place: where a
    row stands.
    """
    import polars as pl

    if isinstance(x, tuple):
        marks = [pl.Series(_marks(part.numpy(), y[numbers])) for part, numbers in zip(x, rows, strict=True)]
    else:
        whole = _marks(x.numpy(), y)
        marks = [pl.Series(whole[numbers]) for numbers in rows]
    train = marks[0].implode()
    found = [part.is_in(train).to_numpy() for part in marks[1:]]
    told = [
        f"{same.sum():,} of the {len(part):,} {name} rows"
        for name, part, same in zip(("validation", "test"), rows[1:], found, strict=True)
        if same.any()
    ]
    if not told:
        return []
    part = 1 if found[0].any() else 2
    at = int(found[part - 1].argmax())
    row, other = int(rows[part][at]), int(rows[0][(marks[0] == marks[part][at]).arg_max()])
    return [
        f"{' and '.join(told)} stand in the train part too, features and target ({place(row)} as {place(other)}): they "
        "may be remembered, not learned; remove such rows, or let data.group keep together what belongs together"
    ]


def _marks(*parts: np.ndarray) -> np.ndarray:
    """A number for each row of these [N, ...] together, uint64 [N], equal for equal rows, else by a chance of 2^-64.

    Of 1,000,000 rows of 20 float32 it takes 0.03 s. Source: the mixing of splitmix64, eight bytes after the others.
    """
    rows = len(parts[0])
    marks = np.zeros(rows, dtype=np.uint64)
    flat = [np.ascontiguousarray(part.reshape(rows, prod(part.shape[1:]))) for part in parts]
    words = [part.view(_WORDS[part.shape[1] * part.itemsize % 8]) for part in flat]
    for start in range(0, rows, _AT_ONCE):
        some = marks[start : start + _AT_ONCE]
        for values in words:
            for column in np.ascontiguousarray(values[start : start + _AT_ONCE].T):
                some ^= some >> np.uint64(29)
                some *= np.uint64(0xBF58476D1CE4E5B9)
                some += column
    return marks


@dataclass(frozen=True)
class Neighbours:
    """What the nearest other train rows say of a row's label.

    `score` is how often their majority is right (classes; of several labels at once, about each), or the share of the
    variance that their mean explains (regression). `z` says how much more alike the labels of neighbours are than
    those of rows thrown together, in standard deviations: below three, the inputs say nothing about the labels that
    one could see. `suspects` are positions in the train part whose label at least nine of ten neighbours contradict
    with one voice.
    """

    score: float
    z: float
    suspects: list[int]
    rows: int


def neighbours(x: Tensor, y: Tensor, index: Tensor, *, classes: int) -> Neighbours | None:
    """Ten nearest neighbours of each row but itself, features in standard units; `classes=0` for numbers.

    x [n, ...] and y [n] or [n, K] as of `sample`; None where the rows are too few.
    """
    n = min(len(x), _SAMPLE)
    if n < 5 * _NEIGHBOURS:
        return None
    flat = x[:n].reshape(n, -1).double()
    spread = flat.std(0)
    flat = (flat / spread.where(spread > 0, 1.0)).float() if x.dim() == 2 else flat.float()
    distance = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    near = distance.topk(_NEIGHBOURS, largest=False).indices
    if not classes:
        target = y[:n].reshape(n, -1).double()
        error = (target[near].mean(1) - target).square().sum()
        score = float(1 - error / (target - target.mean(0)).square().sum())
        return Neighbours(score, _z(near, lambda order: -_spread(target[order], near)), [], n)
    if y.dim() > 1:
        on = y[:n] > 0.5
        score = float(((on[near].float().mean(1) > 0.5) == on).double().mean())
        return Neighbours(score, _z(near, lambda order: -_spread(on[order].double(), near)), [], n)
    labels = y[:n].long()
    votes = torch.zeros(n, classes).scatter_add_(1, labels[near], torch.ones(n, _NEIGHBOURS))
    most, guess = votes.max(1)
    suspects = index[:n][(guess != labels) & (most >= 9)].tolist()
    score = float((guess == labels).double().mean())
    same = _z(near, lambda order: float((labels[order][near] == labels[order][:, None]).double().mean()))
    return Neighbours(score, same, suspects, n)


def _spread(target: Tensor, near: Tensor) -> float:
    return float((target[near] - target[:, None]).square().mean())


def _z(near: Tensor, alike: Callable[[Tensor], float]) -> float:
    """How far `alike` of the rows as they are lies above that of thirty random orders of the labels."""
    generator = torch.Generator().manual_seed(0)
    n = len(near)
    random = torch.tensor([alike(torch.randperm(n, generator=generator)) for _ in range(30)], dtype=torch.float64)
    return float((alike(torch.arange(n)) - random.mean()) / random.std().clamp_min(1e-12))
