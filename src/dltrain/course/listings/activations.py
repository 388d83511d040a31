"""A hidden layer whose units answer with their sign, in plain PyTorch: its weights never move."""

import torch

import dltrain


class Sign(torch.nn.Module):
    def forward(self, a: torch.Tensor) -> torch.Tensor:
        return torch.sign(a)  # whose derivative is 0, as autograd has it


moons = dltrain.data.moons()
loader = dltrain.make_loader(moons.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
hidden, output = torch.nn.Linear(2, 12), torch.nn.Linear(12, 1)
net = torch.nn.Sequential(hidden, Sign(), output)
drawn = hidden.weight.clone()
loss_of = torch.nn.BCEWithLogitsLoss()
optim = torch.optim.SGD(net.parameters(), lr=0.1)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1), y.float())
        optim.zero_grad()
        loss.backward()
        optim.step()

assert torch.equal(hidden.weight, drawn)
