"""Whole sweeps against what people do instead, each a command of its own, and what a sweep of very many jobs costs.

    python scripts/benchmark_sweep.py [--rounds 3] [--before FOLDER] [--out docs]

The work: 128 jobs of digits, 64-64-10, 3 epochs (16 rates by 8 seeds) on all processors. Before: a checkout of an
earlier commit with an environment of its own in .venv, whose sweep runs the same jobs. What is simulated trains none:
it measures the ledger and the driver.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS = ["trainer.epochs=3", "model.widths=[64,64]"]
RATES = ",".join(f"{0.001 * (i + 1):.3f}" for i in range(16))
SEEDS = 8

TUTORIAL = """
import hydra, torch
from omegaconf import DictConfig
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg: DictConfig) -> float:
    torch.manual_seed(cfg.seed)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    train, val = random_split(data, [1437, 360], torch.Generator().manual_seed(0))
    loader = DataLoader(train, batch_size=32, shuffle=True)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(net.parameters(), lr=cfg.lr)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(3):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss_of(net(x), y).backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            right = sum((net(x).argmax(1) == y).sum().item() for x, y in DataLoader(val, batch_size=256))
    return right / len(val)

main()
"""

JOBLIB = """
import sys
from joblib import Parallel, delayed

def job(lr, seed):
    import dltrain
    run = dltrain.train("data=digits", "trainer.epochs=3", "model.widths=[64,64]", f"optimizer.lr={lr}", f"seed={seed}",
                        "trainer.threads=1", "trainer.progress=false")
    return run.metrics["best/accuracy"]

Parallel(n_jobs=2)(delayed(job)(lr, seed) for lr in sys.argv[1].split(",") for seed in range(int(sys.argv[2])))
"""

SIMULATION = """
import resource, sys, time
from pathlib import Path
from dltrain.runs import jobs as progress
from dltrain.sweeps.driver import Driver
from dltrain.sweeps.engines import Ended
from dltrain.sweeps.halving import Halving
from dltrain.sweeps.ledger import Ledger
from dltrain.sweeps.search import Trials
from dltrain.sweeps.slots import Slots
from dltrain.training.stop import Stop

TOLD = {"monitor": "val/accuracy", "loss": 1.0, "seconds": 0.1}
PRUNING = {
    "none": None,
    "halving": Halving((1 / 9, 1 / 3)),
    "asha": Halving((1 / 9, 1 / 3), at_once=True),
    "median": Halving((1 / 9, 1 / 3), factor=2, at_once=True, startup=5),
}[sys.argv[3]]

class Search:
    total = int(sys.argv[2])
    def trials(self, start):
        return ((f"optimizer.lr={n}", "data=digits", "trainer.epochs=3") for n in range(start, self.total))
    def tell(self, *_): pass

class Engine:
    def __init__(self): self.running = []
    def start(self, number, overrides, *, gpu=None, until=None):
        told = TOLD | {"state": "pruned" if until else "done", "value": number * 7919 % 10007 / 10007}
        self.running.append(Ended(number, told))
    def wait(self, seconds): found, self.running = self.running, []; return found
    def signal(self, number, job=None): pass

class Told:
    def recall(self, *_): pass
    def ended(self, *_): pass
    def tick(self, *_): pass

class Made:
    mistakes = ()
    def __init__(self, typed): self.values = {"typed": typed}

folder = Path(sys.argv[1])
begin = time.perf_counter()
ledger = Ledger(folder)
Driver(ledger, Engine(), Made, Slots(8, by_memory=False), Trials(Search()), Told(), Stop(), pruning=PRUNING).run()
took = time.perf_counter() - begin
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
begin = time.perf_counter()
states = progress.read(folder, []).states
assert states["done"] + states["pruned"] == Search.total
listed = time.perf_counter() - begin
begin = time.perf_counter()
assert Ledger(folder).next == Search.total
print(took, memory, (folder / "jobs.jsonl").stat().st_size, listed, time.perf_counter() - begin)
"""


def timed(words: list[str], folder: Path, **environment: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})
    wall = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr[-2000:]}")
    return wall, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def sweeps(python: str, module: str, *words: str) -> list[str]:
    return [python, "-m", module, "-m", *words]


def contenders(before: Path | None, folder: Path) -> dict[str, list[str]]:
    """What is timed, by name."""
    work = [*JOBS, f"optimizer.lr={RATES}", f"seeds={SEEDS}"]
    (folder / "tutorial.py").write_text(TUTORIAL)
    (folder / "config.yaml").write_text("lr: 0.001\nseed: 0\n")
    (folder / "parallel.py").write_text(JOBLIB)
    seeds = ",".join(map(str, range(SEEDS)))
    found = {
        "dltrain -m": sweeps(sys.executable, "dltrain", *work),
        "dltrain -m sweep.workers=1": sweeps(sys.executable, "dltrain", *work, "sweep.workers=1"),
        "one job": sweeps(sys.executable, "dltrain", *JOBS, "seeds=1"),
        "joblib, 2 processes, over dltrain.train": [sys.executable, "parallel.py", RATES, str(SEEDS)],
        "Hydra's basic launcher over the tutorial's loop": [
            *(sys.executable, "tutorial.py", "-m", f"lr={RATES}", f"seed={seeds}")
        ],
    }
    if before is not None:
        found["dltrain -m before"] = sweeps(str(before / ".venv/bin/python"), "dltrain.cli", *work)
    return found


def measured(rounds: int, before: Path | None) -> dict[str, dict[str, float]]:
    """Medians over interleaved rounds."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            for what, words in contenders(before, Path(name)).items():
                found.setdefault(what, []).append(timed(words, Path(name)))
                shutil.rmtree(Path(name) / "runs", ignore_errors=True)
                print(f"{what:50} {found[what][-1][0]:8.2f} s", file=sys.stderr, flush=True)
    return {
        what: {"wall": statistics.median(w for w, _ in times), "processor": statistics.median(c for _, c in times)}
        for what, times in found.items()
    }


def many(count: int) -> dict[str, float]:
    """Perceptrons of 2-1, one epoch each."""
    with tempfile.TemporaryDirectory() as name:
        words = ["data=xor", "model=perceptron", "trainer.epochs=1", "trainer.tensorboard=false", f"seeds={count}"]
        wall, processor = timed(sweeps(sys.executable, "dltrain", *words), Path(name))
    return {"wall": wall, "processor": processor}


def simulated(count: int, prune: str = "none") -> dict[str, float]:
    """The ledger and the driver over an engine that trains nothing."""
    with tempfile.TemporaryDirectory() as name:
        words = [sys.executable, "-c", SIMULATION, name, str(count), prune]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
    took, memory, size, listed, opened = map(float, done.stdout.split())
    return {"ms a job": took / count * 1e3, "MiB of memory": memory, "bytes a job": size / count} | {
        "ms to count": listed * 1e3,
        "ms to open": opened * 1e3,
    }


def main() -> None:
    """Prints the figures, and writes them as sweep.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["work", "many", "simulate"])
    given = parser.parse_args()
    found: dict[str, object] = {}
    if given.only in (None, "work"):
        found["128 jobs"] = measured(given.rounds, given.before)
    if given.only in (None, "many"):
        found["1,000 perceptrons"] = many(1_000)
    if given.only in (None, "simulate"):
        found["simulated"] = {f"{count:,}": simulated(count) for count in (1_000, 10_000, 100_000)}
        for prune in ("halving", "asha", "median"):
            found[f"simulated, {prune}"] = {f"{n:,}": simulated(n, prune) for n in (1_000, 10_000, 30_000)}
    text = json.dumps(found, indent=1)
    print(text)
    if given.out:
        (given.out / "sweep.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
