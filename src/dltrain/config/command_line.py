"""The commands beside training: where each is found, and how its words are read."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from dltrain.config.policy import user_allowed
from dltrain.errors import ConfigError, StorageError, in_quotes, override
from dltrain.errors.output import cut
from dltrain.errors.paths import local

FACES = (  # commands with options of their own; each is the function `command` of a module of its name
    *("clean", "compare", "course", "doctor", "dream", "ensemble", "eval", "export", "lr", "predict"),
    *("report", "rm", "runs", "show", "trace", "watch"),
)
NAMES = ("list", "resume", *FACES)
Command = Callable[[list[str], argparse.Namespace], int]  # the words after its name, the general options; exit code


_PAIR = r"\w+:(\[[^\]]*\]|[^,\[\]]+)"
_PAIRS = rf"({_PAIR}(,{_PAIR})*)?"
_READ = {  # variables over which a library ends the process, with what it takes
    "POLARS_MAX_THREADS": (r"0*[1-9][0-9]{0,3}|.*[^0-9].*|", "a number from 1 to 9999"),
    "PYTORCH_CUDA_ALLOC_CONF": (_PAIRS, "key:value,key:value"),
    "PYTORCH_ALLOC_CONF": (_PAIRS, "key:value,key:value"),
}
_PREFIXES = {"torch": "TORCH", "tqdm": "TQDM_", "matplotlib": "MPL", "polars": "POLARS_", "sklearn": "SKLEARN_"}


def check_variables() -> None:
    """Raises ConfigError for a variable of the environment with which a library would end the process, in its words."""
    for name, (pattern, wanted) in _READ.items():
        value = os.environ.get(name, "")
        if not re.fullmatch(pattern, value, re.DOTALL):
            raise ConfigError(f"{name}={cut(value, 40)} in the environment: want {wanted}; unset it, or mend it")


def blamed(error: BaseException) -> list[str]:
    """Variables of the environment over which a library may have raised this as it was imported; none where it ran."""
    trace, imported, library = error.__traceback__, set[str](), ""
    while trace is not None:
        frame = trace.tb_frame
        library = str(frame.f_globals.get("__name__")).partition(".")[0]
        if frame.f_code.co_name == "<module>":
            imported.add(library)
        trace = trace.tb_next
    prefix = _PREFIXES.get(library) if library in imported else None
    return sorted(name for name in os.environ if prefix and name.startswith(prefix))


def in_the_way() -> list[str]:
    """Files of the folder that one is in, importable by `--allow`, that were imported in the place of a library."""
    from importlib.metadata import packages_distributions

    libraries, here = {*sys.stdlib_module_names, *packages_distributions()}, Path.cwd()
    found = ((name, getattr(module, "__file__", None)) for name, module in [*sys.modules.items()])
    paths = [Path(file) for name, file in found if file and name in libraries]
    return sorted({path.name for path in paths if path.parent == here})


def find(name: str) -> Command:
    """The function of a command that has a module of its name."""
    return import_module(f"dltrain.commands.{name}").command


def allowed(named: Sequence[str]) -> list[str]:
    """Packages whose code a config may name; the user's own folder is then importable, as with `python -m`."""
    allow = [*named, *user_allowed(Path.cwd())]
    if allow and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return allow


Value = str | float | None | Sequence[str | float | None]  # of a key, as a program gives it


def word(given: object) -> str:
    """An override that a program gives."""
    if not isinstance(given, str):
        raise ConfigError(f"{cut(repr(given))}: an override is a text, such as 'data=iris' or 'optimizer.lr=0.01'")
    if re.fullmatch(r"[^\s'\"\[{]+(\s+[\w.@/]+=[^\s'\"\[{]+)+", given):
        raise ConfigError(f"{cut(given)!r}: each override is a text of its own: {', '.join(map(repr, given.split()))}")
    return given


def typed(key: str, value: Value) -> str:
    """A keyword argument as an override."""
    if isinstance(value, str):
        return override(key, value, shell=False)
    try:
        return f"{key}={_as_typed(value)}"
    except TypeError:
        raise ConfigError(f"{key}={cut(repr(value))}: give a text, a number, None, or a list of them") from None


def _as_typed(value: Value) -> str:
    if isinstance(value, str):
        return in_quotes(value)
    return f"[{','.join(map(_as_typed, value))}]" if isinstance(value, (list, tuple)) else json.dumps(value)


def path(typed: str) -> Path:
    """The type of an option that names a file."""
    try:
        return local(typed)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def output_option(options: argparse.ArgumentParser, about: str) -> None:
    """-o FILE, and --force for one that is there."""
    options.add_argument("-o", "--output", type=path, metavar="FILE", help=about)
    options.add_argument("--force", action="store_true", help="replace the file that -o names, if there is one")


def processes(text: str) -> int:
    """How many processes are to share a run, for argparse."""
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text):
        raise argparse.ArgumentTypeError(f"{text[:60]}: write a whole number from 1 to 999")
    return int(text)


def seed(text: str) -> int:
    """A whole number that generators of random numbers take, for argparse."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text[:60]}: write a whole number from 0 to 999999999999999999")
    return int(text)


def output(given: argparse.Namespace, default: Path) -> Path:
    """The file to write: the one that -o names, else `default`, a name of the command's own, which it writes anew.

    Raises ConfigError where what stands under the typed name would be lost without `--force`.
    """
    if given.output and given.output.is_dir():
        raise ConfigError(f"-o {given.output} is a folder; name a file in it")
    if given.output and given.output.is_file() and not given.force:
        raise ConfigError(f"-o {given.output} is there already; name another file, or add --force to replace it")
    return given.output or default


def check_output(path: Path, option: str = "-o", *, force: bool = True) -> None:
    """Raises ConfigError, before any work, where no file can be written under that name, or without `force` one is."""
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}")
    if path.is_file() and not force:
        raise ConfigError(f"{option} {path} is there already; name another file, or add --force to replace it")


@contextmanager
def writing(path: Path, remedy: str = "") -> Iterator[None]:
    """Where a command writes its file: what the file system refuses is a StorageError that names it."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}{remedy}") from error


class Parser(argparse.ArgumentParser):
    """One for which a mistake in what was typed is a ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog}: {message}; `{self.prog} --help` shows its options")


def parser(name: str, about: str) -> argparse.ArgumentParser:
    """A parser for the words of a command that has options of its own."""
    return Parser(prog=f"dltrain {name}", description=about, allow_abbrev=False)
