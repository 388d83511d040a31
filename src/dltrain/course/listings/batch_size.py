"""Descent by one row, by 32 and by all rows a step, in plain PyTorch."""

from itertools import chain, count, islice

import torch

import dltrain

line = dltrain.data.linear(n=300_000, weights=[2.0], mean=1.0, noise=0.5, target_transform="none")
loss_of = torch.nn.MSELoss()

for batch_size, lr, steps in [(1, 0.01, 1500), (32, 0.1, 100), (len(line.train), 0.3, 40)]:
    loader = dltrain.make_loader(line.train, batch_size=batch_size, shuffle=True, seed=0)
    batches = chain.from_iterable(loader.epoch(epoch) for epoch in count())
    torch.manual_seed(0)
    net = torch.nn.Linear(1, 1)
    optim = torch.optim.SGD(net.parameters(), lr=lr)
    for x, y, _ in islice(batches, steps):
        loss = loss_of(net(x), y.view(-1, 1))
        optim.zero_grad()
        loss.backward()
        optim.step()
