"""Whether images read from files while training keep the step fed, and what memory that takes.

python scripts/benchmark_streaming.py [--images 3000] [--size 96] [--epochs 6]

Makes folders of JPEG files, then trains the same small net on them in memory (what the step could take), streamed
with data.workers=0, 1, 2 and auto, and on four times as many files. Each is a command of its own; the rate is the
median of the reports after the first epoch, and memory is the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image


def make_images(root: Path, count: int, size: int) -> None:
    """Two classes of smooth coloured pictures, stored larger than they are used, as photographs are."""
    random = np.random.default_rng(0)
    for i in range(count):
        folder = root / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        coarse[..., i % 2] //= 2
        picture = Image.fromarray(coarse).resize((2 * size, 2 * size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{i}.jpg", quality=90)


def train(root: Path, size: int, epochs: int, *overrides: str) -> tuple[float, float]:
    """Images a second, and MiB of the largest process."""
    with tempfile.TemporaryDirectory() as runs:
        command = [
            *(sys.executable, "-c", _MEASURED, "data=image_folder", f"data.root={root}", f"data.image_size={size}"),
            *("model.widths=[64]", f"trainer.epochs={epochs}", "trainer.tensorboard=false", "trainer.progress=false"),
            *(f"runs_dir={runs}", "name=streaming", *overrides),
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            sys.exit(done.stderr)
        (log,) = Path(runs).glob("*/*/metrics.jsonl")
        rates = [json.loads(line)["train/samples_per_s"] for line in log.read_text().splitlines()]
    return median(rates[1:]), float(done.stderr.splitlines()[-1])


_MEASURED = """
import resource, sys
from dltrain.commands import cli
try:
    cli.main(sys.argv[1:])
finally:
    who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    print(max(resource.getrusage(w).ru_maxrss for w in who) / 1024, file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        make_images(few, options.images, options.size)
        make_images(many, 4 * options.images, options.size)
        plans = {
            "in memory": (few, options.epochs, ["data.in_memory=true"]),
            **{
                f"streamed, data.workers={n}": (few, options.epochs, ["data.in_memory=false", f"data.workers={n}"])
                for n in (0, 1, 2, "auto")
            },
            "streamed, auto, four times the files": (many, 2, ["data.in_memory=false"]),
        }
        print(f"{options.images:,} JPEG files of {2 * options.size} pixels, used at {options.size}\n")
        print("| data | images/s | MiB |\n| --- | ---: | ---: |")
        for name, (root, epochs, overrides) in plans.items():
            rate, memory = train(root, options.size, epochs, *overrides)
            print(f"| {name} | {rate:,.0f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
