"""The lines of hidden units, and what the layer after them sees."""

import numpy as np
import torch

from dltrain.course import looks
from dltrain.course.plots import xor


def test_the_output_layer_sees_what_the_hidden_units_say():
    hidden, output = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
    net, x = torch.nn.Sequential(hidden, torch.nn.Tanh(), output), torch.rand(5, 2)
    np.testing.assert_array_equal(looks.given(net, output, x), torch.tanh(hidden(x)).detach())


def test_a_line_is_where_the_unit_is_zero_and_weights_of_zero_have_none():
    x, y = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0, 1])
    figure = xor.unrest(x, y, [np.array([1.0, 2.0, -1.0]), np.zeros(3)], [1, 2])
    (line,) = (line for line in figure.axes[0].lines if line.get_linestyle() == "-")
    (a, b), slope = line.get_xy1(), (line.get_xy2()[1] - line.get_xy1()[1]) / (line.get_xy2()[0] - line.get_xy1()[0])
    np.testing.assert_allclose([a + 2 * b - 1, slope], [0, -0.5], atol=1e-9)
