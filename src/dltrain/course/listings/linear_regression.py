"""One linear layer, a squared error and plain descent, in plain PyTorch."""

import torch

import dltrain

diabetes = dltrain.data.diabetes()
loader = dltrain.make_loader(diabetes.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Linear(10, 1)
loss_of = torch.nn.MSELoss()
optim = torch.optim.SGD(net.parameters(), lr=0.01)

losses = []
for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1, 1), y.view(-1, 1))
        optim.zero_grad()
        loss.backward()
        optim.step()
        losses.append(loss.item())
