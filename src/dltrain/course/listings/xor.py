"""Two layers for exclusive or, in plain PyTorch."""

import torch

import dltrain

xor = dltrain.data.xor()
loader = dltrain.make_loader(xor.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
loss_of = torch.nn.BCEWithLogitsLoss()
optim = torch.optim.Adam(net.parameters(), lr=0.03, fused=True)

for epoch in range(20):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()

corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
answers = net(corners).view(-1) > 0  # False, True, True, False
