"""Whether a run may go on: its configuration, its data and its machine, compared with those of its checkpoint."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dltrain import __version__
from dltrain.config import build, compose, hydra, trials
from dltrain.config.compose import Composed
from dltrain.config.nodes import is_relative_path
from dltrain.config.overrides import quoted
from dltrain.config.plan import Plan
from dltrain.config.settings import Settings
from dltrain.engine import devices, evaluation, products
from dltrain.errors import CheckpointError, ConfigError, DataError, did_you_mean, key_of, system
from dltrain.errors.output import say
from dltrain.errors.paths import joined
from dltrain.parts import State
from dltrain.runs import ensemble_members, identity, key_roles, layout, reading, run_folder
from dltrain.runs.reading import flat


def stored(
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    free: Sequence[str] = key_roles.MAY_CHANGE,
    why: str = "a run goes on as it began",
) -> Composed:
    """The configuration of a run folder with overrides, which may only change the keys of `free`: names, or `data.*`
    for all below. `why` begins the message about any other key. Nothing of a folder that is not what it should be is
    opened.
    """
    layout.check(folder)
    if overrides and free is key_roles.MAY_CHANGE:
        ensemble_members.check_none(folder)
    composed, parse = compose.stored(folder), hydra.parser({})
    wrong: list[str] = []
    changes: dict[str, object] = {}
    for text in map(quoted, overrides):
        key = key_of(text)
        try:
            override = parse(text)
        except hydra.RefusedError:
            override = None
        if key not in free and not any(key.startswith(name[:-1]) for name in free if name.endswith(".*")):
            hint = did_you_mean(key, free) or f"; only {', '.join(free)} may change"
            wrong.append(f"`{text}`: {why}{hint}")
        elif override is None or override.deletes or override.several:
            wrong.append(f"`{text}`: write key=value")
        else:
            away = composed.started not in (None, Path.cwd())
            changes[key] = _as_typed(key, override.value) if away else override.value
    if wrong:
        raise ConfigError("\n".join(wrong))
    if not changes:
        return composed
    try:
        resolved = hydra.resolved(composed.values, changes)
    except hydra.RefusedError as error:
        raise ConfigError(f"{' '.join(overrides)}: {error}") from error
    return replace(composed, resolved=resolved, overrides=tuple(overrides))


def _as_typed(key: str, value: object) -> object:
    """Paths as those of where they are typed, not of where the run was started."""
    if isinstance(value, list):
        return [_as_typed(key, each) for each in value]
    return joined(Path.cwd(), value) if isinstance(value, str) and is_relative_path(key, value) else value


def digest(settings: dict[str, object]) -> str:
    """SHA-256 of a configuration without the keys that may change: equal for runs that compute the same."""
    return identity.digest(settings, but=key_roles.MAY_CHANGE)


def find(plan: Plan) -> list[Path]:
    """The run folders that `resume=...` may mean, none without it: the one that was named; for `auto` those of the same
    configuration, newest first, and what is passed over is said.
    """
    if plan.resume is None:
        return []
    if plan.resume != "auto":
        return [run_folder.find(plan.resume, plan.runs_dir)]
    found: list[Path] = []
    wanted, place = digest(plan.config), plan.runs_dir / plan.name
    folders = [p for p in place.iterdir() if p.is_dir() and not system.leads_elsewhere(p)] if place.is_dir() else []
    for folder in sorted(folders, key=lambda p: p.name, reverse=True):
        environment, fault = reading.read_json(folder / "environment.json")
        if fault or not (environment is None or isinstance(environment, dict)):
            passed_over(folder, fault or "environment.json is not that of a run")
        elif environment and environment.get("config_sha256") == wanted:
            found.append(folder)
    return found


def passed_over(folder: Path, why: str) -> None:
    """Says that `resume=auto` leaves a folder alone."""
    say(f"note: resume=auto passes over {folder}: {why}", error=True)


def facts(plan: Plan) -> dict[str, object]:
    """What bits depend on beside configuration and data."""
    return {
        "dltrain": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": devices.described(plan.device),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        **({"processes": plan.ranks.world_size} if plan.ranks else {}),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "flush_denormal": plan.settings.flush_denormal,
        "matmul": products.used() if build.has_large_products(plan) else "mkl",
        "step": "plain or direct" if plan.step in ("plain", "direct") else plan.step,  # those two have the same bits
        **({"report_every": plan.report_steps} if _reports_count(plan) else {}),
    }


def _reports_count(plan: Plan) -> bool:
    """Whether results depend on where reports stand: a compiled program runs between two of them, and the training
    loss that the best epoch, early stopping or the scheduler may go by is the mean since the last one.
    """
    return plan.step == "compiled" or "train/loss" in plan.watched


def compare(state: State, plan: Plan, where: str, *, allow_changed_data: bool = False) -> None:
    """Raises ConfigError for another configuration and DataError for other data than the checkpoint's; says on
    stderr what else differs. Then takes over its number of threads, unless the configuration gives one.
    """
    for name in ("config", "data", "environment", "plan", "position"):
        if not isinstance(state.get(name), dict):
            raise CheckpointError(f"{where} is damaged: it has no {name}")
    then, current = key_roles.ONCE_LACKED | flat(state["config"]), flat(plan.config)
    changed = [k for k in dict.fromkeys([*then, *current]) if then.get(k) != current.get(k)]
    refused = [f"{k}: {then.get(k)} then, {current.get(k)} now" for k in changed if k not in key_roles.MAY_CHANGE]
    if refused:
        head = f"{where} was made with another configuration; a run goes on as it began, or start a new one"
        raise ConfigError("\n".join([head, *refused]))
    _compare_schedules(state["plan"], plan)
    _say_what_longer_means(state, plan)
    _compare_data(state["data"], plan, where, allow_changed_data=allow_changed_data)
    before = state["environment"]
    _take_threads(plan.settings, before)  # alone: the trainer that is there has its kernels
    now = facts(plan)
    if "processes" in before | now:
        before, now = {"processes": 1} | before, {"processes": 1} | now
    differs = [f"{k} {before[k]} then, {v} now" for k, v in now.items() if k in before and before[k] != v]
    if differs:
        say(f"note: the bits may differ from an uninterrupted run: {'; '.join(differs)}", error=True)


def as_begun(settings: Settings, environment: object) -> None:
    """Has this process compute as a run began, by what that wrote of its environment, where its configuration leaves
    it open: with so many CPU threads, and with the same kernels for its products, torch's own where it names none.
    """
    noted = environment if isinstance(environment, dict) else {}
    _take_threads(settings, noted)
    if settings.matmul == "auto":
        begun = noted.get("matmul")
        products.use(begun if begun in ("mixed", "onednn") else "mkl")


def judged_as_begun(plan: Plan, folder: Path) -> Plan:
    """The plan of a run that goes on, by the metric that has chosen its best epochs so far, where its configuration
    leaves it open: what `auto` means may have changed since it began.
    """
    noted = reading.read_json(folder / "environment.json")[0]
    begun = noted.get("monitor") if isinstance(noted, dict) else None
    there = [f"val/{name}" for name in evaluation.available(plan.data.task, plan.loss)]
    if plan.settings.monitor != "auto" or begun not in there or begun == plan.monitor:
        return plan
    notes = [note for note in plan.notes if f"the best epoch is chosen by {plan.monitor}" not in note]
    return replace(plan, monitor=begun, notes=[*notes, f"the best epoch is chosen by {begun}, as when the run began"])


def _take_threads(settings: Settings, noted: State) -> None:
    threads = noted.get("threads")
    if settings.threads is None and type(threads) is int and 0 < threads <= 1024:
        torch.set_num_threads(threads)


def _compare_data(before: State, plan: Plan, where: str, *, allow_changed_data: bool) -> None:
    other = [name for name, value in plan.fingerprint.items() if before.get(name) != value]
    if other:
        differ = f"{', '.join(other)} {'parts differ' if len(other) > 1 else 'part differs'}"
        text = f"the data changed since {where} was written: the {differ}"
        if not allow_changed_data:
            raise DataError(
                f"{text}; put the old data back, or add "
                "--allow-changed-data (another machine may also compute the same data a little differently)"
            )
        say(f"note: {text}", error=True)


def _say_what_longer_means(state: State, plan: Plan) -> None:
    """A run validates at its end, also where one of more steps would not."""
    end = state["plan"].get("total_steps")
    if isinstance(end, int) and end == state["position"].get("step") < plan.total_steps and end % plan.eval_steps:
        say(
            f"note: at step {end:,} it ended with a validation that a longer run would not have made: the best epoch, "
            "early stopping, a plateau and the log may differ from those of a run that was planned longer",
            error=True,
        )


def _compare_schedules(before: State, plan: Plan) -> None:
    """Another length needs a word about a schedule that was planned for the first one."""
    old, new = before.get("schedule_steps"), plan.schedule_steps
    if old == new or plan.settings.schedule_steps is not None or not isinstance(old, int) or old < 1:
        return

    def rates(total: int) -> list[float]:
        optimizer = trials.stand_in(plan.parts["optimizer"])
        schedule = build.make_schedule(plan, optimizer, total_steps=total)
        found = []
        for step in np.linspace(0, min(old, new) - 1, 20).astype(int).tolist():
            schedule.set(step)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    if rates(old) != rates(new):
        name = plan.parts["scheduler"].function.__name__
        raise ConfigError(
            f"{name} was planned for {old:,} steps, and now there are {plan.total_steps:,}; choose:\n"
            f"trainer.schedule_steps={old}: as it was, then its last rate is held\n"
            f"trainer.schedule_steps={new}: stretched over all steps; the rate jumps where the run goes on"
        )
