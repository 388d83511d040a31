"""Which files a path of a table means: one, a list, a folder's, a pattern's; and that none changes while it is read."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dltrain.data.tables.table import listed
from dltrain.errors import DataError, override
from dltrain.errors.paths import MOST_WILD, fitting, local

Given = str | Path | Sequence[str | Path]

SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET = (".parquet", ".pq")
JSON_LINES = (".jsonl", ".ndjson")
PACKED = (".gz", ".zst", ".zip", ".bz2", ".xz")
ENDINGS = (*SEPARATORS, *PARQUET, *JSON_LINES)
_PARTITION = re.compile(r"[^=]+=.*")  # year=2024, a folder of a table that others partitioned


@dataclass(frozen=True)
class Files:
    """The files of a table in the order of their names, what messages call them, and what a user should know."""

    paths: list[Path]
    called: str
    notes: tuple[str, ...] = ()


def find(given: Given, *, knob: str = "data.path") -> Files:
    """The files that a path means: itself, those in the folder, or those that the pattern fits; or several of these.

    Raises DataError where there are none, where one is named twice, and where they are of several kinds.
    """
    items = [given] if isinstance(given, (str, Path)) else list(given)
    if not items:
        raise DataError(f"{knob} names no file")
    notes: list[str] = []
    paths = [path for item in items for path in _meant(local(item), notes, knob)]
    paths.sort(key=str)
    real = Counter(map(os.path.realpath, paths))
    if twice := next((path for path in paths if real[os.path.realpath(path)] > 1), None):
        raise DataError(f"{knob} names {twice} twice: its rows would count twice")
    called = str(items[0]) if len(items) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    _check_kinds(paths, called, knob)
    return Files(paths, called, tuple(notes))


def _meant(path: Path, notes: list[str], knob: str) -> list[Path]:
    if path.is_dir():
        return _in_folder(path, notes, knob)
    if path.is_file():
        return [path]
    if path.exists():
        raise DataError(f"{path}: is not a plain file; predict reads a pipe as -, from its standard input")
    found = fitting(path)
    if not found:
        wild = sum(map(glob.has_magic, path.parts))
        fits = "no file has a name that fits this pattern" if wild else "no such file"
        many = f": at most {MOST_WILD} names of it may be patterns" if wild > MOST_WILD else ""
        raise DataError(f"{path}: {fits}{many}")
    if files := [each for each in found if each.is_file()]:
        return files
    raise DataError(f"{path}: only folders have such names; for the files in them write {path / '*.csv'}")


def _in_folder(folder: Path, notes: list[str], knob: str) -> list[Path]:
    """The tables in a folder, by their endings; what else lies there is told. Hidden ones, and _SUCCESS, are not."""
    names = sorted(name for name in os.listdir(folder) if name[0] not in "._")
    tables = [name for name in names if ending(folder / name) in ENDINGS and (folder / name).is_file()]
    others = sorted(set(names).difference(tables))
    folders = [name for name in others if (folder / name).is_dir()]
    if parts := [name for name in folders if _PARTITION.fullmatch(name)]:
        raise DataError(
            f"{folder}: its folders are called like {parts[0]}: a partitioned table, which is not read as one\n"
            f"Make it one file: polars.scan_parquet('{folder}').sink_parquet('table.parquet')"
        )
    if not names:
        raise DataError(f"{folder}: is an empty folder")
    if not tables:
        files = [name for name in others if name not in folders]
        found = next((f"*{e}" for e in map(ending, map(Path, files)) if e), "*") if files else "*/*.csv"
        raise DataError(
            f"{folder}: is a folder without a table ({', '.join(ENDINGS)}); it holds {listed(names, 4)}\n"
            f"To read some of these write a pattern: {_typed(knob, folder / found)}"
        )
    if _PARTITION.fullmatch(folder.name):
        notes.append(f"{folder}: its name looks like a part of a partitioned table; no column is made of it")
    if others:
        notes.append(f"{folder}: not read: {listed(others, 4)}")
    return [folder / name for name in tables]


def _check_kinds(paths: list[Path], called: str, knob: str) -> None:
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(_KINDS[form(path)], []).append(path)
    if len(kinds) > 1:
        counts = ", ".join(f"{len(some)} of {kind} ({some[0].name})" for kind, some in kinds.items())
        most = max(kinds.values(), key=len)[0]
        pattern = _typed(knob, most.parent / f"*{most.suffix}")
        raise DataError(f"{called}: files of several kinds: {counts}\nName those of one: {pattern}")


def _typed(knob: str, path: Path) -> str:
    """What to type for other files: an override, or the words after the name of a command."""
    return override(knob, str(path)) if knob.startswith("data.") else shlex.quote(str(path))


_KINDS = {"parquet": "Parquet", "json": "JSON lines", "text": "text"}


def form(path: Path) -> Literal["parquet", "json", "text"]:
    """What a file is read as, by its first bytes and its ending. Of a text of another ending its own begin decides."""
    with path.open("rb") as file:
        if file.read(4) == b"PAR1" or path.suffix.lower() in PARQUET:
            return "parquet"
    return "json" if ending(path) in JSON_LINES else "text"


def ending(path: Path) -> str:
    """The ending that tells how a file is written, in small letters, without that of how it is packed."""
    bare = Path(path.stem) if path.suffix.lower() in PACKED else path
    return bare.suffix.lower()


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """Raises DataError where the file is another at the end than at the beginning, in place of what else is raised."""
    before = _state(path)
    try:
        yield
    except DataError as error:
        _compare(path, before, error)
        raise
    _compare(path, before)


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _compare(path: Path, before: tuple[int, ...], error: DataError | None = None) -> None:
    try:
        if _state(path) == before:
            return
    except FileNotFoundError:
        pass
    raise DataError(f"{path}: changed while it was read; wait until it is whole, or read a copy") from error
