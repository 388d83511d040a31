"""A sweep: Hydra's combinations, each trained in a folder of its own under the sweep's."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dltrain import catalogue, config, runs, seeds
from dltrain.errors import ConfigError, DivergedError, DltrainError, StorageError
from dltrain.foreign import has_interpolation
from dltrain.nodes import first_look
from dltrain.output import plain, say
from dltrain.signals import Stop, stop_on_signal


def run(
    overrides: list[str],
    *,
    config_dir: str | None,
    allow: Sequence[str],
    allow_changed_data: bool = False,
    many: bool = True,
    folder: Path | None = None,
) -> tuple[Path, str | None]:
    """Hydra's sweep; what failed is recorded and the others go on. Returns its folder, and why it was stopped.

    many: whether keys other than `seeds` may give several values, as after -m.
    With the folder of an earlier sweep its complete jobs are passed over, and the others go on.
    """
    stored = folder is not None
    good = _checked(overrides, config_dir, allow, many=many, stored=stored)
    words = [f"--allow={package}" for package in allow]
    words += [f"--config-dir={config_dir}"] if config_dir else []
    hydra_options = ["--config-dir", str(Path(config_dir).resolve())] if config_dir else []
    if folder is None:
        values = dict(o.lstrip("+").split("=", 1) for o in good if "=" in o)
        name = values.get("name", values.get("experiment", "sweep"))
        name = "sweep" if "," in name or config.name_mistake(name) else name
        folder = runs.create(Path(values.get("runs_dir", "runs")), name)
        runs.write_json(folder / "sweep.json", {"overrides": overrides, "config_dir": hydra_options[1:]})
    with runs.Lock(folder), stop_on_signal() as stop:
        jobs = _Jobs(folder, list(allow), allow_changed_data, stop, words, stored)
        try:
            hydra_main(jobs.run, [*good, f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=.", "-m", *hydra_options])
        except KeyboardInterrupt:
            stop.reason = stop.reason or "SIGINT"
    if jobs.fatal:
        raise jobs.fatal
    return folder, stop.reason


def _checked(
    overrides: Sequence[str], config_dir: str | None, allow: Sequence[str], *, many: bool, stored: bool
) -> list[str]:
    """The overrides for Hydra, with `seeds=N` as the values of `seed`; raises ConfigError for all that is wrong in
    every job, as far as the first one shows it without torch.
    """
    others, count, mistakes = seeds.split(overrides)
    own = [o for o in others if count and o.lstrip("+").startswith("seed=")]
    good, wrong = config.check_overrides([o for o in others if o not in own], config_dir, sweep=many)
    own, wrong_seed = config.check_overrides(own, config_dir, sweep=True)
    first = config.first_of_each([*good, *own])
    composed = config.compose([o for o in first if not o.startswith("hydra")], config_dir)
    mistakes += [*wrong, *wrong_seed, *composed.mistakes]
    mistakes += [f"`{o}`: a sweep goes on with dltrain resume FOLDER" for o in good if o.startswith("resume=")]
    seed = composed.cfg.get("seed")
    if count and config.first_of_each(own) != own:
        mistakes.append(f"`{own[-1]}` and `seeds={count}`: give the seeds one by one, or their number")
    elif count and type(seed) is not int:
        mistakes.append(f"seed: {seed!r} is not a whole number, from which seeds={count} could count")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    varied = {o.split("=")[0].lstrip("+").split(".")[0] for o in [*good, *own] if o not in first}
    if not varied & {"experiment", "regularisation"}:  # whose choices set keys of other nodes
        first_look(replace(composed, stored=stored), allow, but=varied)
    return [*good, seeds.axis(seed, count)] if count else good


def stored(folder: Path, typed: Sequence[str], config_dir: str | None) -> list[str]:
    """What was typed for an earlier sweep. It is data: it may not speak to Hydra or the environment."""
    record = runs.read_json(folder / "sweep.json")
    overrides = record.get("overrides") if isinstance(record, dict) else None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise ConfigError(f"{folder / 'sweep.json'} is not the record of a sweep")
    bad = [o for o in overrides if "hydra" in o or o.startswith("-") or has_interpolation(o) or plain(o) != o]
    if typed or bad:
        word = typed[0] if typed else bad[0]
        raise ConfigError(f"`{word}`: a sweep goes on as it began, and without settings of Hydra's own")
    if record.get("config_dir") and not config_dir:  # a stranger's folder may not name one
        raise ConfigError("this sweep had config groups of its own: give their folder again, as --config-dir DIR")
    return overrides


@dataclass
class _Jobs:
    """Runs the jobs of a sweep, one call each."""

    folder: Path
    allow: list[str]
    allow_changed_data: bool
    stop: Stop
    words: list[str]  # that were typed beside the overrides
    stored: bool  # whether the record was read from a folder, which may be a stranger's
    fatal: StorageError | None = None  # a full disk: what follows would fail too

    def run(self, cfg: Any) -> float:
        """One job; returns the best value of its monitor, NaN when it failed."""
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        if self.stop():
            raise KeyboardInterrupt
        if self.fatal:
            return float("nan")
        number, typed = hydra.job.num, list(hydra.overrides.task)
        try:
            text, value = self._job(self.folder / str(number), cfg, dict(hydra.runtime.choices), typed)
        except (StorageError, OSError) as error:
            self.fatal = error if isinstance(error, StorageError) else StorageError(f"{self.folder}: {error.strerror}")
            return float("nan")
        if self.stop():
            raise KeyboardInterrupt
        bad = text.startswith(("failed", "diverged"))
        say(f"[{number}] {' '.join(typed)}: {text}", error=bad, flush=True)
        return value

    def _job(self, folder: Path, cfg: Any, choices: dict[str, Any], typed: list[str]) -> tuple[str, float]:
        """Trains; returns in words how it ended, and the best value of the monitor."""
        from dltrain import experiment
        from dltrain.plan import make_plan

        begin, plan, again = time.perf_counter(), None, folder.exists()
        if again and runs.complete(folder):
            return "was complete", float("nan")
        if not again:
            folder.mkdir()
            runs.write_text(folder / "overrides.txt", "".join(f"{o}\n" for o in typed))
        try:
            with runs.Lock(folder):
                plan = make_plan(config.from_job(cfg, choices, typed, stored=self.stored), self.allow)
                if not again or not (folder / "data.json").exists():
                    experiment.prepare(plan, folder, ["dltrain", *typed, *self.words])
                summary = experiment.train(
                    plan, folder, resume=again, stop=self.stop, allow_changed_data=self.allow_changed_data
                )
        except StorageError:
            raise
        except (Exception, SystemExit) as error:  # a model of the user's may exit
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            if not isinstance(error, DltrainError):
                first = f"{type(error).__name__}: {first}"
                runs.write_text(folder / "error.txt", traceback.format_exc())
            if plan is None:
                summary = {"status": status, "error": first, "seconds": time.perf_counter() - begin}
                runs.write_json(folder / "summary.json", summary)
                experiment.show_failure(folder, config.from_job(cfg, choices, typed).cfg, summary)
            return f"{status}: {first}", float("nan")
        name = plan.monitor.removeprefix("val/").replace("/", "_")  # train/loss stands there as train_loss
        best = summary["best"].get(name, float("nan"))
        return f"{plan.monitor} {best:.4g} ({summary['seconds']:.1f} s)", best


def hydra_main(function: Callable[[Any], Any], arguments: list[str]) -> None:
    """Runs Hydra's own main with these arguments."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    GlobalHydra.instance().clear()
    try:
        hydra.main(config_path=str(catalogue.CONFIGS), config_name="train", version_base="1.3")(function)()
    finally:
        sys.argv = before
