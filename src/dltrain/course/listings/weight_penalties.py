"""A linear net with the L1 penalty on its weights, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits(val=200, test=1000)
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Linear(64, 10)
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=1.0)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x.flatten(1)), y) + 1e-3 * net.weight.abs().sum()
        optim.zero_grad()
        loss.backward()
        optim.step()
