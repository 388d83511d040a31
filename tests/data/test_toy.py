"""Toy sets: the formulas they promise, drawn from the seed alone."""

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.datasets import make_moons

from dltrain.data.sources import toy
from dltrain.data.tables.encoding import encode
from dltrain.errors import ConfigError

SETS = (toy.xor, toy.moons, toy.circles, toy.spirals, toy.blobs, toy.sine, toy.linear, toy.multilabel)


def test_a_row_of_a_huge_class_is_refused():
    with pytest.raises(ConfigError, match=r"data\.y holds class 1099511627776"):
        toy.rows([[0.0], [1.0]], [0, 2**40])


def whole(source, n=400, **knobs):
    """The set with every row in the train part, in the order drawn."""
    return source(n, val=0, test=0, **knobs)


@pytest.mark.parametrize("source", SETS)
def test_toys_keep_the_contract(source):
    data = source()
    assert [len(part) for part in (data.train, data.val, data.test)] == [680, 120, 200]
    assert data.in_shape == ((1,) if source is toy.sine else (2,))
    assert data.train.x.dtype == torch.float32
    assert data.train.y.dtype == (torch.int64 if data.task in ("binary", "multiclass") else torch.float32)
    assert data.names
    assert all(type(name) is str for name in data.names)
    assert data.notes == ()


@pytest.mark.parametrize("source", SETS)
def test_the_seed_decides_the_points_and_the_split_seed_their_parts(source):
    one, same, other = whole(source), whole(source), whole(source, seed=1)
    assert torch.equal(one.train.x, same.train.x)
    assert torch.equal(one.train.y, same.train.y)
    assert not torch.equal(one.train.x, other.train.x)
    assert not torch.equal(source(100).test.x, source(100, split_seed=1).test.x)


@pytest.mark.parametrize("source", SETS)
def test_the_preprocessing_leaves_points_as_drawn(source):
    data = whole(source)
    frame = pl.DataFrame({f"x{i + 1}": data.train.x[:, i].numpy() for i in range(data.in_features)})
    assert torch.equal(encode(frame, data.preprocessing), data.train.x)


def test_xor_of_four_points_is_the_truth_table():
    data = whole(toy.xor, 4, noise=0)
    assert data.train.x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert data.train.y.tolist() == [0, 1, 1, 0]
    assert data.val is data.train
    assert data.test is data.train
    assert len(data.notes) == 2


def test_noisy_xor_surrounds_the_corners():
    data = whole(toy.xor, 4000, noise=0.1)
    offset = data.train.x - data.train.x.round().clamp(0, 1)
    assert abs(offset.std() - 0.1) < 0.005
    corner = data.train.x.round().clamp(0, 1).long()
    assert torch.equal(corner[:, 0] ^ corner[:, 1], data.train.y)


def test_moons_are_scikit_learns():
    data = whole(toy.moons, 101, noise=0)
    x, y = make_moons(101, shuffle=False)
    np.testing.assert_allclose(data.train.x.numpy(), x, atol=1e-6)
    assert data.train.y.tolist() == y.tolist()
    assert data.classes == ("upper", "lower")


def test_circles_have_their_radii():
    data = whole(toy.circles, noise=0, factor=0.3)
    assert torch.allclose(data.train.x.norm(dim=1), torch.where(data.train.y == 1, 0.3, 1.0))


def test_spirals_wind_once_per_turn():
    data = whole(toy.spirals, noise=0, arms=3, turns=2.0)
    assert data.classes == ("0", "1", "2")
    assert data.task == "multiclass"
    radius = data.train.x.norm(dim=1)
    angle = 2 * torch.pi * (2.0 * radius + data.train.y / 3)
    direction = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert torch.allclose(data.train.x, radius[:, None] * direction, atol=1e-5)
    assert radius.max() <= 1


def test_blobs_have_their_centres_and_spread():
    data = whole(toy.blobs, 8000, classes=4, noise=0.25, radius=2.0)
    for k, centre in enumerate([(2, 0), (0, 2), (-2, 0), (0, -2)]):
        cloud = data.train.x[data.train.y == k]
        assert len(cloud) == 2000
        assert torch.allclose(cloud.mean(0), torch.tensor(centre).float(), atol=0.03)
        assert torch.allclose(cloud.std(0), torch.full((2,), 0.25), atol=0.02)
    assert toy.blobs(classes=2).task == "binary"


def original(data):
    return data.train.y.double() * data.units.std + data.units.mean


def test_sine_and_linear_follow_their_formulas():
    sine = whole(toy.sine, noise=0, frequency=1.5)
    assert torch.allclose(original(sine), (3 * torch.pi * sine.train.x.double()).sin(), atol=1e-5)
    line = whole(toy.linear, noise=0, weights=[1.0, -2.0, 0.5], bias=3.0)
    assert line.in_shape == (3,)
    x = line.train.x.double()
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), original(line)).solution
    assert torch.allclose(solution[:, 0], torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), atol=1e-5)


def test_the_inputs_of_linear_lie_around_their_mean():
    centred, moved = whole(toy.linear, noise=0), whole(toy.linear, noise=0, mean=2.0)
    assert torch.allclose(moved.train.x, centred.train.x + 2, atol=1e-6)
    assert torch.allclose(original(moved), original(centred) + 2 * (2.0 - 3.4), atol=1e-5)


def test_multilabel_names_what_is_true_of_a_point():
    data = whole(toy.multilabel, noise=0, radius=1.0)
    x, y = data.train.x, data.train.y
    assert data.task == "multilabel"
    assert data.classes == ("right", "above", "far")
    assert torch.equal(y, torch.stack([x[:, 0] > 0, x[:, 1] > 0, x.norm(dim=1) > 1], dim=1).float())
    assert set(y.sum(1).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("source", "knobs", "message"),
    [
        (toy.xor, {"n": 1}, "data.n=1: draw at least 2"),
        (toy.moons, {"noise": -0.1}, "data.noise=-0.1"),
        (toy.moons, {"noise": float("nan")}, "data.noise=nan"),
        (toy.circles, {"factor": 1.0}, "data.factor=1.0"),
        (toy.spirals, {"arms": 1}, "data.arms=1"),
        (toy.spirals, {"arms": 10**12}, "there are 1000 samples"),
        (toy.spirals, {"turns": 0.0}, "data.turns=0.0"),
        (toy.blobs, {"classes": 1}, "data.classes=1"),
        (toy.linear, {"weights": []}, r"data.weights=\[\]"),
        (toy.linear, {"mean": float("inf")}, "data.mean=inf"),
    ],
)
def test_impossible_knobs_are_refused(source, knobs, message):
    with pytest.raises(ConfigError, match=message):
        source(**knobs)


def test_typed_targets_far_from_zero_keep_their_differences():
    """In float32 they would be one number; others keep their values, as worked examples want."""
    y = [[1e9 + i, i / 4] for i in range(8)]
    data = toy.rows([[float(i)] for i in range(8)], y)
    back = data.train.y.double() * data.units.std + data.units.mean
    order = data.train.x[:, 0].long()
    assert torch.allclose(back, torch.tensor(y, dtype=torch.float64)[order], rtol=0, atol=1e-3)
    assert any("standard units" in note for note in data.notes)
    plain = toy.rows([[0.0], [1.0]], [[1e3], [1e3 + 1]])
    assert plain.train.y.tolist() == [[1e3], [1e3 + 1]]
    assert plain.units is None
    with pytest.raises(ConfigError, match=r"x2.* lies around 1e\+09 and varies by 1, which float32 can't hold"):
        toy.rows([[0, 1e9 - 1], [1, 1e9 + 1]], [0, 1])


@pytest.mark.parametrize("source", [toy.xor, toy.moons, toy.blobs, toy.spirals, toy.circles, toy.sine, toy.linear])
def test_more_points_than_the_memory_holds_are_not_drawn(source):
    with pytest.raises(ConfigError, match=r"n=1000000000000: so many points take more than .* GB of memory"):
        source(n=10**12)
