"""Steps with momentum under one cycle of their rate, in plain PyTorch."""

import torch
from torch.optim.lr_scheduler import OneCycleLR

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=16, shuffle=True, seed=0)

torch.manual_seed(0)
layers = [torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)]
net = torch.nn.Sequential(torch.nn.Flatten(), *layers)
loss_of = torch.nn.CrossEntropyLoss()

nepoch, max_lr = 5, 0.16
optimizer = torch.optim.SGD(net.parameters(), lr=max_lr, momentum=0.9, fused=True)
scheduler = OneCycleLR(optimizer, max_lr=max_lr, steps_per_epoch=len(loader), epochs=nepoch)

losses = []
for epoch in range(nepoch):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
