"""A line of one weight and one bias, and its way in the plane of both, in plain PyTorch."""

import torch

import dltrain

points = dltrain.data.linear(100, weights=[1.5], bias=-1.0, mean=2.0, noise=0.5, target_transform="none")
loader = dltrain.make_loader(points.train, batch_size=len(points.train), shuffle=True, seed=0)

net = torch.nn.Linear(1, 1)
torch.nn.init.zeros_(net.weight)
torch.nn.init.zeros_(net.bias)
loss_of = torch.nn.MSELoss()
optim = torch.optim.SGD(net.parameters(), lr=0.05)

way = [(0.0, 0.0)]
for epoch in range(400):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
        way.append((net.weight.item(), net.bias.item()))
