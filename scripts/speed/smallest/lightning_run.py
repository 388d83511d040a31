"""The smallest whole run in Lightning: exclusive or, 400 points, five epochs."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    def training_step(self, batch, index):
        loss = nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


lightning.seed_everything(0)
x = torch.rand(400, 2) * 2 - 1
y = (x[:, 0] * x[:, 1] > 0).long()
net = Net()
loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
lightning.Trainer(max_epochs=5, accelerator="cpu", devices=1).fit(net, loader)
print((net.layers(x).argmax(1) == y).float().mean().item())
