"""How much training a search takes to be as good as another: grid, random, tpe, and pruning of random and of tpe.

    python scripts/benchmark_search.py [--repeats 10] [--data digits] [--root FOLDER]

Each search is a sweep of 27 trials over rate, widths and batch size, as a command of its own, with another seed in each
repeat, of the nets and of what is drawn. The effort is counted in whole trainings, in the order of the ledger: a job
that is paused at 1/9 of its steps counts for 1/9. Two searches are compared at the worse of their best values, which
both have reached.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RATE = "optimizer.lr=tag(log,interval(1e-4,1))"
WORK = {
    "digits": ["trainer.epochs=9", "model.widths=[16],[64],[128]", "data.batch_size=16,64,256"],
    "california_housing": ["trainer.epochs=9", "model.widths=[16],[64],[128]", "data.batch_size=64,256,1024"],
}
SEARCHES = {
    "grid": ["optimizer.lr=1e-3,1e-2,1e-1"],
    "random": [RATE, "sweep=random", "sweep.trials=27"],
    "tpe": [RATE, "sweep=tpe", "sweep.trials=27"],
    "halving": [RATE, "sweep=random", "sweep.trials=27", "sweep.prune=halving"],
    "asha": [RATE, "sweep=random", "sweep.trials=27", "sweep.prune=asha"],
    "median": [RATE, "sweep=random", "sweep.trials=27", "sweep.prune=median"],
    "tpe and halving": [RATE, "sweep=tpe", "sweep.trials=27", "sweep.prune=halving"],
    "tpe and asha": [RATE, "sweep=tpe", "sweep.trials=27", "sweep.prune=asha"],
    "tpe and median": [RATE, "sweep=tpe", "sweep.trials=27", "sweep.prune=median"],
}
SHARES = (1 / 9, 1 / 3, 1.0)
LARGER = {"digits": True, "california_housing": False}

Curve = list[tuple[float, float]]  # after so many whole trainings, the best value so far; the larger the better


def searched(folder: Path, data: str, words: list[str], seed: int) -> Curve:
    """One sweep."""
    given = [f"data={data}", f"seed={seed}", *WORK[data], *words, "trainer.tensorboard=false", "trainer.threads=1"]
    if "sweep=random" in words or "sweep=tpe" in words:
        given.append(f"sweep.seed={seed}")
    command = [sys.executable, "-m", "dltrain", "-m", *given, f"runs_dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    (ledger,) = folder.glob("*/*/jobs.jsonl")
    effort, best, done, curve = 0.0, -float("inf"), {}, []
    for line in map(json.loads, ledger.read_text().splitlines()):
        if line["state"] not in ("done", "pruned", "diverged", "failed"):
            continue
        share = SHARES[line["rung"]] if line["state"] == "pruned" else SHARES[-1]
        effort += share - done.get(line["job"], 0.0)
        done[line["job"]] = share
        if (value := line.get("value")) is not None:
            best = max(best, value if LARGER[data] else -value)
        curve.append((effort, best))
    return curve


def reached(curve: Curve, value: float) -> float:
    """The effort after which a search is as good as that."""
    return next(effort for effort, best in curve if best >= value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--data", choices=[*WORK], default="digits")
    parser.add_argument("--root", help="of California housing")
    options = parser.parse_args()
    if options.root:
        WORK[options.data].append(f"data.root={Path(options.root).absolute()}")
    curves: dict[str, list[Curve]] = {name: [] for name in SEARCHES}
    for seed in range(options.repeats):
        for name, words in SEARCHES.items():
            with tempfile.TemporaryDirectory() as folder:
                curves[name].append(searched(Path(folder), options.data, words, seed))
    print(f"{options.data}, means of {options.repeats} repeats; effort in whole trainings")
    print("| search | effort in all | best value | effort of grid : its own, at the same value | of random : its own |")
    print("| --- | --- | --- | --- | --- |")
    for name, own in curves.items():
        effort = statistics.fmean(curve[-1][0] for curve in own)
        best = statistics.fmean(abs(curve[-1][1]) for curve in own)
        cells = []
        for other in ("grid", "random"):
            pairs = [(min(a[-1][1], b[-1][1]), a, b) for a, b in zip(own, curves[other], strict=True)]
            mine = statistics.fmean(reached(a, value) for value, a, _ in pairs)
            theirs = statistics.fmean(reached(b, value) for value, _, b in pairs)
            cells.append(f"{theirs:.1f} : {mine:.1f}")
        print(f"| {name} | {effort:.1f} | {best:.4g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
