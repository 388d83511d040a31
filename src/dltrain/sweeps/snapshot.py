"""The YAML files of a sweep as they were when it began, in its folder: what is edited later changes no job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dltrain.config.choices import CONFIGS, folders, groups, readable
from dltrain.errors import StorageError
from dltrain.runs import foreign, storage

_PARTS = ("packaged", "own")
_AT_ONCE = 8  # files that wait for the disk together: a hundred take a tenth of the time that they take one by one


def take(folder: Path, config_dir: str | None) -> None:
    """Copies every file of choices into `configs/`; they are on the disk when this returns. Raises StorageError."""
    copies: dict[Path, bytes] = {}
    kept = folder / "configs"
    try:
        for part, source in zip(_PARTS, folders(config_dir), strict=False):
            for file in _files(source, config_dir):
                copies[kept / part / file.relative_to(source)] = foreign.read(file.resolve(), foreign.LARGEST_CONFIG)
        above = {kept, *(up for copy in copies for up in copy.parents if kept in up.parents)}
        for place in sorted(above):
            place.mkdir()
        with ThreadPoolExecutor(_AT_ONCE) as waiting:
            list(waiting.map(storage.write, ({copy: content} for copy, content in copies.items())))  # or raises here
            list(waiting.map(storage.sync, above))
    except OSError as error:
        raise StorageError(f"{folder / 'configs'} can't be written: {error.strerror}") from error


def _files(source: Path, config_dir: str | None) -> Iterator[Path]:
    """The files of choices in a folder; one of the user's own may hold other things, too."""
    if source == CONFIGS:
        yield source / "train.yaml"
    for group in groups(config_dir):
        for inside, _, names in os.walk(source / group):
            yield from (Path(inside, name) for name in sorted(names) if name.endswith(".yaml"))


def changed(folder: Path, config_dir: str | None) -> list[str]:
    """The files that are others now than they were, or gone."""
    found: list[str] = []
    for part, source in zip(_PARTS, folders(config_dir), strict=False):
        kept = folder / "configs" / part
        for inside, _, names in os.walk(kept):
            for name in sorted(names):
                file = Path(inside, name)
                if _content(file) != _content(source / file.relative_to(kept)):
                    found.append(readable(source / file.relative_to(kept)))
    return found


def _content(file: Path) -> bytes | None:
    try:
        return foreign.read(file.resolve(), foreign.LARGEST_CONFIG)
    except OSError:
        return None
