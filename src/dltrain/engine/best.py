"""The best weights of a training, in memory: kept while it goes on, put back at its end."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor, nn

from dltrain.engine.records import Record
from dltrain.errors import ConfigError, did_you_mean
from dltrain.parts import State, metrics
from dltrain.parts.regularisers import EarlyStopping


class _Trained(Protocol):
    model: nn.Module
    loss: nn.Module

    @property
    def best_model(self) -> nn.Module: ...


class BestWeights:
    """metric: as a record names it; mode: which way it is better, None where the metric is known; patience: how many
    validations in a row may be no better, None for any number. A loss that learns is kept with the model.
    """

    def __init__(
        self, trainer: _Trained, metric: str, mode: Literal["min", "max"] | None, patience: int | None
    ) -> None:
        name = metric.rsplit("/", 1)[-1]
        mode = mode or metrics.DIRECTION.get(name)
        if mode not in ("min", "max"):
            near = did_you_mean(name, metrics.DIRECTION)
            raise ConfigError(f"best={metric!r}: say which way it is better, mode='max' or mode='min'{near}")
        self.trainer, self.metric, self.endless = trainer, metric, patience is None
        self.stopping = EarlyStopping(metric, mode, patience=1 if patience is None else patience)
        self.kept: list[State] = []  # of the model and the loss

    def sees(self, record: Record) -> bool:
        """Keeps the weights where they are the best so far; returns whether to stop."""
        if self.metric not in record.metrics:
            if any(name.startswith("val/") for name in record.metrics) or not self.metric.startswith("val/"):
                near = did_you_mean(self.metric, record.metrics)
                raise ConfigError(f"best={self.metric!r}: no report has it{near or f'; they have {[*record.metrics]}'}")
            return False  # it was not validated
        stop = self.stopping.update(record.metrics[self.metric])
        if not self.stopping.waited:
            self.kept = [_copied(module) for module in (self.trainer.best_model, self.trainer.loss)]
        return stop and not self.endless

    def check_seen(self) -> None:
        """Raises ConfigError where no report had the metric."""
        if not self.kept:
            raise ConfigError(f"best={self.metric!r}: no report has it: validate gave no numbers")

    def put_back(self) -> None:
        for module, state in zip((self.trainer.model, self.trainer.loss), self.kept, strict=False):
            module.load_state_dict(state)


def _copied(module: nn.Module) -> State:
    return {name: t.detach().clone() if isinstance(t, Tensor) else t for name, t in module.state_dict().items()}
