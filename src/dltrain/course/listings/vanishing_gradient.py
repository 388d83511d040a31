"""Eight layers of sigmoids, and the gradient that reaches each, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)


def linear(fan_in: int, fan_out: int) -> torch.nn.Linear:
    layer = torch.nn.Linear(fan_in, fan_out)
    torch.nn.init.xavier_uniform_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    return layer


torch.manual_seed(0)
layers = [torch.nn.Flatten()]
for _ in range(8):
    layers += [linear(64, 64), torch.nn.Sigmoid()]
net = torch.nn.Sequential(*layers, linear(64, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(3):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()

sizes = [w.grad.norm() for w in net.parameters() if w.grad is not None and w.dim() == 2]  # layer by layer
