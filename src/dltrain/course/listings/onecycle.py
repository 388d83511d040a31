"""AdamW under one cycle of its rate, in plain PyTorch."""

import torch
from torch.optim.lr_scheduler import OneCycleLR

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=16, shuffle=True, seed=0)

torch.manual_seed(0)
layers = [
    torch.nn.Linear(64, 256),
    torch.nn.ReLU(),
    torch.nn.Linear(256, 128),
    torch.nn.ReLU(),
    torch.nn.Linear(128, 10),
]
net = torch.nn.Sequential(torch.nn.Flatten(), *layers)
loss_of = torch.nn.CrossEntropyLoss()

nepoch, max_lr = 3, 1e-2
weights, biases = ([p for p in net.parameters() if (p.dim() > 1) == wanted] for wanted in (True, False))
groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]  # dltrain never decays biases
optimizer = torch.optim.AdamW(groups, lr=max_lr, weight_decay=0.01, fused=True)
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
