"""Which nets are averaged, by answers alone."""

from collections import Counter

import numpy as np
import pytest
import torch

from dltrain.trained import selection

TRUTH = np.random.default_rng(0).normal(size=60)


def answers(seed: int, count: int = 6) -> list[torch.Tensor]:
    random = np.random.default_rng(seed)
    shared = random.normal(size=60)
    size = random.uniform(0.2, 1.5, count)
    return [torch.tensor(TRUTH + s * (random.normal(size=60) + 0.5 * shared)) for s in size]


def error(answer: torch.Tensor) -> tuple[bool, float, float]:
    return False, float(((answer.numpy() - TRUTH) ** 2).mean()), 0.0


def plain(given: list[np.ndarray], steps: int) -> float:
    """The least error on the way of Caruana et al. 2004, written as the paper says it."""
    alone = sorted(given, key=lambda a: ((a - TRUTH) ** 2).mean())
    starts = [alone[: n + 1] for n in range(len(alone))]
    bag = min(starts, key=lambda bag: ((np.mean(bag, 0) - TRUTH) ** 2).mean())
    least = ((np.mean(bag, 0) - TRUTH) ** 2).mean()
    while len(bag) < steps:
        bag = min(([*bag, a] for a in given), key=lambda bag: ((np.mean(bag, 0) - TRUTH) ** 2).mean())
        least = min(least, ((np.mean(bag, 0) - TRUTH) ** 2).mean())
    return least


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_the_paper_and_no_worse_than_the_best(seed):
    given = answers(seed)
    chosen = selection.greedy(given, error, values=True)
    whole = sum(chosen.values())
    mean = sum(given[number] * (count / whole) for number, count in chosen.items())
    assert error(mean)[1] == pytest.approx(plain([a.numpy() for a in given], 50))
    assert error(mean) <= min(map(error, given))
    assert chosen == selection.greedy(given, error, values=True)
    logs = [a.exp().log() for a in given]  # the same of what these are the logarithms of
    assert selection.greedy(logs, lambda a: error(a.exp().log()), values=False)


def test_one_that_nothing_helps_stays_alone():
    given = [torch.tensor(TRUTH), *answers(3)]
    assert selection.greedy(given, error, values=True) == {0: 1}


def test_the_best_are_taken_once_each_and_equals_in_their_order():
    given = answers(1)
    order = sorted(range(6), key=lambda i: error(given[i]))
    assert selection.best(given, error, 3) == Counter(order[:3])
    assert list(selection.best([given[0]] * 3, error, 2)) == [0, 1]
