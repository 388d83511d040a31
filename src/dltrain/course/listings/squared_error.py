"""The digits by the squared error of sigmoid outputs and one-hot targets, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
loss_of = torch.nn.MSELoss()
optim = torch.optim.SGD(net.parameters(), lr=8)

for epoch in range(3):
    for x, y, _ in loader.epoch(epoch):
        one_hot = torch.nn.functional.one_hot(y, 10).float()
        loss = loss_of(torch.sigmoid(net(x)), one_hot)
        optim.zero_grad()
        loss.backward()
        optim.step()
