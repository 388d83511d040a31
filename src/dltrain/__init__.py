"""dltrain: train PyTorch models from the command line; every experiment is a Hydra YAML file.

In a notebook the same pieces compose without YAML: `from dltrain import Trainer, data, evaluate, models`. The rooms,
each of which may import itself and those before it:

    errors | data, parts | engine | runs | config | training | trained | sweeps | insight | commands
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

MODULES = {  # names that YAML files and programs use -> where they live in the house; what was public stays so
    "augmentation": "parts.augmentation",
    "data": "data",
    "data.california": "data.sources.california",
    "data.datasets": "data.sources.own",
    "data.folders": "data.sources.image_folders",
    "data.images": "data.sources.image_sets",
    "data.sklearn_sets": "data.sources.sklearn_sets",
    "data.tables": "data.sources.table",
    "data.toy": "data.sources.toy",
    "evaluation": "engine.evaluation",
    "losses": "parts.losses",
    "models": "parts.models",
    "optim": "parts.optimizers",
    "regularisation": "parts.regularisers",
    "schedules": "parts.schedules",
    "trainer": "engine.trainer",
}
_NAMES = {  # name -> module, imported at first use: `dltrain --help` must not wait for torch
    "EMA": "regularisation",
    "EarlyStopping": "regularisation",
    "MLP": "models",
    "MaxNorm": "regularisation",
    "Penalty": "regularisation",
    "Perceptron": "models",
    "PureSchedule": "schedules",
    "Record": "engine.records",
    "TorchSchedule": "schedules",
    "Trainer": "trainer",
    "evaluate": "evaluation",
    "load": "trained.inference",
    "make_loader": "data.loaders",
    "predict": "evaluation",
    "seed_everything": "trainer",
}
__all__ = sorted([*_NAMES, *(name for name in MODULES if "." not in name)])


def located(name: str) -> str:
    """The full name under which something public is found: dltrain.models.MLP is dltrain.parts.models.MLP."""
    package, _, inside = name.partition(".")
    public = next((m for m in sorted(MODULES, reverse=True) if f"{inside}.".startswith(f"{m}.")), None)
    return name if package != "dltrain" or public is None else f"dltrain.{MODULES[public]}{inside[len(public) :]}"


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(located(f"dltrain.{_NAMES[name]}")), name)
    if name in __all__:
        return import_module(located(f"dltrain.{name}"))
    raise AttributeError(f"module 'dltrain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
