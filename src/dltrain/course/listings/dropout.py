"""A net whose hidden units are dropped by chance while it trains, in plain PyTorch."""

import torch
from torch import nn

import dltrain

moons = dltrain.data.moons(1300, noise=0.4, val=200, test=1000)
loader = dltrain.make_loader(moons.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
first, second = (nn.Linear(2, 256), nn.ReLU(), nn.Dropout(0.5)), (nn.Linear(256, 256), nn.ReLU(), nn.Dropout(0.5))
net = nn.Sequential(*first, *second, nn.Linear(256, 1))
loss_of = nn.BCEWithLogitsLoss()
optim = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

net.train()  # units are dropped; net.eval() has them all
for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()
