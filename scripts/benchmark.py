"""How fast dltrain trains, against loops written by hand and against every other framework that is installed.

python scripts/benchmark.py [--quick] [--mnist FOLDER] [--workloads W1 W2 W3] [--only NAME ...] [--out docs]

Each contender has a process of its own, and they take turns. `pip install '.[bench]'` installs the frameworks; one
that is missing is named and left out. Exit code 1: a contender failed, or its loss is not that of the others.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from speed import entries, picture, report, workloads
from speed.conduct import Result, race
from speed.contender import Entry


def main() -> None:
    options = _options()
    facts = report.machine() | {"command": shlex.join(["python", "scripts/benchmark.py", *sys.argv[1:]])}
    chosen = _workloads(options)
    contenders = _contenders(options)
    sections, numbers, failed, shown = [], {}, False, []
    for workload in chosen:
        own = [e for e in contenders if workload.name in e.workloads]
        if not own:
            continue
        with tempfile.TemporaryDirectory(prefix="speed-") as folder:
            workloads.prepare(workload, Path(folder), options.mnist)
            results = race(workload, own, Path(folder), rounds=options.rounds, device=options.device)
        sections.append(report.table(workload, results))
        numbers[workload.name] = report.as_numbers(workload, results)
        shown.append((workload, results))
        failed |= _bad(workload, results)
        print(f"\n{sections[-1]}\n", flush=True)
    written = report.write(options.out, options.name, facts, sections, {"workloads": numbers})
    written.append(picture.draw(options.out / f"{options.name}.png", shown))
    print("wrote", *written)
    sys.exit(1 if failed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small rounds, two of them: to see that all works")
    parser.add_argument("--rounds", type=int, help="rounds that count; 5, or 2 with --quick")
    parser.add_argument("--workloads", nargs="+", metavar="NAME", default=list(workloads.WORKLOADS))
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only contenders whose name holds one of these")
    parser.add_argument(
        "--step",
        nargs="+",
        metavar="STEP",
        default=["auto", "plain", "compiled"],
        help="values of trainer.step to run dltrain with",
    )
    parser.add_argument("--threads", type=int, help="of every contender, in place of each workload's own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="of the IDX files; else clusters of that shape")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=Path("docs"), help="for table, numbers, picture")
    parser.add_argument("--name", default="speed", help="of the files written, without ending")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(workloads.WORKLOADS)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(workloads.WORKLOADS)}")
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.mnist = options.mnist.resolve() if options.mnist else None
    return options


def _workloads(options: argparse.Namespace) -> list[workloads.Workload]:
    chosen = [workloads.WORKLOADS[name] for name in options.workloads]
    if options.quick:
        chosen = [workloads.quick(w) for w in chosen]
    if options.threads:
        chosen = [replace(w, threads=options.threads) for w in chosen]
    return chosen


def _contenders(options: argparse.Namespace) -> list[Entry]:
    """Those asked for whose packages are installed."""
    from speed.dltrain_runs import knows_steps

    steps = entries.dltrain(options.step if knows_steps() else [])
    every = [*entries.HAND_WRITTEN, *steps, *entries.PEERS, *entries.FLOOR]
    wanted = [e for e in every if not options.only or any(text in e.name for text in options.only)]
    if not wanted:
        sys.exit(f"no contender is called so; there are: {', '.join(e.name for e in every)}")
    for entry in wanted:
        if entry.missing:
            print(f"{entry.name} is left out: {', '.join(entry.missing)} is not installed (pip install '.[bench]')")
    left = [e for e in wanted if not e.missing]
    return left or sys.exit("nothing is left to run")


def _bad(workload: workloads.Workload, results: list[Result]) -> bool:
    """Whether a contender failed or learned something else; each is named."""
    for r in results:
        if r.wrong_loss:
            print(
                f"{workload.name} {r.name}: its loss is {r.loss:.4f}, which is not that of the others", file=sys.stderr
            )
    return any(r.wrong_loss or r.trouble for r in results)


if __name__ == "__main__":
    main()
