"""How many jobs run at once, and which GPU each has: by processors, memory and GPUs that this process may use."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from dltrain.errors import system
from dltrain.errors.system import free_memory

_UNKNOWN, _LEAST = 2**30, 0.25 * 2**30  # bytes that a job is to have, until one has shown what it takes; then at least
_SHARED = 0.2 * 2**30  # bytes that jobs have from the process that forked them
_GROWS = 10.0  # seconds until what a job takes is seen in what is free
_ELSEWHERE = 100  # jobs that a cluster is given at once: it has a queue of its own


@dataclass
class Slots:
    """Room for jobs. most: how many at once; gpus: one for each job, where there are any to share out."""

    most: int
    gpus: list[str] = field(default_factory=list)
    by_memory: bool = True  # whether fewer run where memory is short
    offered: Callable[[], int | None] = lambda: None  # for how many a cluster has room now, where it says
    _taken: dict[int, str] = field(default_factory=dict)
    _begun: dict[int, float] = field(default_factory=dict)  # when each job was started
    _largest: float = 0.0  # that a job has shown to take

    def free(self, running: int) -> bool:
        """Whether one more job may start."""
        if running >= (self.offered() or self.most):
            return False
        if running == 0 or not self.by_memory:
            return True
        growing = sum(monotonic() - begun < _GROWS for begun in self._begun.values())
        return free_memory() > (growing + 1) * (self._largest or _UNKNOWN)

    def take(self, job: int) -> str | None:
        """Has a job start; the GPU that it is to see, None: all of them."""
        self._begun[job] = monotonic()
        if not self.gpus:
            return None
        used = [*self._taken.values()]
        self._taken[job] = min(self.gpus, key=used.count)
        return self._taken[job]

    def give_back(self, job: int, *, memory: int) -> None:
        """A job has ended, and took so many bytes at most; 0 where that is not known."""
        self._taken.pop(job, None)
        self._begun.pop(job, None)
        if memory:
            self._largest = max(self._largest, _LEAST, memory - _SHARED)


def slots(workers: int | str, *, device: str, elsewhere: bool = False) -> Slots:
    """Those for `sweep.workers`, where jobs run on this device: auto, cpu, cuda, ... elsewhere: on other machines.

    One device of a kind is not shared unless that is asked for.
    """
    if elsewhere:
        return Slots(_ELSEWHERE if workers == "auto" else int(workers), by_memory=False)
    gpus = visible_gpus() if device == "cuda" or (device == "auto" and _is_for_cuda()) else []
    if workers != "auto":
        return Slots(int(workers), gpus if int(workers) > 1 else [], by_memory=False)
    if gpus or device.partition(":")[0] not in ("auto", "cpu"):
        return Slots(max(1, len(gpus)), gpus)
    return Slots(int(min(system.processors(), _quota())))


def visible_gpus() -> list[str]:
    """NVIDIA's GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes. Nothing is initialised."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        named = [name.strip() for name in given.split(",")]
        return [name for name in named if re.fullmatch(r"[0-9]+|(GPU|MIG)-[\w/-]+", name)]
    return [str(number) for number in range(system.nvidia_gpus())]


def _is_for_cuda() -> bool:
    """Whether the torch that is installed was built for CUDA, as far as it says; it is not imported."""
    found = find_spec("torch")
    with suppress(OSError):
        text = Path(str(found and found.origin)).with_name("version.py").read_text(encoding="utf-8")
        return not re.search(r"^cuda\b.*=\s*None", text, re.MULTILINE)
    return True


def _quota() -> float:
    """Processors that a container's limits allow; infinite without one."""
    found = [math.inf]
    for folder in system.control_groups("cpu"):
        with suppress(OSError, ValueError):  # of version 2
            most, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            found.append(int(most) / int(period))
        with suppress(OSError, ValueError):
            most, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period"))
            found += [int(most) / int(period)] if int(most) > 0 else []
    return max(1.0, min(found))
