"""The standard loop, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)
device = torch.device("cpu")  # or "cuda"

torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Flatten(),
    *(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.5)),
    *(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.5)),
    torch.nn.Linear(64, 10),
).to(device)
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(3):
    net.train()  # dropout is on, BatchNorm takes the batch's mean and variance
    for x, y, _ in loader.epoch(epoch):
        x, y = x.to(device), y.to(device)
        loss = loss_of(net(x), y)
        optim.zero_grad()  # or the gradients of all batches would add up
        loss.backward()
        optim.step()

net.eval()  # dropout is off, BatchNorm takes what it has seen on the way
with torch.no_grad():
    right = (net(digits.val.x).argmax(1) == digits.val.y).float().mean()
