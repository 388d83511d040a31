"""Four layers with BatchNorm between each product and its tanh, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
layers = [torch.nn.Flatten()]
for fan_in in (64, 32, 32, 32):  # LayerNorm(32) instead: over the units of a row, not over the rows of a batch
    layers += [torch.nn.Linear(fan_in, 32), torch.nn.BatchNorm1d(32), torch.nn.Tanh()]
net = torch.nn.Sequential(*layers, torch.nn.Linear(32, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

net.train()  # each batch has its own mean and deviation; net.eval() takes their running averages
for epoch in range(3):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
