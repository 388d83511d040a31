"""A Dataset of one's own and torch's DataLoader, with the order of each epoch from seed and epoch."""

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import dltrain
from dltrain.data import loaders


class Digits(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


train = dltrain.data.digits().train
rows = Digits(train.x, train.y)

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
loss_of = torch.nn.CrossEntropyLoss()
optim = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

for epoch in range(2):
    order = loaders.order(len(rows), seed=0, epoch=epoch)
    batches = [part.tolist() for part in order.split(32)]
    for x, y in DataLoader(rows, batch_sampler=batches):
        loss = loss_of(net(x), y)
        optim.zero_grad()
        loss.backward()
        optim.step()
