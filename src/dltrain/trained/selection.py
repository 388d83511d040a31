"""Which nets to average, by what they answered to the same rows: pure functions of those answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Rank = tuple[bool, float, float]  # of `reading.rank`: the smaller is the better
Score = Callable[[Tensor], Rank]  # of answers such as a member's

_FIRST = 25  # members at most that the choice begins with
_MOST = 50  # that are chosen at most, each as often as it was


def best(answers: Sequence[Tensor], score: Score, count: int) -> Counter[int]:
    """The `count` best of them, by their number, each once."""
    ranks = [score(answer) for answer in answers]
    return Counter(sorted(range(len(ranks)), key=ranks.__getitem__)[:count])


def greedy(answers: Sequence[Tensor], score: Score, *, values: bool) -> Counter[int]:
    """How often each of them counts in an average that is no worse than the best of them.

    Caruana et al. 2004: it begins with as many of the best as their average is best for; then the one is added, again
    and again and those that are in it too, with which the average is best. Of all averages on the way the best counts,
    of equals the first. values: the answers are what is averaged, else the logarithms of it.
    """
    order = list(best(answers, score, _FIRST))
    chosen: list[int] = []
    whole = torch.empty(0)
    found: list[tuple[Rank, list[int], Tensor]] = []
    for number in order:
        whole = _with(whole, answers[number], values=values) if chosen else answers[number]
        chosen = [*chosen, number]
        found.append((score(_mean(whole, len(chosen), values=values)), chosen, whole))
    _, chosen, whole = least = min(found, key=lambda each: each[0])
    while len(chosen) < _MOST:
        size = len(chosen) + 1
        ranks = [score(_mean(_with(whole, answer, values=values), size, values=values)) for answer in answers]
        number = min(range(len(ranks)), key=ranks.__getitem__)
        chosen, whole = [*chosen, number], _with(whole, answers[number], values=values)
        if ranks[number] < least[0]:
            least = ranks[number], chosen, whole
    counted = Counter(least[1])
    common = math.gcd(*counted.values())
    return Counter({number: count // common for number, count in counted.most_common()})


def _with(whole: Tensor, one: Tensor, *, values: bool) -> Tensor:
    return whole + one if values else torch.logaddexp(whole, one)


def _mean(whole: Tensor, count: int, *, values: bool) -> Tensor:
    return whole / count if values else whole - math.log(count)
