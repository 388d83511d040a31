"""Lightning: as its first tutorial has it (logger, checkpoints, bar, validation), and with all of that off."""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
from torch.utils.data import DataLoader

from speed.contender import Contender
from speed.handwritten import criterion, dataset, load, network, weights
from speed.workloads import Task


class Module(lightning.LightningModule):
    """The workload's net as Lightning wants it."""

    def __init__(self, task: Task, *, log: bool) -> None:
        super().__init__()
        self.net, self.criterion, self.lr, self.logs = network(task), criterion(task), task.workload.lr, log

    def training_step(self, batch, index):
        x, y = batch
        loss = self.criterion(self.net(x), y)
        if self.logs:
            self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val/loss", self.criterion(self.net(x), y), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(task: Task, *, quiet: bool) -> Contender:
    """`quiet` is `Trainer(barebones=True)`, its own mode for measuring overhead, without validation."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    size = task.workload.batch
    train_loader = DataLoader(dataset(task), batch_size=size, shuffle=True)
    val_loader = DataLoader(dataset(task, val=True), batch_size=size)
    module = Module(task, log=not quiet)
    place = "gpu" if task.device == "cuda" else "cpu"
    common = {"max_epochs": task.workload.epochs, "accelerator": place, "devices": 1, "default_root_dir": task.folder}

    def train() -> None:
        if quiet:
            lightning.Trainer(barebones=True, **common).fit(module, train_loader)
        else:
            lightning.Trainer(**common).fit(module, train_loader, val_loader)

    return Contender(lambda: load(module.net, task), train, lambda: weights(module.net))
