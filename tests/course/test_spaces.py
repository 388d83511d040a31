"""What the chapters on data, norms and spaces draw and measure is what descent does."""

import numpy as np
import pytest
import torch

from dltrain.course.chapters.centred_data import curvatures, steps_until
from dltrain.course.plots import norms, spaces, valleys
from dltrain.course.valley import Valley


@pytest.mark.parametrize(("share", "holds"), [(0.99, True), (1.01, False)])
def test_descent_holds_just_below_two_by_the_largest_curvature(share, holds):
    generator = torch.Generator().manual_seed(0)
    x = 5 + torch.randn(50, 3, generator=generator)
    inputs = torch.cat([x, torch.ones(50, 1)], dim=1).double()
    y, w = torch.randn(50, generator=generator).double(), torch.zeros(4, dtype=torch.float64)
    rate = share * 2 / curvatures(x)[-1]
    for _ in range(2000):
        w -= rate * 2 / 50 * inputs.T @ (inputs @ w - y)
    assert bool(w.norm() < 100) is holds


def test_the_steps_that_eigenvalues_tell_are_those_of_descent():
    generator = torch.Generator().manual_seed(0)
    x, y = 3 + torch.randn(50, 2, generator=generator).double(), torch.randn(50, generator=generator).double()
    inputs, w = torch.cat([x, torch.ones(50, 1)], dim=1).double(), torch.zeros(3, dtype=torch.float64)
    rate, losses = float(1 / curvatures(x)[-1]), []
    for _ in range(401):
        losses.append(float((inputs @ w - y).square().mean()))
        w -= rate * 2 / 50 * inputs.T @ (inputs @ w - y)
    assert steps_until(x, y, rate, losses[400]) == pytest.approx(400, rel=0.01)
    assert steps_until(x, y, rate, 0.0) == torch.inf


def test_a_valley_that_is_rounder_is_left_sooner():
    x = np.random.default_rng(0).normal(20, [1, 5], (50, 2))
    y = x @ [1.0, -1.0]
    kinds = {"raw": x, "and scaled": (x - x.mean(0)) / x.std(0)}
    raw, scaled = (line.get_ydata() for line in valleys.contours(kinds, y - y.mean(), ["a", "b"]).axes[3].get_lines())
    assert scaled[-1] / scaled[0] < 0.01 * raw[-1] / raw[0]


def test_the_means_of_units_and_rows_are_drawn_beside_the_activations():
    a = np.arange(6.0).reshape(2, 3)
    _, below, beside = norms.over_what({"a": a}).axes
    assert [bar.get_height() for bar in below.patches] == a.mean(0).tolist()
    assert [bar.get_width() for bar in beside.patches] == a.mean(1).tolist()


def test_each_line_is_the_point_of_its_colour():
    x = np.array([0.0, 1.0, 2.0])
    way = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, -1.0]])
    floor = Valley(np.array([[2.0, 1.0], [1.0, 1.0]]), np.array([2.0, -1.0]), 0.1)
    above, below = spaces.moments(x, 2 * x - 1, floor, way, [0, 2]).axes
    last, point = above.get_lines()[-1], below.get_lines()[-1]
    (w,), (b,) = point.get_data()
    assert (w, b) == (2.0, -1.0)
    np.testing.assert_allclose(last.get_ydata(), w * last.get_xdata() + b)
    assert last.get_color() == point.get_color()
