"""dltrain: train PyTorch models from the command line; every experiment is a Hydra YAML file.

In a notebook the same pieces compose without YAML: `from dltrain import Trainer, data, evaluate, models`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {  # name -> module, imported at first use: `dltrain --help` must not wait for torch
    "EMA": "regularisation",
    "EarlyStopping": "regularisation",
    "MLP": "models",
    "MaxNorm": "regularisation",
    "Penalty": "regularisation",
    "Perceptron": "models",
    "PureSchedule": "schedules",
    "Record": "records",
    "TorchSchedule": "schedules",
    "Trainer": "trainer",
    "evaluate": "evaluation",
    "load": "inference",
    "make_loader": "data.loaders",
    "predict": "evaluation",
    "seed_everything": "trainer",
}
_ROOMS = ("augmentation", "data", "evaluation", "losses", "models", "optim", "regularisation", "schedules", "trainer")
__all__ = sorted([*_LAZY, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"dltrain.{_LAZY[name]}"), name)
    if name in _ROOMS:
        return import_module(f"dltrain.{name}")
    raise AttributeError(f"module 'dltrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
