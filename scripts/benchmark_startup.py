"""How long a command takes to start, beside `python -c "import torch"`: each in turn, in a process of its own.

    OMP_NUM_THREADS=1 python scripts/benchmark_startup.py --repeats 7

The smallest run trains the default net on the digits for one epoch, with validation, log, TensorBoard and checkpoints.
Seconds of the processor count user and system time and hardly depend on what else the machine does; on a busy one
compare those, or the ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_DLTRAIN = "from dltrain.commands.cli import main; main()"
_RUN = ("trainer.epochs=1", "trainer.progress=false")
COMMANDS = {
    'python -c "import torch"': ["import torch"],
    "dltrain --help": [_DLTRAIN, "--help"],
    "dltrain list optimizer": [_DLTRAIN, "list", "optimizer"],
    "dltrain runs": [_DLTRAIN, "runs"],
    "a mistake: model.widthz=3": [_DLTRAIN, "model.widthz=3"],
    "a mistake: optimizer.lr=fast": [_DLTRAIN, "optimizer.lr=fast"],
    "a mistake: model.dropout=2": [_DLTRAIN, "model.dropout=2"],
    "the smallest run": [_DLTRAIN, *_RUN],
}


def seconds(code_and_arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds on the clock and of the processor, from the start of a process to its end."""
    begin, before = time.perf_counter(), os.times()
    command = [sys.executable, "-c", *code_and_arguments]
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    clock, after = time.perf_counter() - begin, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return clock, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeats + 1):
            for name, command in COMMANDS.items():
                one = seconds(command, Path(folder))
                if turn:  # the first turn fills the caches of files
                    taken[name].append(one)
    print(f"medians of {repeats}, in turns\n")
    print("| command | clock s | processor s | of `import torch` |\n| --- | ---: | ---: | ---: |")
    medians = {name: [statistics.median(part) for part in zip(*rows, strict=True)] for name, rows in taken.items()}
    torch = next(iter(medians.values()))
    for name, (clock, used) in medians.items():
        print(f"| `{name}` | {clock:.2f} | {used:.2f} | {clock / torch[0]:.2f}, {used / torch[1]:.2f} |")


if __name__ == "__main__":
    main()
