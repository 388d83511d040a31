"""dltrain: train PyTorch models from the command line; every experiment is a Hydra YAML file.

In a program or a notebook, whole runs, as the command makes them:

    run = dltrain.train("data=iris", "optimizer.lr=0.01")    a run folder, as `dltrain data=iris ...` makes it
    run.metrics["test/accuracy"], run.history, run.config    what it reached, each report, every key
    run.predict(rows), run.evaluate("val"), run.export()     rows as in the file; a part of its data; one file
    dltrain.sweep("optimizer.lr=0.1,0.01", data="iris")      many runs, on all processors: a table of them
    dltrain.load("last"), dltrain.resume("last")             a run again; the rest of one
    dltrain.runs(), dltrain.compare("best", "last")          the table of runs; what differs, and is it noise
    dltrain.ensemble("runs/search")                          the average of those that go together best, as a run

or the pieces, without YAML and without a folder:

    data = dltrain.data.digits()
    trainer = dltrain.Trainer(model, loss, optimizer)
    records = trainer.run(data, epochs=20)                   or: for record in trainer.fit(data, epochs=20): ...
    dltrain.evaluate(model, data.test, loss, task=data.task)

Estimators for scikit-learn are in `dltrain.sklearn`, errors in `dltrain.errors`; docs/library.md has the recipes.

The rooms of the source, each of which may import itself and those before it:

    errors | data, parts | engine | runs | config | training | trained | sweeps | insight | course | commands
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

MODULES = {  # names that YAML files and programs use -> where they live in the house; what was public stays so
    "augmentation": "parts.augmentation",
    "codes": "parts.codes",
    "data": "data",
    "data.california": "data.sources.california",
    "data.datasets": "data.sources.own",
    "data.folders": "data.sources.image_folders",
    "data.images": "data.sources.image_sets",
    "data.sklearn_sets": "data.sources.sklearn_sets",
    "data.tables": "data.sources.table",
    "data.toy": "data.sources.toy",
    "ensembles": "parts.ensembles",
    "errors": "errors",
    "evaluation": "engine.evaluation",
    "losses": "parts.losses",
    "metrics": "parts.metrics",
    "models": "parts.models",
    "optim": "parts.optimizers",
    "regularisation": "parts.regularisers",
    "runs": "runs",
    "schedules": "parts.schedules",
    "sklearn": "sklearn",
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
    "compare": "insight.frames",
    "ensemble": "trained.whole_run",
    "evaluate": "evaluation",
    "load": "trained.whole_run",
    "make_loader": "data.loaders",
    "predict": "evaluation",
    "resume": "trained.whole_run",
    "seed_everything": "trainer",
    "sweep": "insight.whole_sweep",
    "train": "trained.whole_run",
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
    hint = ""
    if not name.startswith("__"):
        from dltrain.errors import did_you_mean

        hint = did_you_mean(name, __all__)
    raise AttributeError(f"module 'dltrain' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return __all__
