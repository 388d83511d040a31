"""A contender's process: sets itself up once, then does a round at each line that it reads.

python -m speed.worker ENTRY_JSON WORKLOAD_FOLDER OWN_FOLDER DEVICE

Answers are JSON lines on the first standard output; whatever a library prints goes to standard error.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import re
import sys
import time
from pathlib import Path

from speed import workloads
from speed.contender import Contender, Entry


def main() -> None:
    entry = Entry(**json.loads(sys.argv[1]))
    folder, own, device = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task = workloads.read(folder, own, device)
    if entry.pin:  # before anything counts the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task.workload.threads])
    os.chdir(own)
    setup = getattr(importlib.import_module(f"speed.{entry.module}"), entry.function)
    contender = setup(task, **entry.options)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        answer = _round(contender, task, seconds=float(line))
        print(json.dumps(answer), file=answers, flush=True)


def _round(contender: Contender, task: workloads.Task, *, seconds: float) -> dict:
    """Trains from the first weights, again and again until so many seconds have gone by; the fastest time counts not
    more than the others: `seconds` is their mean.
    """
    took: list[float] = []
    while not took or sum(took) < seconds:
        contender.reset()
        gc.collect()
        begin = time.perf_counter()
        contender.train()
        took.append(time.perf_counter() - begin)
    weights = contender.weights()
    return {
        "seconds": sum(took) / len(took),
        "trainings": len(took),
        "loss": None if weights is None else workloads.loss(task, weights),
        "peak_mib": _peak_mib(),
    }


def _peak_mib() -> float | None:
    """The most memory that this process had; `getrusage` would count what its parent had when it made it."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else None


if __name__ == "__main__":
    main()
