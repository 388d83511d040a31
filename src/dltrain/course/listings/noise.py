"""Noise as the only parameter: AdamW under one cycle, until the net calls it a 3."""

import torch
from torch.optim.lr_scheduler import OneCycleLR

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
optim = torch.optim.Adam(net.parameters(), lr=3e-3, fused=True)
for epoch in range(10):
    for x, y, _ in loader.epoch(epoch):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()

net.requires_grad_(False)  # these are compared; `dltrain dream` does the rest, with those of the best epoch
noise = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
nepoch, max_lr = 1000, 5e-1
optimizer = torch.optim.AdamW([noise], lr=max_lr)
scheduler = OneCycleLR(optimizer, max_lr=max_lr, steps_per_epoch=1, epochs=nepoch)

losses = []
for _ in range(nepoch):
    rough = noise.diff(dim=2).square().sum() + noise.diff(dim=3).square().sum()
    loss = -net(noise)[0, 3] + 0.02 * noise.square().sum() + 0.15 * rough
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    noise.data.clamp_(0, 1)
    losses.append(loss.item())
