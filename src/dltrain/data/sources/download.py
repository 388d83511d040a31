"""Fetches data files once: verified, atomically, and safely when several runs start at the same time."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from dltrain.errors import DataError, system

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 18  # bytes


@dataclass(frozen=True)
class Remote:
    """A file's name, the addresses that offer it (tried in turn) and its MD5 as lower-case hex digits."""

    name: str
    urls: tuple[str, ...]
    md5: str


_UNPLUGGED: ContextVar[bool] = ContextVar("unplugged", default=False)


@contextmanager
def unplugged() -> Iterator[None]:
    """Within it nothing is downloaded or unpacked: what is read was named by a file that may be a stranger's."""
    token = _UNPLUGGED.set(True)
    try:
        yield
    finally:
        _UNPLUGGED.reset(token)


@contextmanager
def filtered() -> Iterator[None]:
    """Within it every tar archive is unpacked by the `data` filter, also by torchvision, which asks for none."""
    before = vars(tarfile.TarFile)["extraction_filter"]
    # The way that PEP 706 gives to applications; that it is an attribute of the class the stubs don't know.
    setattr(tarfile.TarFile, "extraction_filter", staticmethod(tarfile.data_filter))  # noqa: B010
    try:
        yield
    finally:
        setattr(tarfile.TarFile, "extraction_filter", before)  # noqa: B010


def may_download() -> bool:
    """Whether what is missing may be fetched."""
    return not _UNPLUGGED.get()


def fetch(what: str, remotes: Sequence[Remote], folder: Path, *, wanted: Sequence[str]) -> None:
    """Put the files named `wanted` into `folder`, from files or tar archives that are downloaded and verified.

    The work is done in a hidden folder beside the destination, under a lock, and ends with renames: a reader
    never sees half a file, and of several processes one downloads while the others wait. A file that somebody
    already put into `folder` is used if its MD5 is right. Raises DataError, which says where the files may be
    put by hand.
    """
    if not may_download():
        raise DataError(
            f"{what} is not in {folder.absolute()}, and nothing is downloaded for a stored configuration\n"
            f"put it there, or let a new run on the same data download it: trainer.fast_dev_run=true"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".download.lock"):
            if not all((folder / name).is_file() for name in wanted):
                _fetch(remotes, folder, wanted)
    except (OSError, HTTPException, tarfile.TarError) as error:
        names = ", ".join(remote.name for remote in remotes)
        raise DataError(
            f"cannot download {what}: {error}\nput these files by hand into {folder.absolute()}: {names}"
        ) from error


def _fetch(remotes: Sequence[Remote], folder: Path, wanted: Sequence[str]) -> None:
    partial = folder / ".download"
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    partial.mkdir()
    try:
        for remote in remotes:
            path = _obtain(remote, folder, partial)
            if path.name.endswith(".tar.gz"):
                with tarfile.open(path) as archive:
                    archive.extractall(partial, filter="data")
        found = {path.name: path for path in partial.rglob("*") if path.is_file()}
        for name in found.keys() & set(wanted):
            system.patiently(os.replace, found[name], folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _obtain(remote: Remote, folder: Path, partial: Path) -> Path:
    """The path of a verified copy: the one in `folder`, or a new one in `partial`."""
    path, mine = partial / remote.name, folder / remote.name
    reasons = []
    if mine.is_file():
        with mine.open("rb") as file:
            md5 = hashlib.file_digest(file, _md5).hexdigest()
        if md5 == remote.md5:
            return mine
        reasons.append(f"{mine} has MD5 {md5}, not {remote.md5}")
    for url in remote.urls:
        try:
            md5 = _download(url, path)
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {error}")
            continue
        if md5 == remote.md5:
            return path
        reasons.append(f"{url}: MD5 {md5}, not {remote.md5}")
    raise OSError("; ".join(reasons))


def _download(url: str, path: Path) -> str:
    """Write the bytes of `url` to `path`; return their MD5."""
    from tqdm import tqdm

    request = urllib.request.Request(url, headers={"User-Agent": "dltrain"})
    digest = _md5()
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response, path.open("wb") as file:
        total, name = response.length, f"download {path.name}"
        with tqdm(total=total, unit="B", unit_scale=True, desc=name, disable=None) as bar:  # None: terminals only
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
    return digest.hexdigest()


def _md5():
    return hashlib.md5(usedforsecurity=False)  # the sum that the publishers give; allowed under FIPS this way


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = system.open_lock(path)  # through a link it would make a file elsewhere
    try:
        system.wait_for_lock(handle)
        yield
    finally:
        os.close(handle)
