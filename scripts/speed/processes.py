"""Contenders that share each batch between processes, in turn, in the same processes: one epoch each, again and again.

torchrun --nproc-per-node=2 -m speed.processes WORKLOAD_FOLDER ROUNDS NAME ...

The first process writes JSON lines: a name, the seconds of an epoch, and those of processors, a process's mean.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from speed import workloads
from speed.handwritten import criterion, dataset, network, tensors
from speed.workloads import Task

Took = tuple[float, float]  # seconds by the clock, and of this process's processor
Epoch = Callable[[], Took]  # trains one


def by_hand(task: Task) -> Epoch:
    """DDP as one writes it who wants no time lost: tensors in memory, each process its rows of a permutation that all
    draw, fused Adam, no number read inside the epoch.
    """
    (x, y), loss_function, w = tensors(task), criterion(task), task.workload
    model = DistributedDataParallel(network(task))
    optimizer = torch.optim.Adam(model.parameters(), lr=w.lr, fused=True)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        losses = []
        for rows in torch.randperm(len(x), generator=generator).split(w.batch):
            own = rows.tensor_split(dist.get_world_size())[dist.get_rank()]
            optimizer.zero_grad()
            loss = loss_function(model(x.index_select(0, own)), y.index_select(0, own))
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()

    return _timed(epoch)


def dltrain(task: Task, step: Literal["direct", "plain"]) -> Epoch:
    """The trainer's loop, as a run of several processes has it, on the kernels that all others have."""
    from dltrain.data import Tensors
    from dltrain.data.loaders import make_loader
    from dltrain.engine import products
    from dltrain.engine.ranks import Ranks
    from dltrain.engine.trainer import Trainer
    from dltrain.parts.losses import CrossEntropy

    products.use("mkl")
    w, ranks, model = task.workload, Ranks(), network(task)
    loader = make_loader(Tensors(*tensors(task)), batch_size=w.batch, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=w.lr, fused=True)
    trainer = Trainer(model, CrossEntropy(), optimizer, step=step, ranks=ranks)

    def epoch() -> None:
        end = trainer.steps + len(loader)
        for _ in trainer.fit(loader, steps=end, report_every=end, eval_every=end):
            pass

    return _timed(epoch)


def accelerate(task: Task) -> Epoch:
    """Its tutorial's loop, of which no loss is read."""
    from accelerate import Accelerator

    accelerator, loss_function = Accelerator(cpu=True), criterion(task)
    assert accelerator.num_processes == dist.get_world_size()
    net = network(task)
    model, optimizer, loader = accelerator.prepare(
        net, torch.optim.Adam(net.parameters(), lr=task.workload.lr), _loader(task)
    )

    def epoch() -> None:
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(loss_function(model(x), y))
            optimizer.step()

    return _timed(epoch)


def lightning(task: Task) -> Epoch:
    """`Trainer(barebones=True)`, its own mode for measuring overhead. Two epochs, of which the second counts."""
    import logging
    import warnings

    import lightning as L

    from speed.peer_lightning import Module

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Timed(Module):
        """Notes when an epoch begins and ends."""

        def on_train_epoch_start(self) -> None:
            self.watch = _Watch()

        def on_train_epoch_end(self) -> None:
            self.took = self.watch.stop()

    module, loader = Timed(task, log=False), _loader(task)

    def epoch() -> Took:
        places = {"accelerator": "cpu", "strategy": "ddp", "devices": dist.get_world_size()}
        trainer = L.Trainer(barebones=True, max_epochs=2, default_root_dir=task.folder, **places)
        assert trainer.world_size == dist.get_world_size()
        trainer.fit(module, loader)
        return module.took

    return epoch


def _loader(task: Task) -> DataLoader[tuple[Tensor, ...]]:
    """The rows in batches of one process's share."""
    return DataLoader(dataset(task), batch_size=task.workload.batch // dist.get_world_size(), shuffle=True)


class _Watch:
    """Begins where all do, and ends where the last one has."""

    def __init__(self) -> None:
        dist.barrier()
        self._begin = time.perf_counter(), time.process_time()

    def stop(self) -> Took:
        own = time.process_time() - self._begin[1]  # who waits in a barrier may spin
        dist.barrier()
        return time.perf_counter() - self._begin[0], own


def _timed(work: Callable[[], object]) -> Epoch:
    def epoch() -> Took:
        watch = _Watch()
        work()
        return watch.stop()

    return epoch


def products(task: Task) -> Epoch:
    """The floor: forward and backward alone, of a process's rows, and no update."""
    (x, y), loss_function, model = tensors(task), criterion(task), network(task)
    rows = torch.arange(task.workload.batch // dist.get_world_size())
    batch = x.index_select(0, rows), y.index_select(0, rows)

    def epoch() -> None:
        for _ in range(task.workload.steps):
            nn.Module.zero_grad(model)
            loss_function(model(batch[0]), batch[1]).backward()

    return _timed(epoch)


CONTENDERS: dict[str, Callable[[Task], Epoch]] = {
    "DDP by hand": by_hand,
    "dltrain": partial(dltrain, step="direct"),
    "dltrain, step=plain (DDP)": partial(dltrain, step="plain"),
    "Accelerate": accelerate,
    "Lightning": lightning,
    "forward and backward alone": products,
}
NEEDS = {"Accelerate": "accelerate", "Lightning": "lightning"}


def main() -> None:
    """Each contender warms up by an epoch that does not count, then they take turns."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folder, rounds, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with tempfile.TemporaryDirectory(prefix="speed-") as own:
        os.chdir(own)
        task = workloads.read(folder, Path(own))
        epochs = {name: CONTENDERS[name](task) for name in names}
        for epoch in epochs.values():
            epoch()
        for _ in range(rounds):
            for name, epoch in epochs.items():
                gc.collect()
                seconds, own = epoch()
                dist.all_reduce(busy := torch.tensor(own, dtype=torch.float64))
                if dist.get_rank() == 0:
                    answer = [name, seconds, float(busy) / dist.get_world_size()]
                    print(json.dumps(answer), file=answers, flush=True)
        os.chdir("/")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
