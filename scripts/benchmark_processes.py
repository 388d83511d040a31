"""What a step costs that two processes share, against DDP by hand and against other frameworks; and what a start costs.

python scripts/benchmark_processes.py [--rounds 12] [--starts 5] [--nproc 2] [--python PYTHON] [--out FILE]

60,000 rows of 784 numbers, MLP 784-512-256-10, Adam, processes of one thread each, gloo. All contenders live in the
same processes and take turns, an epoch each, so that whatever else the machine does hits all: only ratios count. Beside
the clock's there are those of processor time, which others that work on the machine hardly change, but which does not
see who waits. Accelerate and Lightning are left out where they are not installed: `--python` names the interpreter of
an environment that has them, and dltrain's packages, as

    python -m venv --system-site-packages bench && bench/bin/pip install accelerate lightning

Starts are whole commands, in turn. Exit code 1: a bound that is promised does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from speed import report, workloads
from speed.processes import CONTENDERS, NEEDS

HAND = "DDP by hand"
Rounds = dict[str, dict[str, list[float]]]
_SCRIPTS = Path(__file__).parent
_MINIMAL = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
dist.destroy_process_group()
"""


def main() -> None:
    options = _options()
    workload = replace(
        workloads.WORKLOADS["W1"], name="processes", rows=options.rows, batch=options.batch, epochs=1, threads=1
    )
    with tempfile.TemporaryDirectory(prefix="speed-") as folder:
        workloads.prepare(workload, Path(folder), options.mnist)
        rounds = _race(options, Path(folder))
        starts = _starts(options, Path(folder)) if options.starts else {}
    facts = report.machine() | {"command": report.command("benchmark_processes", sys.argv[1:])}
    print(
        report.head(facts),
        _steps_table(rounds, workload.steps),
        *([_starts_table(starts)] if starts else []),
        sep="\n\n",
    )
    if options.out:
        numbers = {"machine": facts, "nproc": options.nproc, "batch": options.batch, "epochs": rounds, "starts": starts}
        options.out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    missed = _missed(rounds)
    print(*missed, sep="\n", file=sys.stderr)
    sys.exit(1 if missed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="an epoch of each contender")
    parser.add_argument("--starts", type=int, default=5, help="whole commands; 0 for none")
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024, help="rows of a step, of all processes together")
    parser.add_argument("--rows", type=int, default=60_000, help="of an epoch; fewer make shorter turns")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="only contenders whose name holds one of these")
    parser.add_argument("--python", default=sys.executable, help="that has Accelerate and Lightning")
    parser.add_argument("--mnist", type=Path, metavar="FOLDER", help="of the IDX files; else clusters of that shape")
    parser.add_argument("--out", type=Path, metavar="FILE", help="for all numbers, as JSON")
    return parser.parse_args()


def _race(options: argparse.Namespace, folder: Path) -> Rounds:
    """Seconds of each epoch by contender, of the clock and of processors."""
    names = [name for name in CONTENDERS if not options.only or any(text in name for text in options.only)]
    for name, package in NEEDS.items():
        found = subprocess.run([options.python, "-c", f"import {package}"], capture_output=True).returncode == 0
        if name in names and not found:
            print(f"{name} is left out: {options.python} has no {package}", file=sys.stderr)
            names.remove(name)
    command = [*_torchrun(options), "-m", "speed.processes", str(folder), str(options.rounds), *names]
    rounds: Rounds = {name: {"clock": [], "processor": []} for name in names}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment(options)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, clock, processor = json.loads(line)
            rounds[name]["clock"].append(clock)
            rounds[name]["processor"].append(processor)
            print(f"{name}: {clock:.2f} s, of a processor {processor:.2f}", file=sys.stderr, flush=True)
    if process.returncode:
        sys.exit("the processes that were timed have failed")
    return rounds


def _torchrun(options: argparse.Namespace) -> list[str]:
    return [options.python, "-m", "torch.distributed.run", f"--nproc-per-node={options.nproc}"]


def _environment(options: argparse.Namespace) -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return os.environ | threads | {"PYTHONPATH": str(_SCRIPTS)}


def _starts(options: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Seconds of whole commands, in turn: torch's own least, and a run of one step."""
    (folder / "minimal.py").write_text(_MINIMAL)
    run = ["-m", "dltrain", "trainer.max_steps=1", "trainer.progress=false"]
    commands = {
        "torchrun, nothing but a meeting": [*_torchrun(options), "minimal.py"],
        "torchrun -m dltrain": [*_torchrun(options), *run],
        f"dltrain --nproc {options.nproc}": [options.python, *run, "--nproc", str(options.nproc)],
        "dltrain --nproc 1": [options.python, *run, "--nproc", "1"],
        "dltrain": [options.python, *run],
    }
    took: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(options.starts + 1):  # the first warms the disk
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, cwd=folder, env=_environment(options), capture_output=True, check=True)
            if turn:
                took[name].append(time.perf_counter() - begin)
    return took


def _ratio(rounds: Rounds, name: str, to: str, kind: str = "clock") -> float:
    """The median over rounds of this one's time by the other's in the same round."""
    return median(a / b for a, b in zip(rounds[name][kind], rounds[to][kind], strict=True))


def _steps_table(rounds: Rounds, steps: int) -> str:
    lines = [
        "| contender | least µs/step | median | by hand = 1: rounds | least | processor, µs/step | by hand = 1 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, took in sorted(rounds.items(), key=lambda item: median(item[1]["processor"])):
        clock, processor = took["clock"], took["processor"]
        ratios = ["", "", ""]
        if HAND in rounds:
            least = min(clock) / min(rounds[HAND]["clock"])
            ratios = [f"{r:.3f}" for r in (_ratio(rounds, name, HAND), least, _ratio(rounds, name, HAND, "processor"))]
        times = [f"{1e6 * t / steps:,.0f}" for t in (min(clock), median(clock), median(processor))]
        lines.append(f"| {' | '.join([name, *times[:2], *ratios[:2], times[2], ratios[2]])} |")
    return "\n".join(lines)


def _starts_table(starts: dict[str, list[float]]) -> str:
    lines = ["| command | least seconds | median |", "| --- | ---: | ---: |"]
    return "\n".join(lines + [f"| {name} | {min(s):.2f} | {median(s):.2f} |" for name, s in starts.items()])


def _missed(rounds: Rounds) -> list[str]:
    """What is promised of a step and does not hold, by the median over rounds."""
    bounds = [(HAND, 1.05), *((name, 1.0) for name in NEEDS)]
    own = [name for name in ("dltrain", "dltrain, step=plain (DDP)") if name in rounds]
    return [
        f"{name} takes {ratio:.3f} of {other}, and {most:g} is the most"
        for name in own
        for other, most in bounds
        if other in rounds and (ratio := _ratio(rounds, name, other)) > most
    ]


if __name__ == "__main__":
    main()
