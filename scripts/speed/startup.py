"""The smallest whole run of each framework, timed as a process from start to finish: mostly imports and set-up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from speed.conduct import Result
from speed.workloads import Workload

_PROGRAMS = Path(__file__).parent / "smallest"
_XOR = [
    "data=xor",
    "model.widths=[16]",
    "data.batch_size=32",
    "trainer.epochs=5",
    "optimizer=adam",
    "optimizer.lr=0.01",
]
_DLTRAIN = ["-c", "from dltrain.commands.cli import main; main()"]
WORKLOAD = Workload(
    "startup", "smallest whole run, start to finish", (2, 16, 2), 400, 0, 32, 5, 1, 1e-2, 0.0, "bare torch"
)
COMMANDS: dict[str, tuple[str, tuple[str, ...], list[str], dict[str, str]]] = {  # kind, needs, arguments, environment
    "python -c 'import torch'": ("floor", (), ["-c", "import torch"], {}),
    "bare torch": ("hand-written", (), [str(_PROGRAMS / "raw_torch.py")], {}),
    "dltrain": ("dltrain", (), [*_DLTRAIN, *_XOR], {}),
    "Lightning": ("peer", ("lightning",), [str(_PROGRAMS / "lightning_run.py")], {}),
    "Keras on torch": ("peer", ("keras",), [str(_PROGRAMS / "keras_run.py")], {"KERAS_BACKEND": "torch"}),
    "Keras on JAX": ("peer", ("keras", "jax"), [str(_PROGRAMS / "keras_run.py")], {"KERAS_BACKEND": "jax"}),
}


def race(*, rounds: int, wanted: Callable[[str], bool], threads: int = 1) -> list[Result]:
    """Seconds of each, in turn; a first round warms the disk and does not count."""
    results = {}
    for name, (kind, needs, _, _) in COMMANDS.items():
        if wanted(name) and all(find_spec(package) for package in needs):
            results[name] = Result(name, kind)
    for turn in range(rounds + 1):
        for name, result in results.items():
            if result.trouble:
                continue
            _, _, arguments, environment = COMMANDS[name]
            seconds, trouble = _run(arguments, environment | {"OMP_NUM_THREADS": str(threads)})
            result.trouble = trouble
            if turn and not trouble:
                result.microseconds.append(1e6 * seconds)
    return list(results.values())


def _run(arguments: list[str], environment: dict[str, str]) -> tuple[float, str | None]:
    folder = tempfile.mkdtemp(prefix="speed-")  # not a `with`: its removal is not part of the time
    try:
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=os.environ | environment, capture_output=True, text=True
        )
        seconds = time.perf_counter() - begin
    finally:
        shutil.rmtree(folder)
    return seconds, (done.stderr.strip().splitlines() or ["failed"])[-1][:300] if done.returncode else None


def table(workload: Workload, results: list[Result]) -> str:
    """The results as Markdown, fastest first."""
    lines = [
        f"### {workload.name}: {workload.title}",
        "",
        "Exclusive or, 400 points, MLP 2-16-2, five epochs; dltrain also writes its run folder and judges its best "
        "weights.",
        "",
        f"| program | seconds | of {workload.reference} |",
        "| --- | ---: | ---: |",
    ]
    bare = next((r for r in results if r.name == workload.reference), None)
    for r in sorted((r for r in results if r.median), key=lambda r: r.median):
        name = f"**{r.name}**" if r.kind == "dltrain" else r.name
        share = r.ratio(bare)
        lines.append(f"| {name} | {r.median / 1e6:.2f} | {'-' if share is None else f'{share:.2f}'} |")
    lines += [f"| {r.name} | failed: {r.trouble} | |" for r in results if r.trouble]
    return "\n".join(lines)
