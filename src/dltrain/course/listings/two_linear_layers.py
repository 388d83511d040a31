"""Two linear layers without an activation between them, in plain PyTorch."""

import torch

import dltrain

moons = dltrain.data.moons()
loader = dltrain.make_loader(moons.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Linear(32, 1))
loss_of = torch.nn.BCEWithLogitsLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

losses = []
for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
