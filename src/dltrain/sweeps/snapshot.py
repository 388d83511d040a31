"""The YAML files of a sweep as they were when it began, in its folder: what is edited later changes no job."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dltrain.config.choices import CONFIGS, folders, groups, readable
from dltrain.errors import StorageError
from dltrain.runs import foreign, storage

_PARTS = ("packaged", "own")


def take(folder: Path, config_dir: str | None) -> None:
    """Copies every file of choices into `configs/`. Raises StorageError."""
    try:
        for part, source in zip(_PARTS, folders(config_dir), strict=False):
            for file in _files(source, config_dir):
                copy = folder / "configs" / part / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(foreign.read(file.resolve(), foreign.LARGEST_CONFIG))
        storage.sync(folder / "configs")
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
