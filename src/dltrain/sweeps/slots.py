"""How many jobs run at once, and which GPU each has: by processors, memory and GPUs that this process may use."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dltrain.errors import system
from dltrain.errors.system import free_memory

_JOB = 0.5 * 2**30  # bytes that a job takes, until one has shown it
_SHARED = 0.2 * 2**30  # bytes of them that jobs have from the process that forked them
_ELSEWHERE = 100  # jobs that a cluster is given at once: it has a queue of its own


@dataclass
class Slots:
    """Room for jobs. most: how many at once; gpus: one for each job, where there are any to share out."""

    most: int
    gpus: list[str] = field(default_factory=list)
    by_memory: bool = True  # whether fewer run where memory is short
    offered: Callable[[], int | None] = lambda: None  # for how many a cluster has room now, where it says
    _taken: dict[int, str] = field(default_factory=dict)
    _largest: float = _JOB

    def free(self, running: int) -> bool:
        """Whether one more job may start."""
        if running >= (self.offered() or self.most):
            return False
        return running == 0 or not self.by_memory or free_memory() > self._largest

    def take(self, job: int) -> str | None:
        """The GPU that a job is to see; None: all of them."""
        if not self.gpus:
            return None
        used = [*self._taken.values()]
        self._taken[job] = min(self.gpus, key=used.count)
        return self._taken[job]

    def give_back(self, job: int, *, memory: int) -> None:
        """A job has ended, and took so many bytes at most."""
        self._taken.pop(job, None)
        self._largest = max(self._largest, memory - _SHARED)


def slots(workers: int | str, *, device: str, elsewhere: bool = False) -> Slots:
    """Those for `sweep.workers`, where jobs run on this device: auto, cpu, cuda, ... elsewhere: on other machines."""
    if elsewhere:
        return Slots(_ELSEWHERE if workers == "auto" else int(workers), by_memory=False)
    gpus = [] if device not in ("auto", "cuda") else visible_gpus()
    if workers != "auto":
        return Slots(int(workers), gpus if int(workers) > 1 else [], by_memory=False)
    return Slots(len(gpus) if gpus else int(min(system.processors(), _quota())), gpus)


def visible_gpus() -> list[str]:
    """NVIDIA's GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes. Nothing is initialised."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        named = [name.strip() for name in given.split(",")]
        return [name for name in named if re.fullmatch(r"[0-9]+|(GPU|MIG)-[\w/-]+", name)]
    with suppress(OSError):
        return [str(i) for i, _ in enumerate(Path("/proc/driver/nvidia/gpus").iterdir())]
    return []


def _quota() -> float:
    """Processors that a container's limit allows; infinite without one."""
    with suppress(OSError, ValueError):  # cgroup v2
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1.0, int(most) / int(period))
    with suppress(OSError, ValueError):
        folder = Path("/sys/fs/cgroup/cpu")
        most, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
        return max(1.0, int(most) / int(period)) if int(most) > 0 else math.inf
    return math.inf
