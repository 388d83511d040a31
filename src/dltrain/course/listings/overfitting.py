"""A net that would learn by heart, and is stopped when its validation loss has not fallen for ten epochs."""

import torch

import dltrain

moons = dltrain.data.moons(1300, noise=0.4, val=200, test=1000)
loader = dltrain.make_loader(moons.train, batch_size=32, shuffle=True, seed=0)
((x_val, y_val, _),) = dltrain.make_loader(moons.val, batch_size=200).epoch()

torch.manual_seed(0)
layers = [torch.nn.Linear(2, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1)]
net = torch.nn.Sequential(*layers)
loss_of = torch.nn.BCEWithLogitsLoss()
optim = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

lowest, waited, epoch = float("inf"), 0, 0
while waited < 10:
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()
    with torch.no_grad():
        validation = loss_of(net(x_val).view(-1), y_val.float()).item()
    waited = 0 if validation < lowest else waited + 1
    lowest, epoch = min(lowest, validation), epoch + 1
