"""A net that would learn by heart, and is stopped when its validation loss has not fallen for ten epochs."""

from copy import deepcopy

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

lowest, waited, epoch, kept = float("inf"), 0, 0, deepcopy(net.state_dict())
while waited < 10:
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()
    with torch.no_grad():
        validation = loss_of(net(x_val).view(-1), y_val.float()).item()
    epoch, waited = epoch + 1, waited + 1
    if validation < lowest:
        lowest, waited, kept = validation, 0, deepcopy(net.state_dict())  # a copy: net goes on learning

best = deepcopy(net)
best.load_state_dict(kept)  # the net to use; `net` has the weights of ten epochs later
