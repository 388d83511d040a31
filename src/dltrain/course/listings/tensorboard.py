"""A loop that writes for TensorBoard, in plain PyTorch."""

import tempfile

import torch
from torch.utils.tensorboard import SummaryWriter

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

with SummaryWriter(tempfile.mkdtemp()) as summary:  # a folder that stays: tensorboard --logdir FOLDER
    for epoch in range(3):
        net.train()
        total = 0.0
        for x, y, _ in loader.epoch(epoch):
            loss = loss_of(net(x), y)
            optim.zero_grad()
            loss.backward()
            optim.step()
            total += loss.item()
        summary.add_scalar("train/loss", total / len(loader), epoch)
