"""What a checkpoint of the MNIST MLP (784-512-256-10, AdamW) costs, and what saving at the default interval costs.

python scripts/benchmark_checkpoint.py [--folder FOLDER] [--saves 60]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from dltrain.engine.trainer import Trainer
from dltrain.parts.models import MLP
from dltrain.runs import checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to be measured")
    parser.add_argument("--saves", type=int, default=60)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = MLP(784, 10, widths=[512, 256])
    trainer = Trainer(model, nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), fused=True))
    batch = [(torch.randn(128, 784), torch.randint(0, 10, (128,)), torch.arange(128))]
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        stalls = [save(trainer, Path(root), batch) for _ in range(options.saves)]
    stalls.sort()
    median, high = statistics.median(stalls), stalls[int(0.95 * len(stalls))]
    print(f"{options.saves} saves with fsync: median {1e3 * median:.1f} ms, 95th percentile {1e3 * high:.1f} ms")
    print(f"at the default interval of 30 s: {median / 30:.3%} of the run")


def save(trainer: Trainer, folder: Path, batch: list) -> float:
    trainer.step(batch)
    begin = time.perf_counter()
    state = {"trainer": trainer.state_dict()}
    checkpoint.save(folder, step=trainer.steps, model=trainer.model.state_dict(), state=state)
    checkpoint.prune(folder, keep=checkpoint.find(folder)[-2:])
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
