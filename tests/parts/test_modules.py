"""What a net is made of: its summary, and the mode that it is looked at in."""

import pytest
import torch
from torch import nn

from dltrain.parts.models import MLP
from dltrain.parts.modules import evaluating, summary


def test_summary_of_an_mlp():
    model = MLP(64, 10, widths=[32], norm="batch")
    model.layers.norm1.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert summary(model, (1, 8, 8)) == [
        ("layers.flatten", "Flatten", (64,), 0),
        ("layers.linear1", "Linear", (32,), 64 * 32 + 32),
        ("layers.norm1", "BatchNorm1d", (32,), 64),
        ("layers.activation1", "ReLU", (32,), 0),
        ("layers.linear2", "Linear", (10,), 330),
        ("total", "MLP", (10,), 64 * 32 + 32 + 64 + 330),
    ]
    assert model.training
    assert not model.layers.norm1.training
    assert not model.layers.linear1._forward_hooks
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_summary_on_the_meta_device_and_of_a_single_module():
    with torch.device("meta"):
        model = nn.Linear(10**6, 10**5)
    assert summary(model, (10**6,))[-1] == ("total", "Linear", (10**5,), 10**11 + 10**5)


def test_summary_counts_shared_and_own_parameters_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.scale = nn.Linear(3, 3), nn.Linear(3, 3), nn.Parameter(torch.ones(3))
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(self.a(x))) * self.scale

    rows = summary(Tied().double(), (3,))
    assert [(row.name, row.parameters) for row in rows] == [("a", 12), ("b", 3), ("model", 3), ("total", 18)]


class Counted(nn.Linear):
    """Has a mode of its own."""

    calls = 0

    def train(self, mode=True):
        self.calls += 1
        return super().train(mode)


@pytest.mark.parametrize("layer", [nn.Linear, Counted])
def test_modes_come_back_also_where_a_module_has_its_own_way(layer):
    net, other = nn.Sequential(layer(2, 2), nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2))), nn.Dropout()
    net[2].eval()
    before = [part.training for part in (*net.modules(), *other.modules())]
    assert before.count(True) == 4
    with evaluating(net, other):
        assert not any(part.training for part in (*net.modules(), *other.modules()))
    assert [part.training for part in (*net.modules(), *other.modules())] == before
    assert net[0].training is True
    assert getattr(net[0], "calls", 1) == 1
