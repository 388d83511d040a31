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
from dltrain.targets import did_you_mean, user_allowed

_SIGNALS = {"SIGINT": 130, "SIGTERM": 143}
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

_USAGE = """\
dltrain {version}: train PyTorch models from the command line

usage:
  dltrain [KEY=VALUE | GROUP=NAME ...]      train; without arguments an MLP on scikit-learn's digits
  dltrain -m KEY=V1,V2 GROUP=A,B            train every combination, and compare
  dltrain resume RUN                        go on with a stopped run: its folder, its short id, or `last`
  dltrain list [GROUP [NAME]]               explain what can be chosen, and its knobs

options:
  --config-dir DIR   a folder with config groups of your own      --cfg         print the configuration, train nothing
  --allow PACKAGE    let `_target_` name things in your package   --debug       show tracebacks
  -m, --multirun     sweep over comma-separated values            --version
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
        return _resume(rest[1:], _allowed(options.allow))
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
    folder = runs.create(plan.runs_dir, plan.name)
    with runs.Lock(folder):
        experiment.prepare(plan, folder, ["dltrain", *sys.argv[1:]])
        summary = experiment.train(plan, folder)
    return _end(plan, folder, summary)


def _end(plan: Any, folder: Path, summary: dict[str, Any]) -> int:
    from dltrain import report

    if summary["status"] == "stopped":
        print(f"stopped at step {summary['steps']}; resume: dltrain resume {folder}", file=sys.stderr)
        return _SIGNALS[summary["signal"]]
    print(report.result(plan, folder, summary))
    return 0


def _resume(words: list[str], allow: list[str]) -> int:
    if not words:
        raise ConfigError("say which run: dltrain resume RUN (its folder, its short id, or last)")
    if len(words) > 1:
        raise ConfigError(f"`{words[1]}`: a run resumes with the configuration that it has; it takes no overrides")
    from dltrain import experiment, report, runs
    from dltrain.plan import make_plan

    folder = runs.find(words[0], Path("runs"))
    with runs.Lock(folder):
        summary_file = folder / "summary.json"
        before = runs.read_json(summary_file) if summary_file.is_file() else {}
        if before.get("status") in ("done", "early_stopped"):
            print(f"{folder} is complete; nothing to resume")
            return 0
        plan = make_plan(config.stored(folder), allow)
        print(report.describe(plan), flush=True)
        summary = experiment.train(plan, folder, resume=True)
    return _end(plan, folder, summary)


# -- sweeps ----------------------------------------------------------------------------------------------------


def _sweep(overrides: list[str], options: argparse.Namespace) -> int:
    """Hydra's sweep, each job in a folder of its own; what failed is recorded and the others go on."""
    good, mistakes = config.check_overrides(overrides, options.config_dir, sweep=True)
    first = [o for o in config.first_of_each(good) if not o.startswith("hydra")]
    mistakes += config.compose(first, options.config_dir).mistakes
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    from dltrain import report, runs

    values = dict(o.lstrip("+").split("=", 1) for o in good if "=" in o)
    name = values.get("name", values.get("experiment", "sweep"))
    folder = runs.create(
        Path(values.get("runs_dir", "runs")), "sweep" if "," in name or config.name_mistake(name) else name
    )
    allow = _allowed(options.allow)
    hydra_options = ["--config-dir", str(Path(options.config_dir).resolve())] if options.config_dir else []

    def job(cfg: Any) -> float:
        return _job(cfg, folder, allow)

    stopped = False
    try:
        _hydra(job, [*good, f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=.", "-m", *hydra_options])
    except KeyboardInterrupt:
        stopped = True
    jobs = report.sweep(folder)
    print(f"\n{report.sweep_table(jobs)}\n\n{len(jobs)} job{'s' * (len(jobs) != 1)} in {folder}")
    failed = [j for j in jobs if j.status not in ("done", "early_stopped", "stopped")]
    if stopped:
        unfinished = [f"dltrain resume {folder / str(j.number)}" for j in jobs if j.status == "stopped"]
        print("interrupted: the jobs after these did not run", *unfinished, sep="\n", file=sys.stderr)
        return 130
    if failed:
        raise SweepError(f"{len(failed)} of {len(jobs)} jobs failed")
    return 0


def _job(cfg: Any, sweep: Path, allow: list[str]) -> float:
    """One job of a sweep; returns the best value of its monitor, NaN when it failed."""
    import traceback

    from hydra.core.hydra_config import HydraConfig

    from dltrain import experiment, runs
    from dltrain.plan import make_plan

    hydra = HydraConfig.get()
    folder, begin, plan = sweep / str(hydra.job.num), time.perf_counter(), None
    folder.mkdir()
    typed = list(hydra.overrides.task)
    runs.write_text(folder / "overrides.txt", "".join(f"{o}\n" for o in typed))
    try:
        with runs.Lock(folder):
            plan = make_plan(config.from_job(cfg, dict(hydra.runtime.choices), typed), allow)
            experiment.prepare(plan, folder, ["dltrain", *typed])
            summary = experiment.train(plan, folder)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        summary = {"status": "diverged" if isinstance(error, DivergedError) else "failed"}
        if not isinstance(error, DltrainError):
            first = f"{type(error).__name__}: {first}"
            runs.write_text(folder / "error.txt", traceback.format_exc())
        if plan is None:
            runs.write_json(
                folder / "summary.json", {**summary, "error": first, "seconds": time.perf_counter() - begin}
            )
        print(f"[{hydra.job.num}] {' '.join(typed)}: {summary['status']}: {first}", file=sys.stderr)
        return float("nan")
    if summary["status"] == "stopped":
        raise KeyboardInterrupt
    name = plan.monitor.removeprefix("val/").replace("/", "_")  # train/loss stands there as train_loss
    value = summary["best"].get(name, float("nan"))
    print(f"[{hydra.job.num}] {' '.join(typed)}: {plan.monitor} {value:.4g} ({summary['seconds']:.1f} s)", flush=True)
    return value


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
