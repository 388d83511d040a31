"""Several optimizers on one net, from the same start and over the same batches, in plain PyTorch."""

from functools import partial

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=64, shuffle=True, seed=0)
loss_of = torch.nn.CrossEntropyLoss()

optimizers = {
    "sgd": partial(torch.optim.SGD, lr=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True),
    "adagrad": partial(torch.optim.Adagrad, lr=0.01),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3),
    "adam": partial(torch.optim.Adam, lr=1e-3, fused=True),
}
last_losses = {}
for name, make in optimizers.items():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optim = make(net.parameters())
    for epoch in range(3):
        for x, y, _ in loader.epoch(epoch):
            loss = loss_of(net(x), y)
            optim.zero_grad()
            loss.backward()
            optim.step()
            last_losses[name] = loss.item()
