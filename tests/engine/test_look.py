"""Statistics of a pass, on nets whose answers are known."""

import pytest
import torch
from torch import nn

from dltrain.engine.look import layers, observe, relative_updates


def test_outputs_and_gradients_are_those_of_autograd():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    seen, loss = observe(model, x, lambda out: out.square().mean())
    z1 = model[0](x).detach().requires_grad_()
    a1 = z1.relu()
    a1.retain_grad()
    out = model[2](a1)
    out.retain_grad()
    out.square().mean().backward()
    assert [item.name for item in seen] == ["0", "1", "2"]
    for item, tensor in zip(seen, (z1, a1, out), strict=True):
        torch.testing.assert_close(item.values, tensor.detach())  # the ReLU works in place, and yet z1 is z1
        torch.testing.assert_close(item.gradient, tensor.grad)
    torch.testing.assert_close(loss, out.detach().square().mean())
    assert not model[0]._forward_hooks


def test_hooks_are_removed_when_the_pass_fails():
    model = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(RuntimeError):
        observe(model, torch.randn(5, 7), torch.sum)
    assert not model[0]._forward_hooks


def test_dead_units_and_saturated_values_are_counted():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Sigmoid())
    with torch.no_grad():
        for layer in (model[0], model[2], model[4]):
            layer.weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0, -1.0, -1.0, 1.0]))
        model[2].bias.copy_(torch.tensor([9.0, -9.0, 0.0, 1.0]))
        model[4].bias.copy_(torch.tensor([9.0, 0.0, 0.0, 1.0]))
    found = layers(observe(model, torch.randn(6, 2), torch.sum)[0])
    assert [layer.dead for layer in found] == [None, 0.75, None, None, None, None]
    assert [layer.saturated for layer in found] == [None, None, None, 0.5, None, 0.25]


def test_channels_of_images_are_units():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0, 1.0]))
    assert layers(observe(model, torch.randn(3, 1, 8, 8), torch.sum)[0])[1].dead == 0.5


def test_updates_are_relative_to_the_weights():
    model = nn.Linear(2, 2, bias=False)
    before = {"weight": model.weight.detach().clone()}
    with torch.no_grad():
        model.weight.mul_(1.001)
    assert abs(relative_updates(before, model)["weight"] - 1e-3) < 1e-6


class Centred(nn.Module):
    """Takes a mean off that it keeps; it keeps no variance."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x):
        return x - self.running_mean


def test_a_module_may_keep_one_running_statistic_alone():
    seen, _ = observe(nn.Sequential(nn.Linear(2, 3), Centred()), torch.randn(5, 2), torch.sum)
    found = layers(seen)[1]
    assert (found.running_mean, found.running_var) == (2.0, None)
