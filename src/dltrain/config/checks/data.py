"""The data, read, and what they decide: how many steps a run has, and the metrics that it may watch."""

from __future__ import annotations

import math

from dltrain.config import construct, trials
from dltrain.config.checks import Known
from dltrain.config.compose import Composed
from dltrain.config.mistakes import Mistakes, reason
from dltrain.config.policy import Part
from dltrain.config.settings import Regularisation, Settings
from dltrain.data import Data
from dltrain.engine.timetable import Timetable
from dltrain.engine.trainer import seed_everything
from dltrain.errors import DataError, did_you_mean
from dltrain.parts import metrics
from dltrain.runs.foreign import Values


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


def choose_monitor(mistakes: Mistakes, config: Values, data: Data) -> Known:
    """The metric that chooses the best epoch; it is looked at also where another knob of `trainer` is wrong."""
    trainer = config.get("trainer")
    chosen = trainer.get("monitor", "auto") if isinstance(trainer, dict) else "auto"
    _check_metric(mistakes, "trainer.monitor", chosen, data)
    return {"monitor": chosen if chosen in _watchable(data) else f"val/{metrics.default_monitor(data.task)}"}


def check_stopping_metric(mistakes: Mistakes, regularisation: Regularisation, data: Data) -> None:
    watched = (regularisation.early_stopping or {}).get("monitor", "auto")
    _check_metric(mistakes, "regularisation.early_stopping.monitor", watched, data)


def check_schedule_metric(mistakes: Mistakes, scheduler_part: Part, data: Data) -> None:
    _check_metric(mistakes, "scheduler.monitor", scheduler_part.arguments.get("monitor", "auto"), data)


def _check_metric(mistakes: Mistakes, key: str, name: object, data: Data) -> None:
    known = _watchable(data)
    if name not in ("auto", *known):
        hint = did_you_mean(str(name), known) or f"; there are auto, {', '.join(known)}"
        mistakes.say(key, f"there is no metric `{name}`{hint}")


def _watchable(data: Data) -> list[str]:
    return ["train/loss", *(f"val/{metric}" for metric in metrics.METRICS[data.task])]
