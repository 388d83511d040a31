"""Clipping by norm keeps the direction, and what is drawn of a step is what was left of its gradient."""

import numpy as np

from dltrain.course.chapters.clipping import _arrows
from dltrain.course.plots import clipping


def test_by_norm_keeps_the_direction_and_by_value_does_not():
    given, by_norm, by_value = _arrows()
    lengths = np.linalg.norm(given, axis=1)
    np.testing.assert_allclose(by_norm, given * np.minimum(1, 1 / lengths)[:, None], rtol=1e-5)
    np.testing.assert_array_equal(by_value, given.clip(-1, 1))


def test_each_step_is_drawn_before_and_after():
    steps = clipping.Steps(np.arange(1, 4), np.array([4.0, 0.5, 2.0]), np.array([0.25, 1.0, 0.5]), np.ones(3))
    before, after, _ = clipping.norms(steps, steps, 1.0).axes[1].lines
    np.testing.assert_array_equal(before.get_ydata(), [4.0, 0.5, 2.0])
    np.testing.assert_array_equal(after.get_ydata(), [1.0, 0.5, 1.0])
