"""The node `sweep`: how jobs are chosen, and where and how many at once they run."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Literal

from dltrain.config.arguments import check_arguments
from dltrain.errors import ConfigError
from dltrain.runs.foreign import Values

_MOST_WORKERS = 1024
_MOST_TRIALS = 1_000_000
_MOST_FACTOR, _MOST_RUNGS = 100, 10


@dataclass(frozen=True)
class Settings:
    """configs/sweep/ explains each knob."""

    method: Literal["grid", "random", "sobol", "optuna"]
    trials: int | None
    seed: int
    sampler: str | None
    options: dict[str, object]
    workers: int | str
    engine: Literal["local", "submitit", "ray"]
    verbose: bool
    params: dict[str, object]
    prune: Literal["halving", "asha", "median"] | None = None
    factor: int = 3
    rungs: int = 2
    cluster: dict[str, object] | None = None

    def mistakes(self) -> dict[str, str]:
        """Values out of range, by key."""
        found: dict[str, str] = {}
        if self.workers != "auto" and not (type(self.workers) is int and 1 <= self.workers <= _MOST_WORKERS):
            found["workers"] = f"{self.workers!r}: want auto, or a number from 1 to {_MOST_WORKERS:,}"
        if self.method == "grid" and self.trials is not None:
            found["trials"] = "a grid trains every combination; sweep=random draws some of them"
        elif self.method != "grid" and not (type(self.trials) is int and 1 <= self.trials <= _MOST_TRIALS):
            found["trials"] = f"{self.trials!r}: want a number from 1 to {_MOST_TRIALS:,}"
        if self.method != "optuna" and (self.sampler or self.options):
            found["sampler"] = f"sweep={self.method} takes no sampler of Optuna's, nor options; sweep=optuna does"
        if type(self.seed) is int and not 0 <= self.seed < 2**32:
            found["seed"] = f"{self.seed} must be from 0 to 4294967295 (2^32 - 1)"
        for key, value, most in (("factor", self.factor, _MOST_FACTOR), ("rungs", self.rungs, _MOST_RUNGS)):
            if type(value) is int and not 1 + (key == "factor") <= value <= most:
                found[key] = f"{value}: want a number from {1 + (key == 'factor')} to {most}"
        return found


def settings(node: Values) -> Settings:
    """Those of a composed `sweep` node; raises ConfigError."""
    given: Values = {f.name: node.get(f.name) for f in fields(Settings) if f.name in node or f.default is MISSING}
    made = Settings(**given)
    wrong = made.mistakes() | check_arguments(Settings, node, node="sweep", called="sweep")
    if wrong:
        raise ConfigError("\n".join(f"sweep.{key}: {message}" for key, message in wrong.items()))
    return made
