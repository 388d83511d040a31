"""Clipping by norm keeps the direction, and what is drawn of a step is what was left of its gradient."""

import numpy as np
import pytest

import dltrain
from dltrain.course.chapters.clipping import _arrows, _look, _side
from dltrain.course.plots import clipping


def test_by_norm_keeps_the_direction_and_by_value_does_not():
    given, by_norm, by_value = _arrows()
    lengths = np.linalg.norm(given, axis=1)
    np.testing.assert_allclose(by_norm, given * np.minimum(1, 1 / lengths)[:, None], rtol=1e-5)
    np.testing.assert_array_equal(by_value, given.clip(-1, 1))


def test_each_step_is_drawn_before_and_after():
    steps = clipping.Steps(np.arange(1, 4), np.array([4.0, 0.5, 2.0]), np.array([0.25, 1.0, 0.5]), np.ones(3))
    before, after, _ = clipping.norms(steps, steps, 1.0, {"clipped": [(1.0, 0.9)]}).axes[0].lines
    np.testing.assert_array_equal(before.get_ydata(), [4.0, 0.5, 2.0])
    np.testing.assert_array_equal(after.get_ydata(), [1.0, 0.5, 1.0])


def test_a_step_is_seen_from_where_it_began_to_where_it_would_have_ended(tmp_path):
    run = dltrain.train("experiment=clipping", "trainer.epochs=1", "trainer.tensorboard=false", f"runs_dir={tmp_path}")
    looked = _look(run.folder, 0.5)
    side = _side(looked)
    longest = looked.steps.norms.argmax()
    assert side.whole == pytest.approx(looked.steps.norms[longest], rel=1e-4)
    assert side.cut == 1.0
    assert side.losses[0] == pytest.approx(looked.steps.losses[longest], rel=1e-4)
