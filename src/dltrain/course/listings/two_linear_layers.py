"""Two linear layers without an activation between them, in plain PyTorch."""

import torch

import dltrain

moons = dltrain.data.moons()
loader = dltrain.make_loader(moons.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
first, second = torch.nn.Linear(2, 32), torch.nn.Linear(32, 1)
net = torch.nn.Sequential(first, second)
loss_of = torch.nn.BCEWithLogitsLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()

weight = second.weight @ first.weight  # the one layer that they are
bias = second.weight @ first.bias + second.bias
assert torch.allclose(net(x), x @ weight.T + bias, atol=1e-5)
