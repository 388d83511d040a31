"""How fast dltrain trains, against loops written by hand and against every other framework that is installed.

python scripts/benchmark.py [--quick] [--mnist FOLDER] [--workloads W1 W2 W3 L1 startup] [--only NAME ...] [--out docs]
python scripts/benchmark.py --device cuda

Each contender has a process of its own, and they take turns. `pip install '.[bench]'` installs the frameworks; one
that is missing is named and left out. Exit code 1: a contender failed, or its loss is not that of the others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from speed import entries, picture, report, startup, workloads
from speed.conduct import Result, race
from speed.contender import Entry
from speed.workloads import Workload


def main() -> None:
    options = _options()
    contenders = _contenders(options)
    sections, shown = [], []
    for workload in _workloads(options):
        if workload is startup.WORKLOAD:
            results = startup.race(rounds=options.rounds, wanted=lambda name: _wanted(name, options))
        else:
            results = _race(workload, [e for e in contenders if workload.name in e.workloads], options)
        if results:
            sections.append((startup.table if workload is startup.WORKLOAD else report.table)(workload, results))
            shown.append((workload, results))
            print(f"\n{sections[-1]}\n", flush=True)
    if not shown:
        sys.exit("nothing was left to run")
    facts = report.machine(options.device) | {"command": report.command("benchmark", sys.argv[1:])}
    folder, name = options.out / "speed", options.name or report.kind(facts)
    written = report.write(folder, name, facts, sections, shown)
    written += [picture.draw(folder / f"{name}.png", shown), report.index(options.out)]
    print("wrote", *written)
    bad = [_bad(workload, results) for workload, results in shown]
    sys.exit(1 if any(bad) else 0)


def _race(workload: Workload, contenders: list[Entry], options: argparse.Namespace) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        workloads.prepare(workload, Path(folder), options.mnist)
        return race(workload, contenders, Path(folder), rounds=options.rounds, device=options.device)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="two small rounds, frameworks in one form: to see that all works"
    )
    parser.add_argument("--rounds", type=int, help="rounds that count; 3, or 2 with --quick")
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help="as W1 W2 startup; on a GPU G128 G8192")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only contenders whose name holds one of these")
    parser.add_argument("--step", nargs="+", metavar="STEP", help="values of trainer.step to time; else all")
    parser.add_argument("--threads", type=int, help="of every contender, in place of each workload's own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="of the IDX files; else clusters of that shape")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=Path("docs"), help="for speed.md and speed/")
    parser.add_argument("--name", help="of the files in speed/, without ending; else the kind of processor")
    options = parser.parse_args()
    if options.device == "cuda" and not _has_gpu():
        sys.exit("torch finds no CUDA device here, so there is nothing to time on a GPU")
    known = _known(options.device)
    if unknown := set(options.workloads or ()) - set(known):
        parser.error(f"no workload {', '.join(sorted(unknown))} on {options.device}; there are {', '.join(known)}")
    options.workloads = options.workloads or list(known)
    options.rounds = options.rounds or (2 if options.quick else 3)
    options.mnist = options.mnist.resolve() if options.mnist else None
    return options


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _known(device: str) -> dict[str, Workload]:
    if device == "cuda":
        return workloads.ON_GPU
    return workloads.WORKLOADS | {startup.WORKLOAD.name: startup.WORKLOAD}


def _workloads(options: argparse.Namespace) -> list[Workload]:
    chosen = [_known(options.device)[name] for name in options.workloads]
    if options.quick:
        chosen = [workloads.quick(w) if w is not startup.WORKLOAD else w for w in chosen]
    if options.threads:
        chosen = [replace(w, threads=options.threads) if w is not startup.WORKLOAD else w for w in chosen]
    return chosen


def _wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.only or any(text in name for text in options.only)


def _contenders(options: argparse.Namespace) -> list[Entry]:
    """Those asked for whose packages are installed."""
    from speed import dltrain_runs

    known = dltrain_runs.known("step")
    if unknown := set(options.step or ()) - set(known):
        sys.exit(f"trainer.step={', '.join(sorted(unknown))} is unknown; there are: {', '.join(known) or 'none'}")
    own = entries.dltrain(options.step or [step for step in known if step != "direct"])  # auto takes it by itself here
    kernels = entries.kernels([name for name in dltrain_runs.known("matmul") if name != "auto"])
    every = [*entries.HAND_WRITTEN, *own, *kernels, *entries.PEERS, *entries.FLOOR]
    wanted = [e for e in every if _wanted(e.name, options)]
    if options.quick and not options.only:
        wanted = [e for e in wanted if e.options.get("quiet", True)]  # of two forms the faster one
    if not wanted and not any(_wanted(name, options) for name in startup.COMMANDS):
        sys.exit(f"no contender is called so; there are: {', '.join(e.name for e in every)}")
    for entry in wanted:
        if entry.missing:
            print(f"{entry.name} is left out: {', '.join(entry.missing)} is not installed (pip install '.[bench]')")
    return [e for e in wanted if not e.missing]


def _bad(workload: Workload, results: list[Result]) -> bool:
    """Whether a contender failed or learned something else; each is named."""
    for r in results:
        if r.wrong_loss:
            print(f"{workload.name} {r.name}: its loss {r.loss:.4f} is not that of the others", file=sys.stderr)
    return any(r.wrong_loss or r.trouble for r in results)


if __name__ == "__main__":
    main()
