"""skorch, Ignite and Accelerate: the ones that wrap a torch loop thinly."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

from speed.contender import Contender
from speed.handwritten import criterion, dataset, load, network, weights
from speed.workloads import Task


def _loaders(task: Task) -> tuple[DataLoader, DataLoader]:
    size = task.workload.batch
    train = DataLoader(dataset(task), batch_size=size, shuffle=True)
    return train, DataLoader(dataset(task, val=True), batch_size=size)


def skorch(task: Task, *, quiet: bool) -> Contender:
    """`net.fit`; `quiet` leaves out its table, accuracy and validation."""
    from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    w, model = task.workload, network(task)
    binary = w.loss == "bce"
    kind = NeuralNetBinaryClassifier if binary else NeuralNetClassifier
    y, y_val = (a.astype("float32") if binary else a for a in (task.y, task.y_val))
    if quiet:
        more = {"train_split": None, "verbose": 0, "callbacks__valid_acc": None, "callbacks__print_log": None}
    else:
        more = {"train_split": predefined_split(Dataset(task.x_val, y_val))}
    net = kind(
        model,
        criterion=nn.BCEWithLogitsLoss if binary else nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=w.lr,
        batch_size=w.batch,
        max_epochs=w.epochs,
        iterator_train__shuffle=True,
        **more,
    )
    return Contender(lambda: load(model, task), lambda: net.fit(task.x, y), lambda: weights(model))


def ignite(task: Task, *, quiet: bool) -> Contender:
    """`create_supervised_trainer`; not quiet: a running average, and an evaluator after each epoch."""
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
    from ignite.metrics import Loss, RunningAverage

    w, model, loss_function = task.workload, network(task), criterion(task)
    train_loader, val_loader = _loaders(task)

    def train() -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=w.lr)
        trainer = create_supervised_trainer(model, optimizer, loss_function, device=task.device)
        if not quiet:
            RunningAverage(output_transform=lambda loss: loss).attach(trainer, "loss")
            evaluator = create_supervised_evaluator(model, metrics={"loss": Loss(loss_function)}, device=task.device)
            trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(val_loader))
        trainer.run(train_loader, max_epochs=w.epochs)

    return Contender(lambda: load(model, task), train, lambda: weights(model))


def accelerate(task: Task, *, quiet: bool) -> Contender:
    """Its tutorial's loop; `quiet` reads no loss and validates not."""
    from accelerate import Accelerator

    w, model, loss_function = task.workload, network(task), criterion(task)
    accelerator = Accelerator(cpu=task.device == "cpu")
    prepared, train_loader, val_loader = accelerator.prepare(model, *_loaders(task))

    def epoch(optimizer) -> None:
        prepared.train()
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = loss_function(prepared(x), y)
            accelerator.backward(loss)
            optimizer.step()
            if not quiet:
                loss.item()

    def validate() -> None:
        prepared.eval()
        losses = []
        with torch.no_grad():
            for x, y in val_loader:
                losses.append(accelerator.gather_for_metrics(loss_function(prepared(x), y)))
        torch.stack(losses).mean().item()

    def train() -> None:
        optimizer = accelerator.prepare(torch.optim.Adam(model.parameters(), lr=w.lr))
        for _ in range(w.epochs):
            epoch(optimizer)
            if not quiet:
                validate()

    return Contender(lambda: load(model, task), train, lambda: weights(model))
