"""Nets that are thinned by dropout, and their average."""

import torch
from torch import nn

from dltrain.course.chapters.dropout import Average, thin


def test_the_average_is_that_of_the_answers_of_its_nets():
    torch.manual_seed(0)
    x = torch.randn(5, 2)
    net, kept = thin(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1)), x[:1])
    average, generator, said = Average(net, kept), torch.Generator().manual_seed(0), []
    for _ in range(3):
        kept[0].draw(generator)
        average.add()
        said.append(net(x).sigmoid())
    torch.testing.assert_close(average(x).sigmoid(), torch.stack(said).mean(0))
    torch.testing.assert_close(net(x).sigmoid(), said[-1])  # the net that is drawn now stays
    assert set(kept[0].mask.tolist()) == {0.0, 2.0}
