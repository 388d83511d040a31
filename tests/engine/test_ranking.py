"""Thresholds and curves against every threshold that there is, tried by hand."""

from math import isnan

import pytest
import torch
from sklearn import metrics as sk

from dltrain.engine import ranking


@pytest.mark.parametrize("weighted", [False, True])
def test_the_best_thresholds_are_those_of_all_that_there_are(weighted):
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        p = torch.rand(24, generator=generator).round(decimals=1 + seed % 2)
        y = torch.rand(24, generator=generator) < 0.1 + 0.8 * p
        w = torch.rand(24, generator=generator) if weighted else None
        found = ranking.best_thresholds(ranking.curve(p, y, w))
        for name, score in (("f1", sk.f1_score), ("balanced_accuracy", sk.balanced_accuracy_score)):
            every = [score(y, p >= t, sample_weight=w) for t in p.unique()]
            assert getattr(ranking.rates(p, y, found[name], w), name) == pytest.approx(max(every), abs=1e-9)
            guess = p >= found[name]
            rates = ranking.rates(p, y, found[name], w)
            assert rates.recall == pytest.approx(sk.recall_score(y, guess, sample_weight=w))
            assert rates.precision == pytest.approx(sk.precision_score(y, guess, sample_weight=w))


def test_a_curve_is_that_of_scikit_learn():
    p, y, w = (torch.randn(80) * 2).round(), torch.rand(80) > 0.6, torch.rand(80)
    found = ranking.curve(p, y, w)
    false, true, thresholds = sk.roc_curve(y, p, sample_weight=w, drop_intermediate=False)
    assert found.thresholds.tolist() == thresholds[1:].tolist()
    assert (found.misses / found.misses[-1]).tolist() == pytest.approx(false[1:])
    assert (found.hits / found.hits[-1]).tolist() == pytest.approx(true[1:])


def test_rows_of_one_kind_have_no_threshold():
    p, ones = torch.rand(9), torch.ones(9, dtype=torch.bool)
    assert ranking.best_thresholds(ranking.curve(p, ones)) == ranking.best_thresholds(ranking.curve(p, ~ones)) == {}
    assert isnan(ranking.rates(p, ~ones, 0.5).recall)
    assert isnan(ranking.rates(p, ones, 2.0).precision)
