"""What is learned in the place of a regression's targets, and that every way back ends at their own units."""

import json
import sys

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import nn

from dltrain import data
from dltrain.data import units
from dltrain.data.assembly import assemble
from dltrain.data.units import BEYOND, Log, Quantile, Standard, fit, learned, read, stored
from dltrain.engine.evaluation import answers, evaluate, original
from dltrain.errors import ConfigError, DataError
from dltrain.parts.losses import MSE

DRAWS = np.random.default_rng(0)
PRICES = np.exp(DRAWS.normal(7, 1, (500, 1)))
TIES = np.concatenate([np.zeros(60), np.full(80, 2.5), DRAWS.gamma(2, 3, 300), np.full(60, 30.0)])[:, None]
KINDS = ("standard", "log", "quantile")
OF_ONE, OF_TWO = ("price",), ("price", "size")


def fitted(kind, values=PRICES):
    return fit(kind, values, OF_ONE if values.shape[1] == 1 else OF_TWO)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [PRICES, TIES + 1, np.hstack([PRICES, TIES[:500] + 1]), 1e200 * PRICES])
def test_targets_come_back_through_float32(kind, values):
    """Also those of validation that lie beyond all train rows, at either end."""
    if kind == "standard" and values.max() > 1e150:
        values = 1e-100 * values
    found = fitted(kind, values)
    span = values.max(0) - values.min(0)
    more = np.concatenate([values, values[:1] * 0 + values.max(0) + span, values.min(0)[None] / 3])
    y = torch.from_numpy(found.standard(more)).float()
    assert y.isfinite().all()
    back = original(y, found).numpy()
    size = 1e-6 * (np.abs(back) if kind == "log" else span)
    assert (np.abs(back - more) <= size).all()
    assert (np.diff(found.standard(np.sort(values, axis=0)), axis=0) >= 0).all()


def test_the_shape_is_scikit_learns():
    found = fitted("quantile", TIES)
    knots = len(found.knots)
    theirs = QuantileTransformer(n_quantiles=knots, output_distribution="normal", subsample=None).fit(TIES)
    assert found.standard(TIES) == pytest.approx(theirs.transform(TIES), abs=1e-6)
    z = torch.linspace(-5, 5, 201, dtype=torch.float64)[:, None]
    assert answers(z, found).numpy() == pytest.approx(theirs.inverse_transform(z.numpy()), rel=1e-6, abs=1e-6)


def test_answers_are_held_near_the_train_targets():
    """What outputs far from all targets say is no infinity, and no number that nobody has seen; nan stays nan."""
    wild = torch.tensor([[-1e30], [-60.0], [0.0], [60.0], [1e30], [torch.inf], [torch.nan]])
    told = answers(wild, fitted("log"))[:, 0]
    low, high = PRICES.min() / BEYOND, PRICES.max() * BEYOND
    assert told[[0, 1, 3, 4, 5]].tolist() == [low, low, high, high, high]
    assert told[6].isnan()
    told = answers(wild, fitted("quantile"))[:, 0]
    ends = [PRICES.min()] * 2 + [PRICES.max()] * 3
    assert told[[0, 1, 3, 4, 5]].tolist() == pytest.approx(ends, rel=1e-12)
    assert told[6].isnan()
    assert answers(wild, fitted("standard"))[:5].isfinite().all()
    largest = np.array([[1.7e308], [1.0], [5e307]])
    assert answers(wild, fitted("log", largest))[4, 0] == sys.float_info.max


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_them_back_whole(kind):
    found = fitted(kind, np.hstack([PRICES, TIES + 1]))
    again = read(json.loads(json.dumps(stored(found))), 2)
    assert type(again) is type(found)
    for name, value in found.tensors().items():
        assert torch.equal(again.tensors()[name], value.double())
    assert stored(again) == stored(found)
    one = units.column(found, 1)
    y = torch.from_numpy(found.standard(np.hstack([PRICES, TIES + 1])))
    assert torch.equal(original(y[:, 1:], one), original(y, found)[:, 1:])


def test_files_of_earlier_versions_are_read():
    assert read({"target_mean": None, "target_std": None}, 0) is None
    before = read({"target_mean": [1.5], "target_std": [2.0]}, 1)
    assert isinstance(before, Standard)
    assert stored(before) == {"target_transform": "standard", "target_mean": [1.5], "target_std": [2.0]}


GOOD = {"log": stored(fitted("log")), "quantile": stored(fitted("quantile")), "standard": stored(fitted("standard"))}
HOSTILE = [
    ("standard", "target_std", [0.0]),
    ("standard", "target_std", None),
    ("standard", "target_mean", [float("nan")]),
    ("standard", "target_mean", ["1"]),
    ("standard", "target_transform", "exp"),
    ("standard", "target_transform", ["log"]),
    ("standard", "target_transform", "none"),
    ("log", "target_low", [0.0]),
    ("log", "target_high", [0.0]),
    ("log", "target_high", [10**400]),
    ("log", "target_std", [True]),
    ("quantile", "target_quantiles", []),
    ("quantile", "target_quantiles", [[]]),
    ("quantile", "target_quantiles", [[1.0, 1.0]]),
    ("quantile", "target_quantiles", [[1.0, 3.0, 2.0, 4.0]]),
    ("quantile", "target_quantiles", [[1.0, float("inf")]]),
    ("quantile", "target_quantiles", [3]),
    ("quantile", "target_mean", [1.0]),
]


@pytest.mark.parametrize(("kind", "key", "value"), HOSTILE)
def test_what_no_run_writes_is_refused(kind, key, value):
    assert isinstance(read(GOOD[kind], 1), (Standard, Log, Quantile))
    with pytest.raises(ValueError, match="can't be used"):
        read({**GOOD[kind], key: value}, 1)
    with pytest.raises(ValueError, match="can't be used"):
        read(GOOD[kind], 2)


def test_a_target_without_a_logarithm_is_refused_with_its_place():
    rows = np.array([[3.0], [0.0], [-1.0]])
    with pytest.raises(DataError, match=r"b.csv, line 1: target 'price' is 0 \(and 1 more are not above zero\), and a"):
        learned(fitted("log"), rows, OF_ONE, "b.csv, line {}".format)
    with pytest.raises(DataError, match=r"Correct or remove it; or train with data.target_transform=quantile"):
        assembled(rows, "log")
    with pytest.raises(DataError, match=r"target 'price' lies around 1e\+09 and varies by .* float32 can't hold"):
        assembled(1e9 + rows, "none")
    with pytest.raises(ConfigError, match=r"target_transform=log is for numbers, and the target is the classes a, b"):
        assemble(
            torch.ones(4, 1),
            np.array([0, 1, 0, 1]),
            (np.arange(4), np.arange(0), np.arange(0)),
            classes=("a", "b"),
            target_transform="log",
            preprocessing={"kind": "dataset"},
        )


@pytest.mark.parametrize("kind", [*KINDS, "none"])
@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_a_target_whose_square_is_no_number_is_refused_however_it_is_learned(kind, unit):
    """The root of the mean squared error, by which the best epoch is chosen, would be 0 or infinite."""
    with pytest.raises(DataError, match=r"target 'price' varies by .*, whose square float64 can't hold: choose"):
        assembled(PRICES * unit, kind)


def test_ranks_of_many_equal_targets_at_an_end_are_noted():
    """Such as amounts that are mostly zero: the net learns little but which rows are these."""
    mostly_zero = np.where(np.arange(500)[:, None] < 290, 0, PRICES)
    (note,) = _of_ties(mostly_zero)
    assert note.startswith("target 'price': 290 of 500 train rows have one value at an end, 0, which data.target_tr")
    both = _of_ties(np.clip(PRICES, *np.quantile(PRICES, (0.1, 0.9), method="lower")))
    assert [note[:18] for note in both] == ["target 'price': 50", "target 'price': 51"]
    assert _of_ties(PRICES) == []
    with pytest.raises(DataError, match=r"or train with data.target_transform=standard$"):
        assembled(mostly_zero, "log")


def _of_ties(y):
    return [note for note in assembled(y, "quantile").notes if "one value at an end" in note]


def assembled(y, kind):
    rows = np.arange(len(y)), np.arange(0), np.arange(0)
    return assemble(
        torch.ones(len(y), 1), y, rows, targets=OF_ONE, target_transform=kind, preprocessing={"kind": "dataset"}
    )


def test_values_far_from_all_others_are_told_where_they_are_learned_so():
    wide = np.concatenate([PRICES, [[1e12]]])
    assert any("far from all others (1e+12 at row 500)" in note for note in assembled(wide, "standard").notes)
    for kind in ("log", "quantile"):
        assert not any("far from" in note for note in assembled(wide, kind).notes)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_metrics_are_in_the_units_of_the_targets(kind):
    """Of a net that answers one number, which stands for one target, whatever is learned."""
    found = data.diabetes(target_transform=kind)
    raw = data.diabetes(target_transform="none")
    net = nn.Linear(10, 1)
    nn.init.zeros_(net.weight)
    told = 150.0 if found.units is None else float(found.units.standard(np.array([[150.0]]))[0, 0])
    nn.init.constant_(net.bias, told)
    for part in ("train", "val", "test"):
        y = getattr(raw, part).y.double()
        metrics = evaluate(net, getattr(found, part), MSE(), task="regression", metrics="all")
        assert metrics["rmse"] == pytest.approx(float((y - 150).square().mean().sqrt()), rel=1e-5)
        assert metrics["mae"] == pytest.approx(float((y - 150).abs().mean()), rel=1e-5)
        assert metrics["median_absolute_error"] == pytest.approx(np.median((y - 150).abs()), rel=1e-4)


def test_digits_are_those_that_float32_is_sure_of():
    assert fitted("log").rounded(np.array([[1234.56789123], [1e-9 / 3], [1e12 / 3]])).tolist() == [
        [1234.568],
        [3.333333e-10],
        [333333300000.0],
    ]
    assert Standard(torch.tensor([0.0]), torch.tensor([2.0])).rounded(np.array([[1 / 3]])).tolist() == [[0.333333]]
    assert fitted("quantile", TIES).rounded(np.array([[2.123456789]])).tolist() == [[2.123457]]
