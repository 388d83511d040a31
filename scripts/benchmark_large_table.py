"""What a table that is larger than memory takes: time and memory of the first start and the second, and its steps.

python scripts/benchmark_large_table.py FOLDER [--gigabytes 3] [--steps 3000] [--group /sys/fs/cgroup/...]

Makes a CSV file of 20 numbers a row in FOLDER (once; its cache lies there, too, and takes as much again), and trains
the default net on it, each time as a command of its own: a first start, a second, some steps, a resume, and the same
steps with all rows copied into memory before them. "private" is what the process has for itself (Private of
smaps_rollup), "anonymous" that without the pages of files, which the system can take back. `--group` names a control
group, with the limit that you gave it, in which the commands run. A Parquet file of 1,000,000 rows, held in memory, is
trained for one epoch at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

_ROWS = 400_000  # that are drawn at a time

_MEASURED = """
import sys, time
begin = time.perf_counter()
import torch
took = time.perf_counter() - begin
from dltrain.commands import cli
from dltrain.data.tables import kept
from dltrain.engine.trainer import Trainer
begun, fit = [], Trainer.fit
def noted(*given, **options):
    begun.append(time.perf_counter() - begin - took)
    return fit(*given, **options)
Trainer.fit = noted
if sys.argv.pop(1) == "copied":
    mapped = kept._tensor
    kept._tensor = lambda *given: mapped(*given).clone()
try:
    cli.main(sys.argv[1:])
finally:
    print(took, *begun[:1], file=sys.stderr)
"""


def draw(random: np.random.Generator, rows: int) -> pl.DataFrame:
    """19 numbers a row and one that depends on them."""
    x = random.standard_normal((rows, 19))
    y = x @ np.linspace(-1, 1, 19) + np.sin(3 * x[:, 0]) + 0.3 * random.standard_normal(rows)
    return pl.DataFrame({**{f"x{i}": x[:, i] for i in range(19)}, "y": y})


def make_csv(path: Path, size: float) -> None:
    random, made = np.random.default_rng(0), 0
    with path.with_suffix(".part").open("wb") as file:
        while made < size:
            text = draw(random, _ROWS).write_csv(include_header=not made, float_precision=6)
            made += file.write(text.encode())
    path.with_suffix(".part").rename(path)


def run(folder: Path, group: Path | None, how: str, *words: str) -> dict[str, float]:
    """Seconds beyond torch's import, of all and before the first step, and GB at the most, of a command."""

    def enter() -> None:
        if group:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    begin = time.perf_counter()
    command = [sys.executable, "-c", _MEASURED, how, *words]
    environment = os.environ | {"DLTRAIN_CACHE": str(folder / "cache")}
    with (folder / "err.txt").open("w") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=errors, stdout=errors, preexec_fn=enter)
        peak = {"private": 0.0, "anonymous": 0.0}
        while process.poll() is None:
            try:
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:
                continue
            found = {line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines}
            now = {"private": found["Private_Clean"] + found["Private_Dirty"], "anonymous": found["Anonymous"]}
            peak = {key: max(peak[key], now[key]) for key in peak}
            time.sleep(0.1)
    told = (folder / "err.txt").read_text()
    if process.returncode:
        sys.exit(told)
    imported, before = map(float, told.splitlines()[-1].split())
    return {"seconds": time.perf_counter() - begin - imported, "before": before, **peak}


def last(folder: Path) -> Path:
    return max(folder.glob("runs/*/*/metrics.jsonl"), key=lambda path: path.stat().st_mtime)


def rate(folder: Path) -> float:
    """Steps a second, the median of the reports of the last run but its first."""
    found = [json.loads(line) for line in last(folder).read_text().splitlines()]
    rates = [line["train/samples_per_s"] for line in found if "train/samples_per_s" in line]
    return median(rates[1:] or rates) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--group", type=Path)
    given = parser.parse_args()
    folder = given.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"large-{given.gigabytes:g}.csv"
    if not path.exists():
        make_csv(path, given.gigabytes * 1e9)
    common = [
        "data=table",
        "data.target=y",
        "data.batch_size=1024",
        "trainer.tensorboard=false",
        "trainer.progress=false",
    ]
    large = [*common, f"data.path={path}", "data.on_disk=true", "trainer.report_every=0.02"]
    some = [*large, f"trainer.max_steps={given.steps}", f"trainer.schedule_steps={2 * given.steps}"]
    print(f"{path.stat().st_size / 1e9:.2f} GB of CSV")
    for name, group, how, words in (
        ("first start, one step", given.group, "mapped", [*large, "trainer.max_steps=1"]),
        ("second start, one step", given.group, "mapped", [*large, "trainer.max_steps=1"]),
        (f"{given.steps:,} steps, mapped", given.group, "mapped", some),
        ("resumed for one step", given.group, "mapped", ["resume", "last", f"trainer.max_steps={given.steps + 1}"]),
        (f"{given.steps:,} steps, copied into memory", None, "copied", some),
    ):
        took = run(folder, group, how, *words)
        steps = f", {rate(folder):,.0f} steps/s" if "steps" in name and "one" not in name else ""
        memory = f"private {took['private']:.2f} GB, anonymous {took['anonymous']:.2f} GB"
        print(f"{name:34} {took['before']:7.1f} s to the first step, {took['seconds']:.1f} in all  {memory}{steps}")
    small = folder / "small.parquet"
    draw(np.random.default_rng(1), 1_000_000).write_parquet(small)
    took = run(folder, None, "mapped", *common, f"data.path={small}", "trainer.epochs=1")
    print(f"{'1,000,000 rows of Parquet, an epoch':34} {took['seconds']:7.1f} s  private {took['private']:.2f} GB")


if __name__ == "__main__":
    main()
