"""A dot for each seed: none hides another."""

import numpy as np

from dltrain.course.plots.repeats import stacked


def test_equal_differences_lie_on_each_other_so_that_all_are_seen() -> None:
    across, up = stacked(np.array([0.1 + 0.2, -1.0, 0.3, 0.3]), step=0.5)  # 0.1 + 0.2 is a little more than 0.3
    assert np.allclose(across, [0.3, -1.0, 0.3, 0.3])
    assert up == [0.0, 0.0, 0.5, 1.0]
