"""The `dltrain` command. Only this module turns an error into an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltrain import __version__, catalogue, config
from dltrain.errors import ConfigError, DivergedError, DltrainError, StorageError, SweepError
from dltrain.signals import EXIT_CODES, Stop, stop_on_signal
from dltrain.targets import did_you_mean, user_allowed

_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

_USAGE = """\
dltrain {version}: train PyTorch models from the command line

usage:
  dltrain [KEY=VALUE | GROUP=NAME ...]      train; without arguments an MLP on scikit-learn's digits
  dltrain -m KEY=V1,V2 GROUP=A,B            train every combination, and compare
  dltrain resume RUN [KEY=VALUE ...]        go on with a stopped run or sweep: its folder, its short id, or `last`
  dltrain list [GROUP [NAME]]               explain what can be chosen, and its knobs

options:
  --config-dir DIR   a folder with config groups of your own      --cfg         print the configuration, train nothing
  --allow PACKAGE    let `_target_` name things in your package   --debug       show tracebacks
  -m, --multirun     sweep over comma-separated values            --version
  --allow-changed-data                                            resume although the data are not the same
  -sc ACTION         shell completion: eval "$(dltrain -sc install=bash)"

choices (GROUP=NAME):
{choices}

Any value of a chosen file can be set: optimizer.lr=0.01 model.widths=[64,32] trainer.epochs=5 data.batch_size=full
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or bool(os.environ.get("DLTRAIN_DEBUG"))
    try:
        code = _run(arguments)
    except DltrainError as error:
        if debug:
            raise
        lines = str(error).splitlines()
        print(f"error: {lines[0]}" if len(lines) == 1 else "\n  ".join(["error:", *lines]), file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if debug:
            raise
        if getattr(error, "errno", None) in _STORAGE:
            print(f"error: {error}; nothing that was saved before is lost", file=sys.stderr)
            sys.exit(StorageError.exit_code)
        print(f"error: {type(error).__name__}: {error}\n(--debug shows where)", file=sys.stderr)
        code = 1
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if any(a in ("-sc", "--shell-completion", "--hydra-help", "--info") for a in arguments):
        _hydra(lambda cfg: None, arguments)
        return 0
    options, rest = _parser().parse_known_args(arguments)
    flags = [a for a in rest if a.startswith("-")]
    if flags:
        known = re.findall(r"-[\w-]+", _parser().format_usage())
        raise ConfigError(f"unknown option {flags[0]}{did_you_mean(flags[0], known)}")
    if options.help:
        print(_USAGE.format(version=__version__, choices=_choices(options.config_dir)), end="")
    elif options.version:
        print(__version__)
    elif rest[:1] == ["list"]:
        _list(rest[1:], options.config_dir)
    elif rest[:1] == ["resume"]:
        return _resume(rest[1:], options)
    elif options.multirun:
        return _sweep(rest, options)
    else:
        return _train(rest, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dltrain", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--cfg", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--allow-changed-data", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--allow", action="append", default=[])
    return parser


def _allowed(named: Sequence[str]) -> list[str]:
    """Packages whose code a config may name; the user's own folder is then importable, as with `python -m`."""
    allow = [*named, *user_allowed(Path.cwd())]
    if allow and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return allow


# -- listing ---------------------------------------------------------------------------------------------------


def _choices(config_dir: str | None) -> str:
    import textwrap

    lines = []
    for group, names in catalogue.groups(config_dir).items():
        text = textwrap.wrap(" ".join(names), width=96)
        lines += [f"  {group if i == 0 else '':<15}{line}" for i, line in enumerate(text)]
    return "\n".join(lines)


def _list(words: list[str], config_dir: str | None) -> None:
    groups = catalogue.groups(config_dir)
    if not words:
        print(_choices(config_dir))
        print("\n`dltrain list GROUP` explains each choice and its knobs")
        return
    group, *names = words
    if group not in groups:
        raise ConfigError(f"there is no group `{group}`{did_you_mean(group, groups)}; there are {', '.join(groups)}")
    unknown = [n for n in names if n not in groups[group]]
    if unknown:
        raise ConfigError(f"{group} has no `{unknown[0]}`{did_you_mean(unknown[0], groups[group])}")
    for choice in catalogue.choices(group, config_dir):
        if names and choice.name not in names:
            continue
        print(f"{group}={choice.name}\n    {choice.explanation}")
        for key, value, note in choice.knobs:
            print(f"      {key + ': ' + value:<32}  {note}".rstrip())


# -- training --------------------------------------------------------------------------------------------------


def _train(overrides: list[str], options: argparse.Namespace) -> int:
    if options.cfg:
        overrides = [o for o in overrides if o != "job"]  # Hydra's own spelling is `--cfg job`
    composed = config.compose(overrides, options.config_dir)
    if options.cfg:
        if composed.mistakes:
            raise ConfigError("\n".join(composed.mistakes))
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(composed.cfg, resolve=True), end="")
        return 0
    from dltrain import experiment, report, runs
    from dltrain.plan import make_plan

    plan = make_plan(composed, _allowed(options.allow))
    print(report.describe(plan), flush=True)
    with stop_on_signal() as stop:
        if plan.resume is not None:
            from dltrain import resuming

            if folder := resuming.find(plan):
                return _go_on(plan, folder, stop, options)
        folder = runs.create(plan.runs_dir, plan.name)
        with runs.Lock(folder):
            experiment.prepare(plan, folder, ["dltrain", *sys.argv[1:]])
            summary = experiment.train(plan, folder, stop=stop)
    return _end(plan, folder, summary)


def _end(plan: Any, folder: Path, summary: dict[str, Any]) -> int:
    from dltrain import report

    if summary["status"] == "stopped":
        print(f"stopped at step {summary['steps']}; resume: dltrain resume {folder}", file=sys.stderr)
        return EXIT_CODES[summary["reason"]]
    print(report.result(plan, folder, summary))
    return 0


def _resume(words: list[str], options: argparse.Namespace) -> int:
    if not words:
        raise ConfigError("say which run: dltrain resume RUN (its folder, its short id, or last)")
    from dltrain import runs

    if (Path(words[0]) / "sweep.json").is_file():
        return _resume_sweep(Path(words[0]), words[1:], options)
    folder = runs.find(words[0], Path("runs"))
    if len(words) == 1 and _complete(folder):
        print(f"{folder} is complete; nothing to resume")
        return 0
    from dltrain import report, resuming
    from dltrain.plan import make_plan

    plan = make_plan(resuming.stored(folder, words[1:]), _allowed(options.allow))
    print(report.describe(plan), flush=True)
    with stop_on_signal() as stop:
        return _go_on(plan, folder, stop, options)


def _go_on(plan: Any, folder: Path, stop: Stop, options: argparse.Namespace) -> int:
    """Resumes a run, unless it has all the steps that it should have."""
    from dltrain import experiment, runs

    with runs.Lock(folder):
        if _complete(folder, plan.total_steps):
            print(f"{folder} is complete; nothing to resume")
            return 0
        allow = options.allow_changed_data
        summary = experiment.train(plan, folder, resume=True, stop=stop, allow_changed_data=allow)
    return _end(plan, folder, summary)


def _complete(folder: Path, steps: int = 0) -> bool:
    """Whether a run has ended by itself, with at least so many steps."""
    from dltrain import runs

    file = folder / "summary.json"
    summary = runs.read_json(file) if file.is_file() else {}
    status = summary.get("status") if isinstance(summary, dict) else None
    done = summary.get("steps", 0) if isinstance(summary, dict) else 0
    return status == "early_stopped" or (status == "done" and isinstance(done, int) and done >= steps)


# -- sweeps ----------------------------------------------------------------------------------------------------


def _sweep(overrides: list[str], options: argparse.Namespace, folder: Path | None = None) -> int:
    """Hydra's sweep, each job in a folder of its own; what failed is recorded and the others go on.

    With the folder of an earlier sweep its complete jobs are passed over, and the others go on.
    """
    good, mistakes = config.check_overrides(overrides, options.config_dir, sweep=True)
    first = [o for o in config.first_of_each(good) if not o.startswith("hydra")]
    mistakes += config.compose(first, options.config_dir).mistakes
    mistakes += [f"`{o}`: a sweep goes on with dltrain resume FOLDER" for o in good if o.startswith("resume=")]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    from dltrain import report, runs

    hydra_options = ["--config-dir", str(Path(options.config_dir).resolve())] if options.config_dir else []
    if folder is None:
        values = dict(o.lstrip("+").split("=", 1) for o in good if "=" in o)
        name = values.get("name", values.get("experiment", "sweep"))
        name = "sweep" if "," in name or config.name_mistake(name) else name
        folder = runs.create(Path(values.get("runs_dir", "runs")), name)
        runs.write_json(folder / "sweep.json", {"overrides": overrides, "config_dir": hydra_options[1:]})
    jobs = _Jobs(folder, options, _allowed(options.allow))
    with runs.Lock(folder), stop_on_signal() as jobs.stop:
        try:
            _hydra(jobs.run, [*good, f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=.", "-m", *hydra_options])
        except KeyboardInterrupt:
            jobs.stop.reason = jobs.stop.reason or "SIGINT"
    if jobs.fatal:
        raise jobs.fatal
    done = report.sweep(folder)
    print(f"\n{report.sweep_table(done)}\n\n{len(done)} job{'s' * (len(done) != 1)} in {folder}")
    if jobs.stop.reason:
        print(f"stopped; resume: dltrain resume {folder}", file=sys.stderr)
        return EXIT_CODES[jobs.stop.reason]
    failed = [j for j in done if j.status not in ("done", "early_stopped")]
    if failed:
        raise SweepError(f"{len(failed)} of {len(done)} jobs failed")
    return 0


def _resume_sweep(folder: Path, typed: list[str], options: argparse.Namespace) -> int:
    """Goes on with a sweep. What its folder says was typed is data: it may not speak to Hydra or the environment."""
    from dltrain import runs

    stored = runs.read_json(folder / "sweep.json")
    overrides = stored.get("overrides") if isinstance(stored, dict) else None
    if not isinstance(overrides, list) or not all(isinstance(o, str) for o in overrides):
        raise ConfigError(f"{folder / 'sweep.json'} is not the record of a sweep")
    bad = [o for o in overrides if "hydra" in o or "${" in o or o.startswith("-")]
    if typed or bad:
        word = typed[0] if typed else bad[0]
        raise ConfigError(f"`{word}`: a sweep goes on as it began, and without settings of Hydra's own")
    if stored.get("config_dir") and not options.config_dir:  # a stranger's folder may not name one
        raise ConfigError("this sweep had config groups of its own: give their folder again, as --config-dir DIR")
    return _sweep(overrides, options, folder)


class _Jobs:
    """Runs the jobs of a sweep, one call each."""

    def __init__(self, folder: Path, options: argparse.Namespace, allow: list[str]) -> None:
        self.folder, self.options, self.allow = folder, options, allow
        self.stop: Any = None
        self.fatal: StorageError | None = None  # a full disk: what follows would fail too

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
        out = sys.stderr if text.startswith(("failed", "diverged")) else sys.stdout
        print(f"[{number}] {' '.join(typed)}: {text}", file=out, flush=True)
        return value

    def _job(self, folder: Path, cfg: Any, choices: dict[str, Any], typed: list[str]) -> tuple[str, float]:
        """Trains; returns in words how it ended, and the best value of the monitor."""
        import traceback

        from dltrain import experiment, runs
        from dltrain.plan import make_plan

        begin, plan, again = time.perf_counter(), None, folder.exists()
        if again and _complete(folder):
            return "was complete", float("nan")
        if not again:
            folder.mkdir()
            runs.write_text(folder / "overrides.txt", "".join(f"{o}\n" for o in typed))
        try:
            with runs.Lock(folder):
                plan = make_plan(config.from_job(cfg, choices, typed), self.allow)
                if not again or not (folder / "data.json").exists():
                    experiment.prepare(plan, folder, ["dltrain", *typed])
                data = self.options.allow_changed_data
                summary = experiment.train(plan, folder, resume=again, stop=self.stop, allow_changed_data=data)
        except StorageError:
            raise
        except (Exception, SystemExit) as error:  # a model of the user's may call sys.exit
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            status = "diverged" if isinstance(error, DivergedError) else "failed"
            if not isinstance(error, DltrainError):
                first = f"{type(error).__name__}: {first}"
                runs.write_text(folder / "error.txt", traceback.format_exc())
            if plan is None:
                seconds = time.perf_counter() - begin
                runs.write_json(folder / "summary.json", {"status": status, "error": first, "seconds": seconds})
            return f"{status}: {first}", float("nan")
        name = plan.monitor.removeprefix("val/").replace("/", "_")  # train/loss stands there as train_loss
        best = summary["best"].get(name, float("nan"))
        return f"{plan.monitor} {best:.4g} ({summary['seconds']:.1f} s)", best


def _hydra(function: Any, arguments: list[str]) -> None:
    """Runs Hydra's own main with these arguments."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    GlobalHydra.instance().clear()
    try:
        hydra.main(config_path=str(catalogue.CONFIGS), config_name="train", version_base="1.3")(function)()
    finally:
        sys.argv = before


if __name__ == "__main__":
    main()
