"""The best weights of a training, in memory: kept while it goes on, put back at its end."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from dltrain.engine.records import Record
from dltrain.errors import ConfigError, did_you_mean
from dltrain.parts import State, metrics
from dltrain.parts.regularisers import EarlyStopping


class _Trained(Protocol):
    model: nn.Module

    @property
    def best_model(self) -> nn.Module: ...


class BestWeights:
    """metric: as a record names it; patience: how many validations in a row may be no better, None for any number."""

    def __init__(self, trainer: _Trained, metric: str, patience: int | None) -> None:
        mode = "max" if metrics.larger_is_better(metric) else "min"
        self.trainer, self.metric, self.endless = trainer, metric, patience is None
        self.stopping = EarlyStopping(metric, mode, patience=1 if patience is None else patience)
        self.weights: State | None = None

    def sees(self, record: Record) -> bool:
        """Keeps the weights where they are the best so far; returns whether to stop."""
        if self.metric not in record.metrics:
            if any(name.startswith("val/") for name in record.metrics) or not self.metric.startswith("val/"):
                near = did_you_mean(self.metric, record.metrics)
                raise ConfigError(f"best={self.metric!r}: no report has it{near or f'; they have {[*record.metrics]}'}")
            return False  # it was not validated
        stop = self.stopping.update(record.metrics[self.metric])
        if not self.stopping.waited:
            self.weights = {name: t.detach().clone() for name, t in self.trainer.best_model.state_dict().items()}
        return stop and not self.endless

    def put_back(self) -> None:
        if self.weights is not None:
            self.trainer.model.load_state_dict(self.weights)
