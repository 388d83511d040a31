"""Whether dltrain's cost per step and per row, and its memory, stay what they are as runs grow.

python scripts/benchmark_growth.py [--quick] [--rounds N] [--out docs]

Steps 1e3 to 1e6, rows 1e3 to 1e6, epochs 10 to 1,000 of a tiny net, each point a command of its own with everything
on. A cost is wall time between the first and the last record of a run, of epochs the second and the last, as its event
file has them. Exit code 1 when a cost or the memory of longer runs is not flat within 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from speed import report

FLAT = 0.05
_BATCH, _APART = 32, 500  # rows of a step; steps between records, so that records weigh the same at every size

_TURNS = 9  # of a round


@dataclass
class Point:
    """One size on one axis, and what its runs gave: seconds per unit, peak memory, drift within the run."""

    axis: str  # steps | rows | epochs
    size: int
    rows: int
    steps: int
    per_unit: int  # steps are judged by the step, rows by the row, epochs by the epoch
    repeats: int  # in a round: 1, 3 or 9
    microseconds: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    drift: list[float] = field(default_factory=list)  # last tenth of the run against its first


def points(largest: int) -> list[Point]:
    """All sizes up to `largest` (of epochs, up to a hundredth of it)."""
    tens = [10**k for k in range(3, 7) if 10**k <= largest]
    few = {1_000: _TURNS, 10_000: 3}  # short runs are noisy and cheap
    rows = _BATCH * _APART
    made = [Point("steps", n, rows, n, 1, few.get(n, 1)) for n in tens]
    passes = min(31_250, 4 * largest)  # a million rows in all
    made += [Point("rows", n, n, passes, _BATCH, 1) for n in tens]
    per_epoch = 64
    made += [
        Point("epochs", n, per_epoch * _BATCH, n * per_epoch, per_epoch, repeats)
        for n, repeats in ((10, _TURNS), (100, 3), (1000, 1))
        if n * 100 <= largest
    ]
    return made


def run(point: Point, folder: Path) -> None:
    """One run of a point: a command with validation, log, TensorBoard and checkpoints."""
    per_epoch = -(-point.rows // _BATCH)
    apart = 1 if point.axis == "epochs" else _APART / per_epoch
    words = [
        "data=blobs", f"data.n={point.rows + 2000}", "data.val=1000", "data.test=1000", f"data.batch_size={_BATCH}",
        "model.widths=[16]", f"trainer.max_steps={point.steps}", f"trainer.report_every={apart}",
        f"trainer.eval_every={apart}", "trainer.threads=1", f"runs_dir={folder}",
    ]  # fmt: skip
    code = "from dltrain.commands.cli import main; main()"
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=log, stderr=log, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {(folder / 'log.txt').read_text()[-500:]}")
    times = record_times(next(folder.glob("*/*/events.out.tfevents.*")))
    times = times[1:] if point.axis == "epochs" else times  # the first 128 steps warm up: 1.3 ms more, once
    (first, begin), (last, end) = times[0], times[-1]
    point.microseconds.append(1e6 * (end - begin) / (last - first) * (point.per_unit if point.axis == "epochs" else 1))
    if point.axis == "rows":
        point.microseconds[-1] /= _BATCH
    point.peak_mib.append(usage.ru_maxrss / 1024)
    if (tenth := len(times) // 10) > 1:
        head, tail = times[tenth][1] - times[0][1], times[-1][1] - times[-1 - tenth][1]
        point.drift.append(tail / head - 1)


def record_times(path: Path) -> list[tuple[int, float]]:
    """(step, wall time) of each record in an event file."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found = []
    for raw in RawEventFileLoader(str(path)).Load():
        event = Event.FromString(raw)
        if any(value.tag == "train/lr" for value in event.summary.value):
            found.append((event.step, event.wall_time))
    return found


def judge(axis: list[Point]) -> tuple[float, float]:
    """How far cost and memory spread over the sizes of an axis: largest over smallest, less one."""
    costs, peaks = ([median(getattr(p, name)) for p in axis] for name in ("microseconds", "peak_mib"))
    return max(costs) / min(costs) - 1, max(peaks) / min(peaks) - 1


def table(axis: list[Point]) -> str:
    """One axis as Markdown."""
    unit = axis[0].axis.removesuffix("s")
    lines = [
        f"### growth in {axis[0].axis}",
        "",
        f"| {axis[0].axis} | µs a {unit} | runs | last tenth against first | peak MiB |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for p in axis:
        drift = f"{median(p.drift):+.1%}" if p.drift else "-"
        cost, peak = median(p.microseconds), median(p.peak_mib)
        lines.append(f"| {p.size:,} | {cost:,.2f} | {len(p.microseconds)} | {drift} | {peak:,.0f} |")
    cost, memory = judge(axis)
    words = f"Cost is flat within {cost:.1%}, memory within {memory:.1%}"
    held = f" ({axis[-1].rows:,} rows of this data are {_held(axis[-1]):,.0f} MiB)." if axis[0].axis == "rows" else "."
    return "\n".join([*lines, "", words + held])


def _held(point: Point) -> float:
    return point.rows * (2 * 4 + 8) / 2**20  # two floats and a class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 1e4 steps and rows, one round")
    parser.add_argument("--rounds", type=int, help="runs of each long point; 3, or 1 with --quick")
    parser.add_argument("--largest", type=int, default=1_000_000, help="steps and rows of the largest point")
    parser.add_argument("--axes", nargs="+", choices=("steps", "rows", "epochs"), default=("steps", "rows", "epochs"))
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=Path("docs"))
    options = parser.parse_args()
    chosen = [p for p in points(10_000 if options.quick else options.largest) if p.axis in options.axes]
    for _ in range(options.rounds or (1 if options.quick else 3)):
        for turn in range(_TURNS):  # sizes take turns, since the machine's speed drifts
            for point in (p for p in chosen if turn % (_TURNS // p.repeats) == 0):
                with tempfile.TemporaryDirectory(prefix="speed-") as folder:
                    run(point, Path(folder))
        for point in chosen:
            print(f"{point.axis} {point.size:,}: {median(point.microseconds):,.2f} µs", flush=True)
    axes = [[p for p in chosen if p.axis == axis] for axis in options.axes]
    sections = [table(axis) for axis in axes]
    print("\n" + "\n\n".join(sections))
    facts = report.machine() | {"command": report.command("benchmark_growth", sys.argv[1:])}
    options.out.mkdir(parents=True, exist_ok=True)
    report.put(options.out / "growth.md", "Growth", "\n\n".join([report.head(facts), *sections]))
    numbers = {"machine": facts, "points": [asdict(p) for p in chosen]}
    (options.out / "growth.json").write_text(json.dumps(numbers, indent=1) + "\n")
    sys.exit(0 if all(_flat(axis) for axis in axes) else 1)


def _flat(axis: list[Point]) -> bool:
    """Rows are held in memory, so only the memory of longer runs must be flat."""
    cost, memory = judge(axis)
    return cost <= FLAT and (memory <= FLAT or axis[0].axis == "rows")


if __name__ == "__main__":
    main()
