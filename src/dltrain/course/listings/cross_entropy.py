"""Softmax and cross-entropy held against their formulas, and the gradient against p - y, in plain PyTorch."""

import torch

import dltrain

digits = dltrain.data.digits()
loader = dltrain.make_loader(digits.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
loss_of = torch.nn.CrossEntropyLoss()  # softmax included: the net gives z
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(3):
    for x, y, _ in loader.epoch(epoch):
        z = net(x)
        z.retain_grad()
        loss = loss_of(z, y)
        optim.zero_grad()
        loss.backward()
        p, one_hot = torch.softmax(z, dim=1), torch.nn.functional.one_hot(y, 10)
        assert z.grad is not None
        assert torch.allclose(z.grad, (p - one_hot) / len(y), atol=1e-6)
        assert torch.allclose(loss, -torch.log(p[torch.arange(len(y)), y]).mean(), atol=1e-5)
        optim.step()
