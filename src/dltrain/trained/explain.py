"""Which columns of a table a run's answers rest on: how much worse they are where a column is shuffled.

Permutation importance (Breiman 2001; Fisher, Rudin & Dominici 2019), on rows that are judged. Of two columns that say
the same each makes up for the other, and both look unimportant.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev
from typing import TypedDict

import torch
from torch import Tensor

from dltrain.config.build import evaluation_size
from dltrain.data import Tensors, take
from dltrain.data.loaders import make_loader
from dltrain.data.tables.cells import width
from dltrain.engine import evaluation
from dltrain.errors import ConfigError
from dltrain.parts import metrics
from dltrain.runs import reading
from dltrain.trained.inference import Trained
from dltrain.trained.judge import Rows

REPEATS = 5
_ROWS = 20_000  # of more a seeded sample


class Weighed(TypedDict):
    """A column, and by how much the metric is worse without it: mean and standard deviation over the shuffles."""

    name: str
    mean: float
    std: float


class Importance(TypedDict):
    """The metric, its value as the rows are, how many of them were shuffled how often; the columns, heaviest first."""

    metric: str
    value: float
    rows: int
    repeats: int
    columns: list[Weighed]


def explain(trained: Trained, rows: Rows) -> Importance:
    """The importance of each column to the metric that chose the run's best epoch; of a category all inputs that it
    became are shuffled together, and of a date. Raises ConfigError for a run that was not trained on a table.
    """
    if trained.facts.kind != "table" or not isinstance(rows.part, Tensors):
        raise ConfigError(f"--explain shuffles the columns of a table, and {trained.folder} was not trained on one")
    part, generator = rows.part, torch.Generator().manual_seed(0)
    if len(part) > _ROWS:
        part = take(part, torch.randperm(len(part), generator=generator)[:_ROWS].sort().values)
    assert isinstance(part, Tensors)  # as some of its rows are
    name = _metric(trained)
    value, sign = _judged(trained, part, name), 1 if metrics.larger_is_better(name) else -1
    found: list[Weighed] = []
    for column, places in _places(trained).items():
        losses = []
        for _ in range(REPEATS):
            order = torch.randperm(len(part), generator=generator)
            x = part.x.clone()
            x[:, places] = x[order][:, places]
            losses.append(sign * (value - _judged(trained, replace(part, x=x), name)))
        found.append({"name": column, "mean": fmean(losses), "std": stdev(losses)})
    found.sort(key=lambda each: -each["mean"])
    return {"metric": name, "value": value, "rows": len(part), "repeats": REPEATS, "columns": found}


def _metric(trained: Trained) -> str:
    """What chose the best epoch, or what usually does."""
    name = reading.plain_name(reading.read(trained.folder).monitor)
    there = evaluation.available(trained.facts.task, trained.loss)
    return "loss" if name == "train_loss" else name if name in there else metrics.default_monitor(trained.facts.task)


def _places(trained: Trained) -> dict[str, Tensor]:
    """The inputs that each column of the file became."""
    found: dict[str, list[int]] = {}
    at = 0
    for column in trained.facts.preprocessing["columns"]:
        wide = width(column)
        found.setdefault(column.get("source", column["name"]), []).extend(range(at, at + wide))
        at += wide
    return {name: torch.tensor(places) for name, places in found.items()}


def _judged(trained: Trained, part: Tensors, metric: str) -> float:
    facts = trained.facts
    size = evaluation_size(part, batch_size=trained.outline.given_size, values=max(trained.widest, trained.outputs))
    usual = metric in metrics.USUAL[facts.task]
    loader = make_loader(part, batch_size=size, device=trained.device)
    return evaluation.evaluate(
        trained.model, loader, trained.loss, task=facts.task, units=facts.units, metrics=() if usual else (metric,)
    )[metric]
