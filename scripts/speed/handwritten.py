"""Loops as a person writes them in torch, from the tutorial's to the fastest that is known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from speed.contender import Contender
from speed.workloads import Task


def network(task: Task) -> nn.Sequential:
    """The workload's net with its first weights."""
    layers: list[nn.Module] = []
    for i, o in zip(task.workload.widths, task.workload.widths[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(task.device)
    load(model, task)
    return model


def load(model: nn.Module, task: Task) -> None:
    """Puts the first weights into a net."""
    with torch.no_grad():
        for p, value in zip(model.parameters(), task.weights, strict=True):
            p.copy_(torch.from_numpy(value))


def weights(model: nn.Module) -> list[np.ndarray]:
    """A net's weights as the judge reads them."""
    return [p.detach().float().cpu().numpy().copy() for p in model.parameters()]


def criterion(task: Task) -> Callable[[Tensor, Tensor], Tensor]:
    """The mean loss of a batch."""
    if task.workload.loss == "bce":
        return lambda logits, y: F.binary_cross_entropy_with_logits(logits.squeeze(1), y)
    return F.cross_entropy


def tensors(task: Task) -> tuple[Tensor, Tensor]:
    """The training x and y on the device; the target of a single output is a float."""
    return tuple(t.to(task.device) for t in dataset(task).tensors)


def dataset(task: Task, *, val: bool = False) -> TensorDataset:
    """The same in the host's memory, where loaders read."""
    x, y = (task.x_val, task.y_val) if val else (task.x, task.y)
    target = torch.from_numpy(y)
    return TensorDataset(torch.from_numpy(x), target.float() if task.workload.loss == "bce" else target)


def tutorial(task: Task) -> Contender:
    """The loop of torch's own tutorials."""
    loader = DataLoader(dataset(task), batch_size=task.workload.batch, shuffle=True)
    return _loop(task, lambda: loader, tutorial_epoch)


def tutorial_epoch(model: nn.Module, loss_function, optimizer: torch.optim.Optimizer, loader: DataLoader) -> float:
    """One epoch of it; returns the mean loss of the batches."""
    total, device = 0.0, next(model.parameters()).device
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def batched_sampler(task: Task) -> Contender:
    """The same with a sampler that takes a whole batch from the tensors at once."""
    data = dataset(task)
    sampler = BatchSampler(RandomSampler(data), task.workload.batch, drop_last=False)
    loader = DataLoader(data, sampler=sampler, batch_size=None)
    return _loop(task, lambda: loader, tutorial_epoch)


def in_memory(task: Task) -> Contender:
    """No loader: a permutation and one gather a batch; fused Adam; no number is read inside the epoch."""
    x, y = tensors(task)
    return _loop(task, lambda: batches(x, y, task.workload.batch), _quiet_epoch, fused=True)


def batches(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled batches from tensors."""
    for rows in torch.randperm(len(x)).to(x.device).split(size):
        yield x.index_select(0, rows), y.index_select(0, rows)


def _quiet_epoch(model: nn.Module, loss_function, optimizer: torch.optim.Optimizer, loader) -> float:
    losses = []
    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).mean().item()


def _loop(task: Task, loader: Callable, epoch: Callable, **optimizer_options) -> Contender:
    model = network(task)

    def train() -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=task.workload.lr, **optimizer_options)
        for _ in range(task.workload.epochs):
            epoch(model, criterion(task), optimizer, loader())

    return Contender(lambda: load(model, task), train, lambda: weights(model))


def flat_buffers(task: Task) -> Contender:
    """Any module: parameters and gradients are views of two flat buffers, and Adam is called on one tensor."""
    model, (x, y), loss_function = network(task), tensors(task), criterion(task)
    flat, gradient = flatten(model)

    def train() -> None:
        optimizer = torch.optim.Adam([flat], lr=task.workload.lr, fused=True)
        for _ in range(task.workload.epochs):
            losses = []
            for xb, yb in batches(x, y, task.workload.batch):
                gradient.zero_()
                loss = loss_function(model(xb), yb)
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
            torch.stack(losses).mean().item()

    return Contender(lambda: load(model, task), train, lambda: weights(model))


def flatten(model: nn.Module) -> tuple[nn.Parameter, Tensor]:
    """One parameter and its gradient, of which a model's own are views from now on."""
    own = list(model.parameters())
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in own]))
    flat.grad = torch.zeros_like(flat)
    start = 0
    for p in own:
        part = slice(start, start + p.numel())
        p.data, p.grad = flat.data[part].view_as(p), flat.grad[part].view_as(p)
        start += p.numel()
    return flat, flat.grad
