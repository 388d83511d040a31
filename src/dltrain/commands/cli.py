"""The `dltrain` command. Only this module turns an error into an exit code."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from dltrain import __version__
from dltrain.config import choices, command_line
from dltrain.config.policy import did_you_mean
from dltrain.errors import CheckpointError, ConfigError, DltrainError, StorageError, SweepError, streams
from dltrain.errors.output import cut, say, short_lines
from dltrain.errors.paths import forbidden
from dltrain.runs import seeds
from dltrain.training.stop import EXIT_CODES, Stop, stop_on_signal

_HYDRAS = {  # options that Hydra's own programs have -> what serves here
    **dict.fromkeys(("--hydra-help", "--info", "-i"), "; `dltrain --help` and `dltrain list` tell what there is"),
    **dict.fromkeys(("--config-path", "-cp", "--config-name", "-cn"), "; --config-dir DIR, and experiment=NAME in it"),
    **dict.fromkeys(("--package", "-p"), "; --cfg prints the whole configuration"),
    **dict.fromkeys(("--run", "-r"), "; leave it out: dltrain trains unless told otherwise"),
    "--experimental-rerun": "; dltrain resume RUN goes on with a run",
}
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

_USAGE = """\
dltrain {version}: train PyTorch models from the command line

usage:
  dltrain [KEY=VALUE | GROUP=NAME ...]      train; without arguments an MLP on scikit-learn's digits
  dltrain -m KEY=V1,V2 GROUP=A,B            train every combination, and compare
  dltrain seeds=5 ...                       train with seeds 0 to 4: one row of mean and deviation; with -m too
  dltrain resume RUN [KEY=VALUE ...]        go on with a run or sweep; RUN is a folder, a short id, last or best
  dltrain list [GROUP [NAME]]               explain what can be chosen, and its knobs
  dltrain lr [KEY=VALUE ...]                find a learning rate for what would be trained; draws lr_range.png
  dltrain trace [KEY=VALUE ...]             the first step of it in numbers; try experiment=worked_example
  dltrain runs [WHERE]                      a table of runs; --where optimizer=adamw --sort test/accuracy --csv ...
  dltrain show RUN                          all about one: configuration, result, where it stopped, files
  dltrain compare RUN RUN ...               what differs, curves, and whether the difference is more than noise
  dltrain doctor RUN                        look into every layer: what is wrong with a run, and what to try
  dltrain dream RUN --class NAME            what the net looks for, and a real example changed until it errs
  dltrain report RUN|SWEEP [-o page.html]   one page with pictures of what was learned, readable without a network
  dltrain eval RUN [data.KEY=VALUE ...]     judge its best weights: each class, calibration, the worst examples
  dltrain predict RUN INPUT [-o FILE]       answers for a table, images or `-`, written as CSV or Parquet
  dltrain export RUN --format pt2           its model with the preprocessing inside; or safetensors, onnx
  dltrain rm RUN ...                        remove runs or sweeps, after showing what goes and a yes
  dltrain clean [WHERE]                     the same for all that failed, diverged, or never got to a checkpoint

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
    with streams.unfailing():
        code = _exit_code(arguments)
    sys.exit(code)


def _exit_code(arguments: list[str]) -> int:
    """Does what was typed; says what went wrong."""
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of their time
    debug = "--debug" in arguments or bool(os.environ.get("DLTRAIN_DEBUG"))
    try:
        return _run(arguments)
    except DltrainError as error:
        if debug:
            raise
        lines = short_lines(str(error))
        say(f"error: {lines[0]}" if len(lines) == 1 else "\n  ".join(["error:", *lines]), error=True)
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted", error=True)
        return 130
    except Exception as error:
        if debug:
            raise
        if isinstance(error, PermissionError) and error.filename:
            say(f"error: {forbidden(error)}", error=True)
            return ConfigError.exit_code
        if getattr(error, "errno", None) in _STORAGE:
            say(f"error: {cut(str(error), 1000)}; nothing that was saved before is lost", error=True)
            return StorageError.exit_code
        lines = "\n".join(short_lines(f"{type(error).__name__}: {error}"))
        say(f"error: {lines}\n(--debug shows where)", error=True)
        return 1
    finally:
        gc.enable()


def _collect_again() -> None:
    """Garbage is collected from here on; what was imported stays out of it."""
    if not gc.get_freeze_count():  # once: a later call would also keep what is garbage by then
        gc.freeze()
    gc.enable()


def _run(arguments: list[str]) -> int:
    if any(a in ("-sc", "--shell-completion") for a in arguments):
        return _complete(arguments)
    options, rest = _parser().parse_known_args(arguments, argparse.Namespace(typed=arguments))
    if not (options.help or options.version or rest[:1] == ["list"]):
        command_line.refuse_several_processes()
    if rest and rest[0] in command_line.FACES:
        command = command_line.find(rest[0])
        _collect_again()
        return command([*rest[1:], *["--help"] * options.help], options)
    flags = [a for a in rest if a.startswith("-")]
    if flags:
        known = re.findall(r"-[\w-]+", _parser().format_usage())
        flag = flags[0].partition("=")[0]
        hint = did_you_mean(flag, known) or "; a value is written as in trainer.epochs=3, `dltrain list` has all keys"
        raise ConfigError(f"unknown option {flag}{_HYDRAS.get(flag, hint)}")
    if options.help:
        say(_USAGE.format(version=__version__, choices=_choices(options.config_dir)), end="")
    elif options.version:
        say(__version__)
    elif rest[:1] == ["list"]:
        _list(rest[1:], options.config_dir)
    elif rest[:1] == ["resume"]:
        return _resume(rest[1:], options)
    elif options.cfg:
        _show(rest, options)
    elif options.multirun or seeds.split(rest) != (rest, 0, []):
        return _sweep(rest, options)
    else:
        return _train(rest, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dltrain", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--cfg", "-c", action="store_true")
    parser.add_argument("--resolve", action="store_true")  # of Hydra's --cfg, which leaves references as they are
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--allow-changed-data", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--allow", action="append", default=[])

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"dltrain: {message}; `dltrain --help` shows the options")

    parser.error = refuse
    return parser


def _complete(arguments: list[str]) -> int:
    """Shell completion is Hydra's."""
    from dltrain.config import hydra

    action = next((a for a in arguments if re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", a)), None)
    if action is None:
        raise ConfigError("shell completion: write -sc install=bash, or uninstall; there are bash, zsh and fish")
    hydra.complete(action)
    return 0


# -- listing ---------------------------------------------------------------------------------------------------


def _choices(config_dir: str | None) -> str:
    import textwrap

    lines = []
    for group, names in choices.groups(config_dir).items():
        text = textwrap.wrap(" ".join(names), width=96)
        lines += [f"  {group if i == 0 else '':<15}{line}" for i, line in enumerate(text)]
    return "\n".join(lines)


def _list(words: list[str], config_dir: str | None) -> None:
    groups = choices.groups(config_dir)
    if not words:
        say(_choices(config_dir))
        say("\n`dltrain list GROUP` explains each choice and its knobs")
        return
    group, *names = words
    if group not in groups:
        raise ConfigError(f"there is no group `{group}`{did_you_mean(group, groups)}; there are {', '.join(groups)}")
    unknown = [n for n in names if n not in groups[group]]
    if unknown:
        raise ConfigError(f"{group} has no `{unknown[0]}`{did_you_mean(unknown[0], groups[group])}")
    for choice in choices.choices(group, config_dir):
        if names and choice.name not in names:
            continue
        say(f"{group}={choice.name}\n    {cut(choice.explanation, 300)}")
        for key, value, note in choice.knobs:
            say(f"      {cut(key + ': ' + value, 100):<32}  {cut(note, 300)}".rstrip())


# -- training --------------------------------------------------------------------------------------------------


def _show(words: list[str], options: argparse.Namespace) -> None:
    """Prints the configuration; of a sweep that of its first job."""
    from dltrain.config import compose, hydra

    words = [w for w in words if w != "job"]  # Hydra writes `--cfg job`
    if word := next((w for w in words if w in ("hydra", "all")), None):
        raise ConfigError(f"--cfg {word}: no setting of Hydra's own is used; --cfg prints the configuration")
    if options.multirun:
        from dltrain.sweeps import sweep

        composed, jobs = sweep.first_job(
            words, config_dir=options.config_dir, allow=command_line.allowed(options.allow)
        )
        say(f"# {jobs} job{'s' * (jobs != 1)}, of which this is the first: {' '.join(composed.overrides)}")
    else:
        others, count, mistakes = seeds.split(words)
        if mistakes:
            raise ConfigError(mistakes[0])
        composed = compose.compose(others, options.config_dir)
        if composed.mistakes:
            raise ConfigError("\n".join(composed.mistakes))
        if count:
            say(f"# seeds={count}: {count} runs, with {seeds.axis(composed.values['seed'], count)}")
    if unresolved := composed.resolved.unresolved:
        key, why = next(iter(unresolved.items()))
        raise ConfigError(f"{key}: {why or 'what it refers to is not given'}")
    say(hydra.as_yaml(composed.values), end="")
    streams.delivered()


def _train(overrides: list[str], options: argparse.Namespace) -> int:
    from dltrain.config import compose
    from dltrain.config.nodes import first_look

    composed = compose.compose(overrides, options.config_dir)
    allow = command_line.allowed(options.allow)
    first_look(composed, allow)  # before the second that torch takes to import
    from dltrain.config.plan import make_plan
    from dltrain.runs import run_folder
    from dltrain.training import experiment, overview

    _collect_again()
    plan = make_plan(composed, allow)
    say(overview.describe(plan), flush=True)
    with stop_on_signal() as stop:
        if plan.resume is not None:
            from dltrain.training import resuming

            for folder in resuming.find(plan):
                try:
                    return _go_on(plan, folder, stop, options)
                except CheckpointError as error:
                    if plan.resume != "auto":
                        raise
                    resuming.passed_over(folder, str(error))
        folder = run_folder.create(plan.runs_dir, plan.name)
        with run_folder.Lock(folder):
            experiment.prepare(plan, folder, ["dltrain", *options.typed])
            summary = experiment.train(plan, folder, stop=stop)
    return _end(plan, folder, summary)


def _end(plan: Any, folder: Path, summary: dict[str, Any]) -> int:
    from dltrain.training import overview

    if summary["status"] == "stopped":
        say(f"stopped at step {summary['steps']}; resume: dltrain resume {folder}", error=True)
        return EXIT_CODES[summary["reason"]]
    say(overview.result(plan, folder, summary))
    if plan.diagnose:
        from dltrain.insight.doctor import doctor

        say(doctor.after_training(plan, folder))
    return 0


def _resume(words: list[str], options: argparse.Namespace) -> int:
    if not words:
        raise ConfigError("say which run: dltrain resume RUN (its folder, its short id, last or best)")
    from dltrain.runs import run_folder

    folder = run_folder.find(words[0], sweeps=True)
    if (folder / "sweep.json").is_file():
        return _sweep(words[1:], options, folder)
    if len(words) == 1 and run_folder.complete(folder):
        say(f"{folder} is complete; nothing to resume")
        return 0
    from dltrain.config.plan import make_plan
    from dltrain.training import overview, resuming

    _collect_again()
    plan = make_plan(resuming.stored(folder, words[1:]), command_line.allowed(options.allow))
    say(overview.describe(plan), flush=True)
    with stop_on_signal() as stop:
        return _go_on(plan, folder, stop, options)


def _go_on(plan: Any, folder: Path, stop: Stop, options: argparse.Namespace) -> int:
    """Resumes a run, unless it has all the steps that it should have."""
    from dltrain.runs import run_folder
    from dltrain.training import experiment

    with run_folder.Lock(folder):
        if run_folder.complete(folder, plan.total_steps):
            say(f"{folder} is complete; nothing to resume")
            return 0
        allow = options.allow_changed_data
        summary = experiment.train(plan, folder, resume=True, stop=stop, allow_changed_data=allow)
    return _end(plan, folder, summary)


def _sweep(overrides: list[str], options: argparse.Namespace, folder: Path | None = None) -> int:
    """A new sweep, or the rest of the one in a folder."""
    from dltrain.sweeps import sweep

    _collect_again()
    if folder is not None:
        overrides = sweep.stored(folder, overrides, options.config_dir)
    folder, stopped = sweep.run(
        overrides,
        config_dir=options.config_dir,
        allow=command_line.allowed(options.allow),
        allow_changed_data=options.allow_changed_data,
        many=options.multirun or folder is not None,
        folder=folder,
    )
    from dltrain.training import overview

    done = overview.sweep(folder)
    say(f"\n{overview.sweep_table(done)}\n\n{len(done)} job{'s' * (len(done) != 1)} in {folder}")
    if stopped:
        say(f"stopped; resume: dltrain resume {folder}", error=True)
        return EXIT_CODES[stopped]
    failed = [j for j in done if j.status not in ("done", "early_stopped")]
    if failed:
        raise SweepError(f"{len(failed)} of {len(done)} jobs failed")
    return 0


if __name__ == "__main__":
    main()
