"""fastai's Learner, with Adam's numbers set to those of torch."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import fastai.callback.progress  # noqa: F401 - gives Learner its bar, and `no_bar`
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.metrics import accuracy, accuracy_multi
from fastai.optimizer import Adam

from speed.contender import Contender
from speed.handwritten import criterion, dataset, load, network, weights
from speed.workloads import Task


class NoValidation(Callback):
    """Leaves validation out."""

    def before_validate(self):
        raise CancelValidException


def fit(task: Task, *, quiet: bool) -> Contender:
    """`learn.fit`; `quiet` leaves out bar, table, accuracy and validation."""
    w = task.workload
    train_set, val_set = dataset(task), dataset(task, val=True)
    loaders = DataLoaders(
        DataLoader(train_set, bs=w.batch, shuffle=True),
        DataLoader(val_set, bs=w.batch),
        device=torch.device(task.device),
    )
    model, adam = network(task), partial(Adam, mom=0.9, sqr_mom=0.999, eps=1e-8, wd=0.0)
    metrics = [] if quiet else [accuracy_single if w.loss == "bce" else accuracy]
    learn = Learner(loaders, model, loss_func=criterion(task), opt_func=adam, metrics=metrics, path=task.folder)

    def train() -> None:
        with ExitStack() as stack:
            if quiet:
                stack.enter_context(learn.no_bar())
                stack.enter_context(learn.no_logging())
            learn.fit(w.epochs, w.lr, wd=0.0, cbs=[NoValidation()] if quiet else None, reset_opt=True)

    return Contender(lambda: load(model, task), train, lambda: weights(model))


def accuracy_single(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of a single output by its sign."""
    return accuracy_multi(logits, y.unsqueeze(1), thresh=0.5, sigmoid=True)
