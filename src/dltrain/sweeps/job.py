"""One job of a sweep, trained in its own folder: what engines are told is the sweep's folder and a number."""

from __future__ import annotations

import math
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.config import compose
from dltrain.config.composer import Composer
from dltrain.config.own_groups import asks
from dltrain.errors import BusyError, ConfigError, DataError, DivergedError, DltrainError, StorageError, key_of
from dltrain.errors.output import plain
from dltrain.runs import reading, run_folder
from dltrain.runs.foreign import Values
from dltrain.sweeps.engines import Looked
from dltrain.sweeps.orders import Orders
from dltrain.training.stop import Stop

if TYPE_CHECKING:
    from dltrain.config.compose import Composed
    from dltrain.config.plan import Plan


def threads_of(orders: Orders, overrides: Sequence[str]) -> list[str]:
    """The override that gives a job its CPU threads; none where it says them itself, or they are as of a run alone."""
    given = orders.threads is None or any(key_of(text) == "trainer.threads" for text in overrides)
    return [] if given else [f"trainer.threads={orders.threads}"]


def composed(orders: Orders, overrides: Sequence[str], composer: Composer) -> Composed:
    """The configuration of a job; raises ConfigError."""
    if orders.resumed and (bad := next((text for text in overrides if asks(text) or plain(text) != text), None)):
        raise ConfigError(f"`{bad}`: a stored job may not ask this machine")
    made = composer([*overrides, *threads_of(orders, overrides)])
    made = replace(made, overrides=made.overrides[: len(overrides)])
    if not orders.resumed:
        return made
    return replace(made, stored=True, started=compose.started(Path(orders.folder) / "sweep.json"))


def check(orders: Orders, jobs: Sequence[Sequence[str]], composer: Composer) -> Looked:
    """Makes the plan of each of these jobs, as long as that takes seconds; notes are on what parts of the data lack."""
    from dltrain.config.construct import data_kept
    from dltrain.data.assembly import LACKING

    found: list[tuple[int, str]] = []
    notes, looked = Counter[str](), 0
    end = math.inf  # until the first has read the data
    with data_kept():
        for i, overrides in enumerate(jobs):
            try:
                plan = plan_of(orders, composed(orders, overrides, composer))
                notes.update(note for note in plan.notes if note.startswith(LACKING))
            except (ConfigError, DataError) as error:
                found += [(i, line) for line in str(error).splitlines()]
            except Exception as error:
                found.append((i, f"{type(error).__name__}: {error}"))
            looked += 1
            if i == 0:
                end = time.monotonic() + _LOOKED
            if time.monotonic() > end:
                break
    return Looked(found, [f"in {count} of {looked} jobs looked at: {note}" for note, count in notes.items()])


def plan_of(orders: Orders, made: Composed) -> Plan:
    """The plan of a job that is not to be trained now."""
    from dltrain.config.plan import make_plan

    return make_plan(made, orders.allow, writes=False)


def seconds_of(orders: Orders, overrides: Sequence[str], composer: Composer) -> float:
    """About how long a job takes: some of its steps and one validation are made, for a second, and nothing is kept."""
    from dltrain.config import build

    begin = time.perf_counter()
    plan = plan_of(orders, composed(orders, overrides, composer))
    build.set_threads_and_determinism(plan)
    trainer, (loader, others), judge = build.make_trainer(plan), build.make_loaders(plan), build.make_evaluate(plan)
    judge(trainer.best_model, others["val"])
    prepared = time.perf_counter() - begin
    begin = time.perf_counter()
    for _ in trainer.fit(loader, steps=plan.total_steps, stop=lambda: time.perf_counter() - begin > 1.0):
        pass
    step = (time.perf_counter() - begin) / max(1, trainer.steps)
    begin = time.perf_counter()
    judge(trainer.best_model, others["val"])
    validations = plan.total_steps / plan.eval_steps + len(others)
    return prepared + step * plan.total_steps + validations * (time.perf_counter() - begin)


_LOOKED = 3.0  # seconds; what is not looked at in them is seen when its job starts


def train(
    orders: Orders,
    number: int,
    overrides: Sequence[str],
    composer: Composer,
    stop: Stop,
    until: float | None = None,
) -> Values:
    """Trains a job, or goes on with it; returns how it ended: `state`, `reason`, and numbers. until: a share of its
    steps after which it is paused, and ends as `pruned`.

    What it fails of is written in its folder, and returned. Raises StorageError, or BusyError where another
    process has it.
    """
    folder = Path(orders.folder) / str(number)
    begin, typed = time.perf_counter(), [*overrides]
    if run_folder.complete(folder):
        return told(reading.read(folder))
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}") from error
    made: list[Composed] = []
    before, note = reading.read_json(folder / "summary.json")[0], ""
    try:
        with run_folder.Lock(folder):
            note = _train(orders, folder, typed, composer, stop, until, made)
    except (StorageError, BusyError):
        raise
    except (Exception, SystemExit) as error:  # a model of the user's may exit
        _note(folder, typed, error, made, time.perf_counter() - begin, before=before)
    return told(reading.read(folder)) | {"note": note}


def _train(
    orders: Orders,
    folder: Path,
    typed: list[str],
    composer: Composer,
    stop: Stop,
    until: float | None,
    made: list[Composed],
) -> str:
    """Returns what a person should know of the result."""
    from dltrain.config.plan import make_plan
    from dltrain.training import experiment

    begun = (folder / "data.json").exists()
    made.append(configuration := composed(orders, typed, composer))
    plan = make_plan(configuration, orders.allow)
    made.clear()  # from here on the run says itself how it ends
    if not begun:
        experiment.prepare(plan, folder, ["dltrain", *typed, *threads_of(orders, typed), *orders.words])
    changed = orders.allow_changed_data
    summary = experiment.train(plan, folder, resume=begun, stop=stop, allow_changed_data=changed, until=until)
    idle = summary.get("no_better", False)
    return "; ".join(["no better than one answer to every row"] * idle + configuration.switched_beside())


def _note(
    folder: Path, typed: list[str], error: BaseException, made: list[Composed], seconds: float, *, before: object
) -> None:
    """Writes what a job failed of before it could do so itself. before: its summary of an earlier time."""
    if not isinstance(error, DltrainError):
        run_folder.write_text(folder / "error.txt", traceback.format_exc())
    summary = reading.read_json(folder / "summary.json")[0]
    if isinstance(summary, dict) and summary != before and summary.get("status") in ("failed", "diverged"):
        return
    status = "diverged" if isinstance(error, DivergedError) else "failed"
    text = str(error).splitlines()[0] if str(error) else ""
    first = text if isinstance(error, DltrainError) else f"{type(error).__name__}: {text}".rstrip(": ")
    if not (folder / "overrides.txt").exists():
        run_folder.write_overrides(folder, typed)
    run_folder.write_json(folder / "summary.json", {"status": status, "error": first, "seconds": seconds})
    if made:
        from dltrain.training import experiment

        experiment.show_failure(folder, made[0], {"status": status, "error": first, "seconds": seconds})


def told(run: reading.Run) -> Values:
    """What a run folder says of its end, for the ledger."""
    reason = run.reason.splitlines()[0] if run.reason else ""
    state = "pruned" if run.paused else run.status
    found: Values = {"state": state, "reason": reason, "monitor": run.monitor, "seconds": run.seconds}
    numbers = run.numbers
    return found | {"value": numbers.get(run.criterion), "loss": numbers.get("best/loss")}
