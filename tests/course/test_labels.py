"""The pictures of several labels: what is marked on them is what the net says."""

import numpy as np
import torch
from matplotlib.figure import Figure

from dltrain.course.plots import labels
from dltrain.insight.plots import regions


def test_a_label_that_changes_nowhere_has_no_border_and_each_point_its_bars():
    net = torch.nn.Linear(2, 2)
    net.load_state_dict({"weight": torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "bias": torch.tensor([0.0, 3.0])})
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, 0] > 0, torch.ones(50) > 0], dim=1).float()
    scene = regions.Scene(x, y, "multilabel", ("x1", "x2"), ((0.0, 1.0),) * 2, classes=("right", "always"))
    said = {"sigmoid": np.array([[0.2, 0.9], [0.7, 0.9]])}
    drawn = labels.moment(net, scene, x[:2].numpy(), y[:2].numpy(), said, title="now")
    assert isinstance(drawn, Figure)
    plane, first, second = drawn.axes
    assert len(plane.collections) == 1  # the border of the first label alone
    assert len(plane.lines[1].get_xdata()) == 0  # none is wrong
    assert [bar.get_height() for bar in (*first.patches, *second.patches)] == [0.2, 0.9, 0.7, 0.9]
