"""A net of one's own and its training, in plain PyTorch: layers, forward, and that is all."""

import torch

import dltrain


class TwoLayers(torch.nn.Module):
    def __init__(self, in_features: int, out_features: int, width: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(in_features, width)
        self.act = torch.nn.Tanh()
        self.second = torch.nn.Linear(width, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.act(self.first(x)))


wave = dltrain.data.sine(frequency=0.5)
loader = dltrain.make_loader(wave.train, batch_size=128, shuffle=True, seed=0)

torch.manual_seed(0)
net = TwoLayers(1, 1, width=2)
loss_of = torch.nn.MSELoss()
optim = torch.optim.Adam(net.parameters(), lr=0.1, fused=True)

for epoch in range(5):
    for x, y, _ in loader.epoch(epoch):
        loss = loss_of(net(x).view(-1, 1), y.view(-1, 1))
        optim.zero_grad()
        loss.backward()
        optim.step()
