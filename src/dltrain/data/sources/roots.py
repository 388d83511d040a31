"""The folders that torchvision's datasets read: nothing in them is waited for, or read without end.

torchvision opens by name what lies there: a pipe would be waited for for ever, and a hole be read as gigabytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
from contextvars import ContextVar

from dltrain.errors import DataError, system

_ROOTS: set[str] = set()
_LOOKS: ContextVar[bool] = ContextVar("looks", default=False)


def guard(root: str) -> None:
    """From here on this process and its workers open nothing below `root` but files that are stored, and folders."""
    if not _ROOTS:
        sys.addaudithook(_hear)
    _ROOTS.add(os.path.join(os.path.abspath(root), ""))


def _hear(event: str, given: tuple[object, ...]) -> None:
    """Raises OSError where a file is opened that is a pipe, a device or a hole; whatever else happens passes."""
    if event != "open" or not isinstance(given[0], (str, bytes)) or _LOOKS.get():
        return
    path = os.path.abspath(os.fsdecode(given[0]))
    if path.startswith(tuple(_ROOTS)) and (why := _fault(path)):
        raise OSError(errno.EINVAL, why, path)


def _fault(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""  # opening it says so
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "it is not a plain file"
    token = _LOOKS.set(True)
    try:
        with open(path, "rb") as file:
            return "damaged: it is a hole, of which few bytes are stored" if system.is_hollow(file.fileno()) else ""
    except OSError:
        return ""
    finally:
        _LOOKS.reset(token)


def check_usps(root: str, files: dict[str, list[str]]) -> None:
    """Raises DataError for a packed file of USPS that is another than its publisher's.

    torchvision unpacks it whole without a look at the MD5 that it knows, and a few kilobytes may unpack to gigabytes.
    files: part -> address, name and MD5.
    """
    for _, name, md5 in files.values():
        path = os.path.join(root, name)
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != md5:
            raise DataError(f"{path}: it is damaged, or another file: its MD5 is {found}, not {md5}")
