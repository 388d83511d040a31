"""Modules that know their own forward and backward, chained by two loops; plain PyTorch without autograd."""

import torch
from torch import Tensor

import dltrain


class Linear:
    def __init__(self, layer: torch.nn.Linear) -> None:
        self.layer = layer

    def forward(self, z: Tensor) -> Tensor:
        self.z = z  # kept for the way back
        return self.layer(z)

    def backward(self, delta: Tensor) -> Tensor:
        self.layer.weight.grad, self.layer.bias.grad = delta.t() @ self.z, delta.sum(0)
        return delta @ self.layer.weight


class ReLU:
    def forward(self, z: Tensor) -> Tensor:
        self.on = z > 0
        return z * self.on

    def backward(self, delta: Tensor) -> Tensor:
        return delta * self.on


moons = dltrain.data.moons()
loader = dltrain.make_loader(moons.train, batch_size=32, shuffle=True, seed=0)
torch.manual_seed(0)
layers = [torch.nn.Linear(d, k) for d, k in ((2, 8), (8, 8), (8, 8), (8, 1))]
net = torch.nn.Sequential(*layers)
modules = [Linear(layers[0]), ReLU(), Linear(layers[1]), ReLU(), Linear(layers[2]), ReLU(), Linear(layers[3])]
optim = torch.optim.SGD(net.parameters(), lr=0.3)

with torch.no_grad():
    for epoch in range(5):
        for x, y, _ in loader.epoch(epoch):
            z = x
            for module in modules:  # z of each module from the one before
                z = module.forward(z)
            delta = (torch.sigmoid(z) - y[:, None]) / len(y)
            for module in reversed(modules):  # its error from the one after
                delta = module.backward(delta)
            optim.step()
