"""The net 2-2-1 on one example, in plain PyTorch; the first gradient is also written out by the chain rule."""

import torch

x, y = torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0]])
hidden, output = torch.nn.Linear(2, 2), torch.nn.Linear(2, 1)
net = torch.nn.Sequential(hidden, torch.nn.Tanh(), output, torch.nn.Sigmoid())
with torch.no_grad():
    hidden.weight.copy_(torch.tensor([[0.1, 0.2], [-0.3, 0.4]]))
    hidden.bias.copy_(torch.tensor([0.1, -0.1]))
    output.weight.copy_(torch.tensor([[0.5, -0.6]]))
    output.bias.copy_(torch.tensor([0.2]))

z1 = torch.tanh(hidden(x))
answer = torch.sigmoid(output(z1))
delta2 = 2 * (answer - y) * answer * (1 - answer)
delta1 = delta2 @ output.weight * (1 - z1**2)
by_hand = delta1.T @ x

optim = torch.optim.SGD(net.parameters(), lr=0.5)
for step in range(100):
    loss = torch.nn.functional.mse_loss(net(x), y)
    optim.zero_grad()
    loss.backward()
    if step == 0 and hidden.weight.grad is not None:
        assert torch.allclose(hidden.weight.grad, by_hand)
    optim.step()
