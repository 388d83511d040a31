"""One way to do a workload, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Contender:
    """What a process that has set itself up can be told: go back to the first weights, train a round, show the weights.

    Only `train` is timed. `weights` gives [W1, b1, ...] as `Task` has them, or None where they can't be compared.
    """

    reset: Callable[[], None]
    train: Callable[[], None]
    weights: Callable[[], list[np.ndarray] | None]


@dataclass(frozen=True)
class Entry:
    """A contender by name: `module.function(task, **options)` sets it up, in a process of its own."""

    name: str
    module: str
    function: str
    needs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = "peer"  # hand-written | dltrain | peer | floor
    workloads: tuple[str, ...] = ("W1", "W2", "W3")
    pin: bool = False  # to as many processors as the workload has threads: for XLA, which has no other way
    slack: float = 1.0  # times the workload's tolerance
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]
