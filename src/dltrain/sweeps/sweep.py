"""A sweep: every combination of what was typed, each trained in a folder of its own under the sweep's."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dltrain.config import compose
from dltrain.config.compose import Composed
from dltrain.config.nodes import first_look
from dltrain.config.overrides import check_overrides, first_of_each, frozen, jobs, lifted, repeats
from dltrain.errors import ConfigError, DivergedError, DltrainError, StorageError, key_of
from dltrain.errors.output import plain, say
from dltrain.errors.paths import local
from dltrain.runs import layout, reading, run_folder, seeds
from dltrain.runs.foreign import has_interpolation
from dltrain.training.stop import Stop, stop_on_signal


def run(
    overrides: list[str],
    *,
    config_dir: str | None,
    allow: Sequence[str],
    allow_changed_data: bool = False,
    many: bool = True,
    folder: Path | None = None,
) -> tuple[Path, str | None]:
    """A sweep; what failed is recorded and the others go on. Returns its folder, and why it was stopped.

    many: whether keys other than `seeds` may give several values, as after -m.
    With the folder of an earlier sweep its complete jobs are passed over, and the others go on.
    """
    stored = folder is not None
    if many and not stored:
        overrides = _with_parameters(overrides, config_dir)
    good, first = _checked(overrides, config_dir, allow, many=many, stored=stored)
    words = [f"--allow={package}" for package in allow]
    words += [f"--config-dir={config_dir}"] if config_dir else []
    if (settled := frozen(overrides, config_dir)) != overrides:
        overrides = settled
        good, first = _checked(overrides, config_dir, allow, many=many, stored=stored)
    each = jobs(good, config_dir)
    for text in good:
        if text not in first.overrides and repeats(text, config_dir):
            say(f"note: `{text}`: each value is trained once", error=True)
    if folder is None:
        folder = run_folder.create(local(first.values["runs_dir"]), _name(first, good))
        own_groups = [str(local(config_dir).resolve())] if config_dir else []
        record = {"overrides": overrides, "config_dir": own_groups, "folder": str(Path.cwd())}
        run_folder.write_json(folder / "sweep.json", record)
    with run_folder.Lock(folder), stop_on_signal() as stop:
        sweep = _Sweep(folder, config_dir, list(allow), allow_changed_data, stop, words, stored)
        try:
            for number, typed in enumerate(each):
                if stop():
                    break
                sweep.train(number, typed)
        except KeyboardInterrupt:
            stop.reason = stop.reason or "SIGINT"
    return folder, stop.reason


def first_job(overrides: Sequence[str], *, config_dir: str | None, allow: Sequence[str]) -> tuple[Composed, int]:
    """The first job of what would be a sweep, and how many jobs there are."""
    good, first = _checked(_with_parameters(overrides, config_dir), config_dir, allow, many=True, stored=False)
    return first, len(jobs(good, config_dir))


def _with_parameters(overrides: Sequence[str], config_dir: str | None) -> list[str]:
    """What was typed, after the values that `hydra.sweeper.params` gives, typed or in a chosen file."""
    typed = lifted(overrides)
    return [*compose.sweep_parameters(typed, config_dir), *typed]


def _name(first: Composed, overrides: Sequence[str]) -> str:
    """Of the folder: the name that all jobs have, else that of their experiment, else `sweep`."""
    several = {key_of(o) for o in overrides if o not in first.overrides}
    given = {"name": first.values.get("name"), "experiment": first.chosen.get("experiment")}
    names = [str(name) for key, name in given.items() if name and key not in several]
    return next((name for name in names if not compose.name_mistake(name)), "sweep")


def _checked(
    overrides: Sequence[str], config_dir: str | None, allow: Sequence[str], *, many: bool, stored: bool
) -> tuple[list[str], Composed]:
    """The overrides with `seeds=N` as the values of `seed`, and the first job; raises ConfigError for all that is wrong
    in every job, as far as the first one shows it without torch.
    """
    others, count, mistakes = seeds.split(overrides)
    own = [o for o in others if count and key_of(o) == "seed"]
    good, wrong = check_overrides([o for o in others if o not in own], config_dir, sweep=many)
    own, wrong_seed = check_overrides(own, config_dir, sweep=True)
    first = first_of_each([*good, *own], config_dir)
    composed = compose.compose(first, config_dir, sweep=True)
    mistakes += [*wrong, *wrong_seed, *composed.mistakes]
    mistakes += [f"`{o}`: a sweep goes on with dltrain resume FOLDER" for o in good if key_of(o) == "resume"]
    seed = composed.values.get("seed")
    if count and first_of_each(own) != own:
        mistakes.append(f"`{own[-1]}` and `seeds={count}`: give the seeds one by one, or their number")
    elif count and type(seed) is not int:
        mistakes.append(f"seed: {seed!r} is not a whole number, from which seeds={count} could count")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    varied = {key_of(o).split(".")[0] for o in [*good, *own] if o not in first}
    if not varied & {"experiment", "regularisation"}:  # whose choices set keys of other nodes
        first_look(replace(composed, stored=stored), allow, but=varied)
    return ([*good, seeds.axis(seed, count)] if count and isinstance(seed, int) else good), composed


def stored(folder: Path, typed: Sequence[str], config_dir: str | None) -> list[str]:
    """What was typed for an earlier sweep. It is data: it may not speak to Hydra or the environment."""
    layout.check(folder)
    record = reading.node(run_folder.read_json(folder / "sweep.json"))
    overrides = record.get("overrides")
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise ConfigError(f"{folder / 'sweep.json'} is not the record of a sweep")
    bad = [o for o in overrides if o.startswith("-") or has_interpolation(o) or plain(o) != o]
    if typed or bad:
        word = typed[0] if typed else bad[0]
        raise ConfigError(f"`{word}`: a sweep goes on as it began")
    if record.get("config_dir") and not config_dir:  # a stranger's folder may not name one
        raise ConfigError("this sweep had config groups of its own: give their folder again, as --config-dir DIR")
    return overrides


@dataclass
class _Sweep:
    """Trains the jobs of a sweep, one call each."""

    folder: Path
    config_dir: str | None
    allow: list[str]
    allow_changed_data: bool
    stop: Stop
    words: list[str]  # that were typed beside the overrides
    stored: bool  # whether the record was read from a folder, which may be a stranger's

    def train(self, number: int, typed: Sequence[str]) -> None:
        """One job; what it fails of is told. Raises StorageError, as on a full disk what follows would fail, too."""
        try:
            text = self._job(self.folder / str(number), list(typed))
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        if not self.stop():
            say(f"[{number}] {' '.join(typed)}: {text}", error=text.startswith(("failed", "diverged")), flush=True)

    def _job(self, folder: Path, typed: list[str]) -> str:
        """Returns in words how it ended."""
        from dltrain.config.plan import make_plan
        from dltrain.training import experiment, overview

        begin, plan, composed, again = time.perf_counter(), None, None, folder.exists()
        if again and run_folder.complete(folder):
            return "was complete"
        if not again:
            folder.mkdir()
            run_folder.write_overrides(folder, typed)
        try:
            with run_folder.Lock(folder):
                composed = compose.compose(typed, self.config_dir, sweep=True)
                if self.stored:
                    composed = replace(composed, stored=True, started=compose.started(self.folder / "sweep.json"))
                plan = make_plan(composed, self.allow)
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
                run_folder.write_text(folder / "error.txt", traceback.format_exc())
            if plan is None:
                summary = {"status": status, "error": first, "seconds": time.perf_counter() - begin}
                run_folder.write_json(folder / "summary.json", summary)
                if composed is not None:
                    experiment.show_failure(folder, composed, summary)
            return f"{status}: {first}"
        best = summary["best"].get(reading.plain_name(plan.monitor), float("nan"))
        end = ", no better than one answer to every row" * (
            "val" in summary and overview.nothing_learned(plan, summary)
        )
        also = "".join(f"; {note}" for note in composed.switched_beside())
        return f"{plan.monitor} {best:.4g} ({summary['seconds']:.1f} s){end}{also}"
