"""`dltrain KEY=VALUE ...`, `dltrain -m ...`, `dltrain resume RUN` and `--cfg`: all that trains, or shows what would be.

What takes long to import is imported where it is needed, after what can be told without it.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.commands.garbage import collect_again
from dltrain.config import command_line, processes
from dltrain.errors import ConfigError, DltrainError, SweepError, key_of, streams
from dltrain.errors.output import say, silence
from dltrain.runs import seeds
from dltrain.training.stop import stop_on_signal

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from dltrain.sweeps.request import Options as SweepOptions
    from dltrain.training.experiment import Ended
    from dltrain.training.rendezvous import Rendezvous

EXIT_CODES = {
    "SIGHUP": 129,
    "SIGINT": 130,
    "SIGBREAK": 130,
    "SIGUSR1": 138,
    "SIGTERM": 143,
    "max_time": 138,
}  # why a run was stopped -> the command's


def show(words: list[str], options: argparse.Namespace) -> int:
    """`--cfg`: prints the configuration; of a sweep that of its first job."""
    processes.refuse(doing="--cfg", nproc=options.nproc)
    from dltrain.config import compose, hydra

    words = [w for w in words if w != "job"]  # Hydra writes `--cfg job`
    if word := next((w for w in words if w in ("hydra", "all")), None):
        raise ConfigError(f"--cfg {word}: no setting of Hydra's own is used; --cfg prints the configuration")
    if options.multirun:
        from dltrain.sweeps import request

        wanted = request.read(words, _sweep_options(options))
        composed, jobs = wanted.first, wanted.trials.total
        say(f"# {jobs} job{'s' * (jobs != 1)}, of which this is the first: {' '.join(composed.overrides)}")
    else:
        others, count, mistakes = seeds.split(words)
        if mistakes:
            raise ConfigError(mistakes[0])
        composed = compose.compose(others, options.config_dir)
        if composed.mistakes:
            raise ConfigError("\n".join(composed.mistakes))
        if count.seeds:
            axis = seeds.axis(composed.values.get("seed"), count.seeds)
            say(f"# seeds={count.seeds}: {count.seeds} runs, with {axis}")
        if count.folds:
            say(f"# folds={count.folds}: {count.folds} runs, with {seeds.fold_axis(count.folds)}")
    if unresolved := composed.resolved.unresolved:
        key, why = next(iter(unresolved.items()))
        raise ConfigError(f"{key}: {why or 'what it refers to is not given'}")
    say(hydra.as_yaml(composed.values), end="")
    streams.delivered()
    return 0


def train(overrides: list[str], options: argparse.Namespace) -> int:
    """One run."""
    several = _several()
    with _met(several) as meeting:
        from dltrain.config import compose
        from dltrain.config.nodes import first_look

        composed = compose.compose(overrides, options.config_dir)
        allow = command_line.allowed(options.allow)
        first_look(composed, allow)  # before the second that torch takes to import
        from dltrain.config.plan import make_plan
        from dltrain.training import distributed, experiment, overview

        collect_again()
        ranks = None if meeting is None else meeting.join(composed)
        plan = make_plan(composed, allow, ranks=ranks)
        if several and several.restarts and plan.resume is None:
            plan.resume = distributed.remembered_run(ranks)
        say(overview.describe(plan), flush=True)
        command, changed = ["dltrain", *options.typed], options.allow_changed_data
        with stop_on_signal(quiet=not plan.is_rank_zero) as stop:
            ended = experiment.run(plan, command=command, stop=stop, allow_changed_data=changed)
        return _told(ended, options.allow)


def first_look(overrides: list[str], options: argparse.Namespace) -> None:
    """Raises ConfigError for what shows in a run's configuration before torch is imported."""
    from dltrain.config import compose, nodes

    nodes.first_look(compose.compose(overrides, options.config_dir), command_line.allowed(options.allow))


def _several() -> processes.Processes | None:
    """Which of several processes this is, where it is; the first alone speaks."""
    found = processes.found()
    if found is not None:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else it traces how another process was lost
        if found.rank:
            silence()
    return found


def _met(several: processes.Processes | None) -> AbstractContextManager[Rendezvous | None]:
    """Where several processes hear of each other's mistakes, from here on; None where this one is alone."""
    if several is None:
        return nullcontext()
    from dltrain.training import rendezvous

    return rendezvous.met(several)


def resume(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain resume RUN`: goes on with a run, or with the rest of a sweep."""
    several = _several()
    if not words:
        raise ConfigError("say which run: dltrain resume RUN (its folder, its short id, last or best)")
    with _met(several) as meeting:
        from dltrain.runs import reading, run_folder

        if elsewhere := [word for word in words[1:] if key_of(word) == "runs_dir"]:
            place = elsewhere[-1].partition("=")[2]
            raise ConfigError(f"`{elsewhere[-1]}`: a run goes on in its own folder; of those in {place}: {place}/last")
        folder = run_folder.find(words[0], sweeps=True)
        if (folder / "sweep.json").is_file():
            return sweep(words[1:], options, folder)
        if len(words) == 1 and run_folder.complete(folder):
            return _nothing_left(folder)
        from dltrain.config.plan import make_plan
        from dltrain.training import experiment, overview, resuming

        collect_again()
        composed = resuming.stored(folder, words[1:])
        ranks = None if meeting is None else meeting.join(composed)
        plan = make_plan(composed, command_line.allowed(options.allow), ranks=ranks)
        plan = resuming.judged_as_begun(plan, folder)
        resuming.as_begun(plan.settings, reading.read_json(folder / "environment.json")[0])  # the overview names it
        say(overview.describe(plan), flush=True)
        with stop_on_signal(quiet=not plan.is_rank_zero) as stop:
            ended = experiment.go_on(plan, folder, stop=stop, allow_changed_data=options.allow_changed_data)
        return _told(ended, options.allow)


def _nothing_left(folder: Path) -> int:
    say(f"{folder} is complete; nothing to resume")
    return 0


def _told(ended: Ended, allow: Sequence[str]) -> int:
    """What came of a run in words; the exit code. allow: the packages that were typed."""
    from dltrain.insight import outcome

    plan, folder, summary = ended.plan, ended.folder, ended.summary
    if summary is None:
        return _nothing_left(folder)
    if summary["status"] == "stopped":
        ranks = plan.ranks if processes.LAUNCHER in os.environ else None  # torchrun and srun have words of their own
        typed = [] if ranks is None else [f"--nproc={ranks.world_size}"]
        again = _again(folder, [*typed, *(f"--allow={name}" for name in allow)])
        say(f"stopped at step {summary['steps']}; resume: {again}", error=True)
        assert summary["reason"] is not None  # it was a signal or the time
        return EXIT_CODES[summary["reason"]]
    if not plan.is_rank_zero:
        return 0
    plan = replace(plan, ranks=None)  # what is found out now is work of this process
    say(outcome.told(plan, folder, summary))
    if plan.diagnose:
        from dltrain.insight.doctor import doctor

        say(doctor.after_training(plan, folder))
    return 0


def _again(folder: Path, words: Sequence[str]) -> str:
    """The command that goes on, with what was typed beside the overrides."""
    return shlex.join(["dltrain", "resume", str(folder), *words])


def sweep(overrides: list[str], options: argparse.Namespace, folder: Path | None = None) -> int:
    """A new sweep, or the rest of the one in a folder."""
    processes.refuse(doing="a sweep", nproc=options.nproc)
    if options.dry_run and folder is None:
        return _preview(overrides, options)
    from dltrain.sweeps.engines import local

    command_line.allowed(options.allow)  # the engine imports from where this process does
    with local.started() as engine:  # first, so that it imports torch while all else is looked at
        from dltrain.sweeps import sweep as sweeps

        collect_again()
        asked = _sweep_options(options)
        go_on = folder is not None
        ended = sweeps.go_on(folder, overrides, asked, engine) if go_on else sweeps.begin(overrides, asked, engine)
    from dltrain.runs import sweep_table
    from dltrain.sweeps import told

    done = sweep_table.jobs(ended.folder)
    say(f"\n{sweep_table.table(done)}\n\n{len(done)} job{'s' * (len(done) != 1)} in {ended.folder}")
    if ended.counts["pruned"]:
        say(told.spared(done))
    for note in told.changed(done):
        say(f"note: {note}", error=True)
    if seeds.FOLD in seeds.keys(done) and not ended.reason:
        _say_out_of_fold(ended.folder, asked.allow)
    again = _again(ended.folder, asked.words)
    if ended.reason or ended.counts["stopped"]:
        say(f"stopped; resume: {again}", error=True)
        alone = (job.reason for job in done if job.status == "stopped" and job.reason in EXIT_CODES)
        return EXIT_CODES[ended.reason or next(alone, "max_time")]
    if failed := ended.counts["failed"] + ended.counts["diverged"]:
        raise SweepError(f"{failed} of {sum(ended.counts.values())} jobs failed; again: {again} --retry-failed")
    return 0


def _say_out_of_fold(folder: Path, allow: Sequence[str]) -> None:
    """Has each row answered by a run that has not seen it, and says how good that is."""
    from dltrain.trained import folds

    try:
        found = folds.out_of_fold(folder, allow=allow)
    except DltrainError as error:
        say(f"note: {folds.refused(folder, error)}", error=True)
    else:
        say("\n" + "\n".join(found.told()) if found else "", end="\n" * (found is not None))


def _preview(overrides: list[str], options: argparse.Namespace) -> int:
    from dltrain.sweeps import request
    from dltrain.sweeps.preview import preview

    asked = _sweep_options(options)
    say(preview(request.read(overrides, asked), asked))
    return 0


def _sweep_options(options: argparse.Namespace) -> SweepOptions:
    from dltrain.sweeps.request import Options

    return Options(
        config_dir=options.config_dir,
        allow=tuple(command_line.allowed(options.allow)),
        allow_changed_data=options.allow_changed_data,
        retry_failed=options.retry_failed,
        reuse=options.reuse,
        many=options.multirun,
    )
