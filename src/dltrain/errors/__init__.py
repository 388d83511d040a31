"""What is said to a person. Here the typed errors: each names the process's exit code, and only the command line turns
one into an exit. Beside them `output`, `tables`, `streams`, `paths` and `system`. This room imports no other.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[a-z_][\w.-]*", re.ASCII | re.IGNORECASE)
_ESCAPED = re.compile(r'(\\*)("|$)')  # in Hydra's quotation marks a backslash counts before one, and at the end


def nearest(word: str, options: Iterable[str]) -> str:
    """The option that was probably meant, for an error to name; empty where none is close."""
    import difflib

    options = list(options)
    swapped = [o for o in options if sorted(o) == sorted(word)]  # letters in another order: adma, rleu
    close = swapped or difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if not close and word:
        close = [o for o in options if o.split(".")[-1] == word]
    return close[0] if close else ""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`; did you mean `x`?`, or nothing when nothing is close."""
    near = nearest(word, map(str, options))
    return f"; did you mean `{near}`?" if near else ""


def key_of(override: str) -> str:
    """What an override sets, whatever stands before its key: a dotted key, or a group."""
    return override.split("=")[0].lstrip("+~").split("@")[0]


def override(key: str, value: str | Sequence[str], *, shell: bool = True) -> str:
    """`key=value` for an error to advise, as it is typed in a shell, or as a program gives it: a text, or several."""
    words = [value] if isinstance(value, str) else value
    plain = all(_PLAIN.fullmatch(word) for word in words)
    if not plain:
        words = [in_quotes(word) for word in words]
    text = f"{key}={words[0]}" if isinstance(value, str) else f"{key}=[{','.join(words)}]"
    return shlex.quote(text) if shell and not plain else text


def in_quotes(text: str) -> str:
    """A text as a value that Hydra reads to the letter."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    return found[1] * 2 + found[2].replace('"', '\\"')


class DltrainError(Exception):
    """A problem that the user can act on: shown as one to three lines, without a traceback."""

    exit_code = 1


class ConfigError(DltrainError, ValueError):
    """A key, value, type, name or shape that cannot work."""

    exit_code = 2


class DataError(DltrainError, ValueError):
    """A data file or array that cannot be used as asked."""

    exit_code = 3


class CheckpointError(DltrainError):
    """A checkpoint that is damaged, or that belongs to something else."""

    exit_code = 4


class DivergedError(DltrainError):
    """A loss or gradient that is not finite; the update was not made. `state` holds what one needs to study it, and
    `folder` is the run's.
    """

    exit_code = 5
    state: dict[str, object] | None = None
    folder: Path | None = None


class BusyError(DltrainError):
    """A run folder that another process is using."""

    exit_code = 6


class StorageError(DltrainError):
    """A write that the file system refused."""

    exit_code = 7


class SweepError(DltrainError):
    """A sweep that ended with failed jobs; the others are complete."""

    exit_code = 8


class RanksError(DltrainError):
    """Processes that share a run and have gone apart: other weights, other data."""

    exit_code = 9


class LostError(RanksError):
    """A process that shares the run has ended, or does not answer; it may have said why."""


class Quiet(Exception):  # noqa: N818 - the error is another's
    """This process ends, since another one has failed and said why, with the same exit code. Its text is theirs."""

    def __init__(self, exit_code: int, words: str) -> None:
        super().__init__(words)
        self.exit_code = exit_code
