"""Nets as a user may write them, some of which do more than pass a value from module to module."""

import os
import select
import signal

import torch
import torch.nn.functional as F
from torch import nn


class TwoLayers(nn.Module):
    """The first own module of a course: Linear, Tanh, Linear."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.one, self.act, self.two = nn.Linear(in_features, 5), nn.Tanh(), nn.Linear(5, out_features)

    def forward(self, x):
        return self.two(self.act(self.one(x)))


class Functional(TwoLayers):
    """Its non-linearity is a function, which no hook sees, and so is the last thing that it does."""

    def forward(self, x):
        return 2 * self.two(torch.sin(self.one(x)))


class Shared(nn.Module):
    """One layer that is used twice, and one activation that is, too."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.first, self.again = nn.Linear(in_features, 4), nn.Linear(4, 4)
        self.act, self.last = nn.Tanh(), nn.Linear(4, out_features)

    def forward(self, x):
        z = self.act(self.first(x))
        return self.last(self.act(self.again(self.act(self.again(z)))))


class Skipping(nn.Module):
    """A way round a layer, added in place; an activation in place."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(in_features, 4), nn.Linear(4, 4), nn.Linear(4, out_features)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        z = self.first(x)
        out = self.inner(z)
        out += z
        return self.last(self.relu(out))


class SmallCNN(nn.Module):
    """Convolution, ReLU, pooling, one linear layer."""

    def __init__(self, in_channels: int, out_features: int):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(in_channels, 2, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.flat, self.last = nn.Flatten(), nn.Linear(2 * 3 * 3, out_features)

    def forward(self, x):
        return self.last(self.flat(self.pool(self.relu(self.conv(x)))))


class Scaled(nn.Module):
    """A parameter that belongs to no known module."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(out_features, in_features))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return F.linear(x, self.weight) * self.scale


class Rows(nn.Module):
    """Layers that see each row of pixels for itself, before what they made is laid side by side."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.rows = nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 2))
        self.flat, self.out = nn.Flatten(), nn.Linear(16, out_features)

    def forward(self, x):
        return self.out(self.flat(self.rows(x)))


class Held(TwoLayers):
    """Stays in its fourth step for as long as there is a file `hold`, or until a signal comes."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training and x.device.type == "cpu"
        if self.calls > 3 and os.path.exists("hold"):
            woken, wakes = os.pipe()
            os.set_blocking(wakes, False)
            before = signal.set_wakeup_fd(wakes)
            while os.path.exists("hold") and not select.select([woken], [], [], 0.02)[0]:
                pass
            signal.set_wakeup_fd(before)
            os.close(woken)
            os.close(wakes)
        return super().forward(x)
