"""Two epochs, a checkpoint, and two more by a net and an optimizer that are made anew, in plain PyTorch."""

import io

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)
loss_of = torch.nn.CrossEntropyLoss()


def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return net, torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)


def train(net: torch.nn.Module, optim: torch.optim.Optimizer, epochs: range) -> None:
    for epoch in epochs:
        for x, y, _ in loader.epoch(epoch):
            loss = loss_of(net(x), y)
            optim.zero_grad()
            loss.backward()
            optim.step()


torch.manual_seed(0)
net, optim = made()
train(net, optim, range(2))

file = io.BytesIO()  # or the path of a file
torch.save({"epoch": 2, "net": net.state_dict(), "optim": optim.state_dict()}, file)

net, optim = made()  # another process, another day
file.seek(0)
checkpoint = torch.load(file, weights_only=True)
net.load_state_dict(checkpoint["net"])
optim.load_state_dict(checkpoint["optim"])
train(net, optim, range(checkpoint["epoch"], 4))
