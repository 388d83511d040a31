"""Paths as people type them: `~` is their home folder, and all of them lie on this machine."""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dltrain.errors import ConfigError, DataError
from dltrain.errors.output import cut, encodable


def local(given: str | Path) -> Path:
    """The path that is meant. Raises ConfigError for a URL, an unknown home folder, and what can be no path."""
    text = str(given)
    if not isinstance(given, (str, Path)) or not text or "\0" in text or not _has_bytes(text):
        raise ConfigError(f"{cut(repr(given))} is not a path")
    if is_url(text):
        what = "write the path alone" if text.lower().startswith("file:") else "copy or mount what is elsewhere"
        raise ConfigError(f"{text}: dltrain reads and writes files of this machine alone; {what}")
    path = os.path.expanduser(text)
    if text[0] == path[0] == "~":
        raise ConfigError(f"{text}: there is no home folder of {text.split('/')[0]}; a file of that name is ./{text}")
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # which pathlib raises where it is asked whether something is there
            raise ConfigError(f"{text[:60]}...: a name that is longer than a file's may be") from error
    return Path(path)


def is_there(path: Path) -> bool:
    """Whether something lies at a path, or under names that it fits as a pattern; not where one may not look."""
    return os.path.exists(path) or bool(fitting(path))


def fitting(path: Path) -> list[Path]:
    """What has a name that fits a path with *, ? or [...], in its last name and in one more: further ones could take
    the whole disk to be tried.
    """
    wild = sum(map(glob.has_magic, path.parts))
    try:
        return [Path(name) for name in glob.glob(str(path))] if 0 < wild <= MOST_WILD else []
    except ValueError:  # a name that can be none
        return []


MOST_WILD = 2  # names of a path that are patterns


def _has_bytes(text: str) -> bool:
    """Whether a file can be called so: half of a letter (U+D800) is in no encoding."""
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:
        return False


def check_is_text(path: Path) -> None:
    """Raises ConfigError for a path that is not UTF-8, where it goes to a library that takes no other."""
    if str(path) != encodable(str(path)):
        raise ConfigError(f"{path}: its name is not UTF-8, which Parquet needs; rename it, or link to it")


def joined(folder: Path, typed: str) -> str:
    """The absolute path of what was typed in a folder; without `..` where it leads to the same without."""
    path = os.path.join(folder, typed)
    short = os.path.normpath(path)
    return short if os.path.realpath(short) == os.path.realpath(path) else path  # a/.. is elsewhere where a is a link


@contextmanager
def permitted() -> Iterator[None]:
    """Where data are read: what this user may not read is a DataError."""
    try:
        yield
    except PermissionError as error:
        raise DataError(forbidden(error)) from error


def forbidden(error: PermissionError) -> str:
    """What to tell of a file or folder that this user may not use."""
    return f"{error.filename}: permission denied, for itself or a folder above it"


def is_url(text: str) -> bool:
    """Whether a text begins as s3://, https:// and their like."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
