"""A net of one's own and its training, in plain PyTorch: layers, forward, and that is all."""

import torch

import dltrain


class TwoLayers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(10, 5)
        self.act = torch.nn.Tanh()
        self.second = torch.nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.act(self.first(x)))


diabetes = dltrain.data.diabetes()
loader = dltrain.make_loader(diabetes.train, batch_size=32, shuffle=True, seed=0)

torch.manual_seed(0)
net = TwoLayers()
loss_of = torch.nn.MSELoss()
optim = torch.optim.SGD(net.parameters(), lr=0.05)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1, 1), y.view(-1, 1))
        optim.zero_grad()
        loss.backward()
        optim.step()
