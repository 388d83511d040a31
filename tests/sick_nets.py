"""Nets with a fault, as a user may write them, and a set that streams."""

from itertools import pairwise

import torch
from torch import nn


class NegativeBias(nn.Module):
    """ReLU units that start far below zero: dead for every input."""

    def __init__(self, in_features: int, out_features: int, width: int = 64):
        super().__init__()
        self.flatten = nn.Flatten()
        self.first, self.second = nn.Linear(in_features, width), nn.Linear(width, width)
        self.last = nn.Linear(width, out_features)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        for layer in (self.first, self.second):
            nn.init.constant_(layer.bias, -20.0)

    def forward(self, x):
        return self.last(self.relu2(self.second(self.relu1(self.first(self.flatten(x))))))


class LargeWeights(nn.Module):
    """Weights drawn from N(0, std^2): with tanh nearly all units are saturated, with ReLU everything explodes."""

    def __init__(self, in_features: int, out_features: int, activation: str = "tanh", std: float = 2.0, depth: int = 4):
        super().__init__()
        kind = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}[activation]
        widths = [in_features, *[64] * depth]
        layers = [nn.Flatten()]
        for fan_in, width in pairwise(widths):
            layers += [nn.Linear(fan_in, width), kind()]
        self.layers = nn.Sequential(*layers, nn.Linear(64, out_features))
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std)

    def forward(self, x):
        return self.layers(x)


class EndsInSoftmax(nn.Module):
    """Probabilities, where the loss wants logits."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(in_features, 64), nn.ReLU(), nn.Linear(64, out_features))

    def forward(self, x):
        return torch.softmax(self.layers(x), dim=1)


class LateAverages(nn.Module):
    """BatchNorm whose kept averages follow the net so slowly that eval mode has another net."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten())
        for fan_in in (in_features, 32, 32, 32):
            norm = nn.BatchNorm1d(32, momentum=0.001)
            self.layers.extend([nn.Linear(fan_in, 32), norm, nn.ReLU()])
            nn.init.normal_(self.layers[-3].weight, std=0.01)
        self.layers.append(nn.Linear(32, out_features))

    def forward(self, x):
        return self.layers(x)


class Streamed(torch.utils.data.Dataset):
    """A sound set that is read row by row."""

    def __len__(self):
        return 200

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return torch.randn(4, generator=generator) + 2 * (i % 2), i % 2
