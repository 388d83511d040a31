"""The ranges of what keeps a network from learning by heart, and what is said of a value outside. Without torch."""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

from dltrain.errors import ConfigError

FLOAT32 = 3.4e38  # the largest number, just about, of weights and rates


class Range(NamedTuple):
    """Which numbers a knob takes, and what to write instead of another one."""

    instead: str
    low: float = 0
    closed: bool = True  # whether `low` itself is taken
    below: float | None = None

    def holds(self, value: float) -> bool:
        above = (value >= self.low if self.closed else value > self.low) and value <= FLOAT32
        return above and (self.below is None or value < self.below)


RANGES = {
    "regularisation.l1": Range("write a number >= 0"),
    "regularisation.l2": Range("write a number >= 0"),
    "regularisation.max_norm": Range("write a number > 0, or null for no limit", closed=False),
    "regularisation.input_noise": Range("write a standard deviation > 0, or 0 for none"),
    "regularisation.clip_norm": Range("write a number > 0, or null for no limit", closed=False),
    "regularisation.clip_value": Range("write a number > 0, or null for no limit", closed=False),
    "regularisation.ema": Range("write a decay from 0 to below 1 (0.999), or null for none", below=1),
    "regularisation.mixup": Range("write alpha > 0 of Beta(alpha, alpha), or null for none", closed=False),
    "regularisation.cutmix": Range("write alpha > 0 of Beta(alpha, alpha), or null for none", closed=False),
    "early_stopping.patience": Range("write a number of evaluations >= 1", low=1),
    "min_delta": Range("write a number >= 0"),
}


def outside(name: str, value: float) -> str | None:
    """What is wrong with a value, in words; None where it is within."""
    return None if RANGES[name].holds(value) else f"{value}: {RANGES[name].instead}"


def check_range(name: str, value: float) -> None:
    """Raises ConfigError for a value that is outside, or not finite."""
    if not (isfinite(value) and RANGES[name].holds(value)):
        raise ConfigError(f"{name}={value}: {RANGES[name].instead}")
