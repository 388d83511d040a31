"""The data, read, and what they decide: how many steps a run has, and the metrics that it may watch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from dltrain.config import construct, trials
from dltrain.config.checks import Known
from dltrain.config.compose import Composed
from dltrain.config.mistakes import Mistakes, reason
from dltrain.config.policy import Part
from dltrain.config.settings import BatchSize, Regularisation, Settings, rows_of_a_step
from dltrain.data import Data, Tensors
from dltrain.engine import evaluation
from dltrain.engine.timetable import Timetable
from dltrain.engine.trainer import seed_everything
from dltrain.errors import DataError, StorageError, did_you_mean
from dltrain.errors.output import cut
from dltrain.parts import metrics
from dltrain.runs.foreign import Values

_RARE = 0.2  # a class is rare that has less than this part of what it had if all had as many rows: of two, 10 %
_ENOUGH = 10  # rows of it, at least, that are validated


def read(mistakes: Mistakes, composed: Composed, data_part: Part, seed: int, notes: list[str]) -> Known:
    """Raises DataError, or ConfigError with what else is wrong: without the data little more can be seen."""
    if mistakes and "root" in data_part.names:  # a download takes minutes, mistakes come first
        return {}
    seed_everything(seed)  # a user's data may draw random numbers
    try:
        data = construct.make_data(data_part, stored=composed.stored, started=composed.started)
        trials.contents(data)
        few = trials.few(data)
    except DataError as error:
        if mistakes:
            mistakes.lines["data"] = f"data: {error}"
            mistakes.stop()
        raise
    except StorageError:  # no room for what is kept of a large table: nothing in the configuration is wrong
        raise
    except Exception as error:
        mistakes.blame("data", error, data_part.arguments)
        return {}
    notes.extend(data.notes)
    return {"data": data, "few": few}


def try_transform(mistakes: Mistakes, data: Data) -> None:
    """The change of train samples, tried on some."""
    try:
        if data.transform:
            trials.change(data, data.transform)
    except Exception as error:
        mistakes.say("data.train_transform", reason(error).removeprefix("data.train_transform "))


def choose_batch_size(data: Data, given_size: BatchSize) -> Known:
    """The rows of a step, of all train rows: a few that are looked at are trained on as all would be."""
    return {"batch_size": rows_of_a_step(given_size, len(data.train))}


def shorten(data: Data, settings: Settings, batch_size: int | None) -> Known:
    """The few rows or batches that somebody wants who looks for a fault."""
    data, settings = construct.reduced(data, settings, batch_size)
    return {"data": data, "settings": settings}


def count_steps(data: Data, settings: Settings, batch_size: int | None) -> Known:
    """Optimizer steps of an epoch and of the whole run."""
    batches = math.ceil(len(data.train) / (batch_size or len(data.train)))
    table = Timetable(
        batches,
        samples=len(data.train),
        batch_size=batch_size or len(data.train),
        accumulate=settings.accumulate,
        limit=settings.limit_train_batches,
        epochs=settings.epochs,
        steps=settings.max_steps,
    )
    return {"steps_per_epoch": table.per_epoch, "total_steps": table.total}


def count_schedule_steps(settings: Settings, total_steps: int = 1000) -> Known:
    """The steps that the schedule is made for; a round number of them while there are no data to count."""
    return {"schedule_steps": settings.schedule_steps or total_steps}


# -- metrics ---------------------------------------------------------------------------------------------------


def choose_monitor(
    mistakes: Mistakes, config: Values, data: Data, notes: list[str], loss: nn.Module | None = None
) -> Known:
    """The metric that chooses the best epoch; it is looked at also where another knob of `trainer` is wrong."""
    trainer = config.get("trainer")
    chosen = trainer.get("monitor", "auto") if isinstance(trainer, dict) else "auto"
    _check_metric(mistakes, "trainer.monitor", chosen, data, loss)
    if chosen in _watchable(data, loss):
        return {"monitor": chosen}
    counts = trials.class_counts(data) if data.task in ("binary", "multiclass") else None
    if chosen != "auto" or not counts or not _sees(counts, data):
        return {"monitor": f"val/{metrics.default_monitor(data.task)}"}
    rarest, monitor = min(range(len(counts)), key=counts.__getitem__), f"val/{metrics.for_rare(counts)}"
    notes.append(
        f"class {cut(data.classes[rarest])} has {counts[rarest] / sum(counts):.2%} of the train rows, which accuracy "
        f"hardly sees: the best epoch is chosen by {monitor} (trainer.monitor=val/accuracy: as usual)"
    )
    return {"monitor": monitor}


def _sees(counts: Sequence[int], data: Data) -> bool:
    """Whether a class is rare, and the validation part has rows enough of it to say which epoch is better."""
    rarest = min(range(len(counts)), key=counts.__getitem__)
    known = isinstance(data.val, Tensors) and int((data.val.y == rarest).sum()) >= _ENOUGH
    return known and counts[rarest] * len(counts) < _RARE * sum(counts)


def check_stopping_metric(
    mistakes: Mistakes, regularisation: Regularisation, data: Data, loss: nn.Module | None = None
) -> None:
    watched = (regularisation.early_stopping or {}).get("monitor", "auto")
    _check_metric(mistakes, "regularisation.early_stopping.monitor", watched, data, loss)


def check_schedule_metric(mistakes: Mistakes, scheduler_part: Part, data: Data, loss: nn.Module | None = None) -> None:
    watched = scheduler_part.arguments.get("monitor", "auto")
    _check_metric(mistakes, "scheduler.monitor", watched, data, loss)


def check_more_metrics(mistakes: Mistakes, settings: Settings, data: Data, loss: nn.Module | None = None) -> None:
    there = _there(data, loss)
    for name in settings.metrics if isinstance(settings.metrics, list) else ():
        if name not in there:
            plain = str(name).rpartition("/")[2]
            hint = f"; write {plain}" if plain in there else did_you_mean(str(name), there)
            hint = hint or f"; there are {', '.join(there)}"
            mistakes.say("trainer.metrics", f"there is no metric `{name}`{hint}")


def _check_metric(mistakes: Mistakes, key: str, name: object, data: Data, loss: nn.Module | None) -> None:
    known = _watchable(data, loss)
    if name not in ("auto", *known):
        plain, likely = f"val/{name}", [whole for whole in known if whole.startswith(str(name))]
        hint = f"; write {plain}" if plain in known else did_you_mean(str(name), likely or known)
        hint = hint or f"; there are auto, {', '.join(known)}"
        mistakes.say(key, f"there is no metric `{name}`{hint}")
    elif name in ("val/roc_auc", "val/average_precision") and (one := _only_class(data)):
        mistakes.say(key, f"{name}: the validation part has class {one} alone, of which it says nothing")


def _only_class(data: Data) -> str | None:
    """Where all rows that are validated have one class, its name."""
    if data.task == "multilabel" or not isinstance(data.val, Tensors) or len(found := data.val.y.unique()) > 1:
        return None
    return cut(data.classes[int(found)])


def _watchable(data: Data, loss: nn.Module | None) -> list[str]:
    return ["train/loss", *(f"val/{metric}" for metric in _there(data, loss))]


def _there(data: Data, loss: nn.Module | None) -> tuple[str, ...]:
    """The metrics that the task has, or under its loss."""
    return metrics.METRICS[data.task] if loss is None else evaluation.available(data.task, loss)
