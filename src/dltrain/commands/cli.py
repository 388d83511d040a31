"""The `dltrain` command. Only this module turns an error into an exit code."""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NoReturn

from dltrain import __version__
from dltrain.commands import garbage
from dltrain.config import command_line, processes
from dltrain.errors import ConfigError, DivergedError, DltrainError, Quiet, StorageError, did_you_mean, streams
from dltrain.errors.output import cut, say, short_lines, voice_kept, warnings_in_words
from dltrain.errors.paths import forbidden
from dltrain.runs import seeds

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
  dltrain folds=5 ...                       cross-validation: each row judged once, in out_of_fold.csv; -m too
  dltrain resume RUN [KEY=VALUE ...]        go on with a run or sweep; RUN is a folder, a short id, last or best
  dltrain list [GROUP [NAME]]               explain what can be chosen, and its knobs; list glossary [WORD]
  dltrain course [CHAPTER]                  a first course in deep learning: predict, run and see each idea
  dltrain lr [KEY=VALUE ...]                find a learning rate for what would be trained; draws lr_range.png
  dltrain trace [KEY=VALUE ...] [--html]    the first step of it in numbers, or drawn; try experiment=worked_example
  dltrain runs [WHERE]                      a table of runs; --where optimizer=adamw --sort test/accuracy --csv ...
  dltrain watch [RUN|SWEEP|WHERE]           what is in progress, live: how far, how long, the best, what failed
  dltrain show RUN                          all about one: configuration, result, where it stopped, files
  dltrain compare RUN RUN ...               what differs, curves, and whether the difference is more than noise
  dltrain doctor RUN                        look into every layer: what is wrong with a run, and what to try
  dltrain dream RUN --class NAME            what the net looks for, and a real example changed until it errs
  dltrain report RUN|SWEEP [-o page.html]   one page with pictures of what was learned, readable without a network
  dltrain eval RUN [data.KEY=VALUE ...]     judge its best weights: each class, calibration, the worst examples
  dltrain predict RUN INPUT [-o FILE]       answers for a table, images or `-`, written as CSV or Parquet
  dltrain ensemble SWEEP                    average the runs that go together best, as a run like any other
  dltrain export RUN --format pt2           its model with the preprocessing inside; or safetensors, onnx
  dltrain rm RUN ...                        remove runs or sweeps, after showing what goes and a yes
  dltrain clean [WHERE]                     the same for all that failed, diverged, or never got to a checkpoint;
                                            --cache: for what is kept of large tables

options:
  --config-dir DIR   a folder with config groups of your own      --cfg         print the configuration, train nothing
  --allow PACKAGE    let `_target_` name things in your package   --debug       show tracebacks
  -m, --multirun     sweep over comma-separated values            --version
  --allow-changed-data                                            resume although the data are not the same
  --retry-failed     with resume SWEEP: failed jobs, too          --dry-run     with -m: what it would train
  --nproc N          train with N processes of this machine that share each batch (docs/processes.md)
  --reuse            with -m: take over finished runs of the same configuration
  -sc ACTION         shell completion: eval "$(dltrain -sc install=bash)"

choices (GROUP=NAME):
{choices}

Any value of a chosen file can be set: optimizer.lr=0.01 model.widths=[64,32] trainer.epochs=5 data.batch_size=full
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the console script; a program calls `dltrain.train` and its like, which do not exit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    goes_on = "torch" in sys.modules  # in a program, which has set it up as it wants it
    with (
        streams.unfailing(),
        garbage.left_alone(goes_on=goes_on),
        warnings_in_words(),
        voice_kept(),
        _process_left(goes_on),
    ):
        code = _exit_code(arguments)
    if code and not goes_on and _shares(arguments):
        _leave(code)
    sys.exit(code)


def _shares(arguments: Sequence[str]) -> bool:
    """Whether this is one of several processes of a run, or has started them."""
    return processes.several() or any(word.partition("=")[0] == "--nproc" for word in arguments)


def _leave(code: int) -> NoReturn:
    """Ends this process at once. To take down torch's modules one by one takes half a second of a processor, in each
    process after another, since the end of one is what the next waits for.
    """
    atexit._run_exitfuncs()
    with suppress(AttributeError, OSError, ValueError):  # what is said there, to whom has gone or was closed
        sys.stdout.flush()
    os._exit(code)


def _process_left(goes_on: bool) -> AbstractContextManager[None]:
    if not goes_on:
        return nullcontext()
    from dltrain.engine.process import left_as_it_was

    return left_as_it_was()


def _exit_code(arguments: list[str]) -> int:
    """Does what was typed; says what went wrong."""
    debug = "--debug" in arguments or bool(os.environ.get("DLTRAIN_DEBUG"))
    try:
        return _run(arguments)
    except DltrainError as error:
        if debug:
            raise
        lines = short_lines(str(error))
        say(f"error: {lines[0]}" if len(lines) == 1 else "\n  ".join(["error:", *lines]), error=True)
        if isinstance(error, DivergedError) and error.folder:
            say(f"next: dltrain doctor {shlex.quote(str(error.folder))}", error=True)
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted", error=True)
        return 130
    except Quiet as ended:
        return ended.exit_code
    except Exception as error:
        if debug:
            raise
        if isinstance(error, PermissionError) and error.filename:
            say(f"error: {forbidden(error)}", error=True)
            return ConfigError.exit_code
        if getattr(error, "errno", None) in _STORAGE:
            say(f"error: {cut(str(error), 1000)}; nothing that was saved before is lost", error=True)
            return StorageError.exit_code
        if names := command_line.blamed(error):
            why = f"a library can't be imported with {', '.join(names)} in the environment"
            say(f"error: {cut(f'{why}: {error}', 400)}", error=True)
            return ConfigError.exit_code
        if files := command_line.in_the_way():
            what = f"{files[0]} in this folder is imported in the place of the library of that name"
            say(f"error: {what}: rename it ({cut(f'{type(error).__name__}: {error}', 200)})", error=True)
            return ConfigError.exit_code
        lines = "\n".join(short_lines(f"{type(error).__name__}: {error}"))
        say(f"error: {lines}\n(--debug shows where)", error=True)
        return 1


def _check_place() -> None:
    """Raises ConfigError where the folder that one is in has been removed: libraries end the process over it."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the folder that you are in is gone; cd to another one") from error


def _run(arguments: list[str]) -> int:
    if any(a in ("-sc", "--shell-completion") for a in arguments):
        return _complete(arguments)
    options, rest = _parser().parse_known_args(arguments, argparse.Namespace(typed=arguments))
    if not (options.help or options.version or rest[:1] == ["list"]):
        command_line.check_variables()
        _check_place()
    if rest and rest[0] in command_line.FACES:
        if not options.help:
            processes.refuse(doing=f"dltrain {rest[0]}", nproc=options.nproc)
        command = command_line.find(rest[0])
        garbage.collect_again()
        return command([*rest[1:], *["--help"] * options.help], options)
    flags = [a for a in rest if a.startswith("-")]
    if flags:
        known = re.findall(r"-[\w-]+", _parser().format_usage())
        flag = flags[0].partition("=")[0]
        known = [option for option in known if option[:3] == flag[:3]]  # a slip at the very beginning is rare
        hint = did_you_mean(flag, known) or "; a value is written as in trainer.epochs=3, `dltrain list` has all keys"
        raise ConfigError(f"unknown option {flag}{_HYDRAS.get(flag, hint)}")
    if options.help:
        from dltrain.commands.list import overview

        say(_USAGE.format(version=__version__, choices=overview(options.config_dir)), end="")
        return 0
    if options.version:
        say(__version__)
        return 0
    if rest[:1] == ["list"]:
        return command_line.find("list")(rest[1:], options)
    from dltrain.commands import train

    if options.cfg:
        return train.show(rest, options)
    if rest[:1] != ["resume"] and (options.multirun or seeds.split(rest)[0] != rest):
        return train.sweep(rest, options)
    if options.nproc > 1:
        if processes.found() is not None:
            raise ConfigError(f"--nproc {options.nproc}: this is one of several processes already; leave it out")
        if rest[:1] != ["resume"]:
            train.first_look(rest, options)
        from dltrain.training import launcher

        return launcher.launch(options.typed, options.nproc)
    return train.resume(rest[1:], options) if rest[:1] == ["resume"] else train.train(rest, options)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="dltrain", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--cfg", "-c", action="store_true")
    parser.add_argument("--resolve", action="store_true")  # of Hydra's --cfg, which leaves references as they are
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--allow-changed-data", action="store_true")
    parser.add_argument("--retry-failed", action="store_true")
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--nproc", type=command_line.processes, default=1)
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--allow", action="append", default=[])
    return parser


def _complete(arguments: list[str]) -> int:
    """Shell completion is Hydra's."""
    from dltrain.config import hydra

    action = next((a for a in arguments if re.fullmatch(r"(install|uninstall|query)=(bash|zsh|fish)", a)), None)
    if action is None:
        raise ConfigError("shell completion: write -sc install=bash, or uninstall; there are bash, zsh and fish")
    hydra.complete(action)
    return 0


if __name__ == "__main__":
    main()
