"""Three labels at once, a sigmoid and a binary cross-entropy for each, in plain PyTorch."""

import torch

import dltrain

points = dltrain.data.multilabel()
loader = dltrain.make_loader(points.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
hidden, output = torch.nn.Linear(2, 64), torch.nn.Linear(64, 3)
net = torch.nn.Sequential(hidden, torch.nn.ReLU(), output)
loss_of = torch.nn.BCEWithLogitsLoss()  # its mean is over the labels, too
optim = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):  # y [B, 3]: each label 0 or 1
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()

held = net(x) > 0  # [B, 3]: where the sigmoid is above 1/2
