"""A gradient that is cut to a norm of 1 before each step, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)


def linear(fan_in: int, fan_out: int) -> torch.nn.Linear:
    layer = torch.nn.Linear(fan_in, fan_out)
    torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    torch.nn.init.zeros_(layer.bias)
    return layer


torch.manual_seed(0)
layers = [torch.nn.Flatten()]
for _ in range(4):
    layers += [linear(64, 64), torch.nn.ReLU()]
net = torch.nn.Sequential(*layers, linear(64, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=1.0)

norms = []
for epoch in range(3):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)  # gives the norm before
        optim.step()
        norms.append(norm.item())
