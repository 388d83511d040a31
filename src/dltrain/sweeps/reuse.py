"""Finished runs that a sweep takes over in the place of jobs that would give the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dltrain.errors import DltrainError, StorageError
from dltrain.runs import ensemble_members, foreign, identity, key_roles, layout, reading, run_folder, storage
from dltrain.runs.foreign import Values
from dltrain.runs.key_roles import Role

_PLACES = key_roles.keys(Role.PLACE)


class Finished:
    """The finished runs below a folder, by what of their configuration decides their results."""

    def __init__(self, root: Path) -> None:
        self._found = dict(_identities(root))

    def take(self, values: Values, typed: Sequence[str], job: Path) -> str | None:
        """Copies the run that has such a configuration to the folder of a job, as what was typed for that; returns
        which, or None. Raises StorageError.
        """
        run = self._found.get(_identity(values))
        if run is None or _data_changed(values, run):
            return None
        try:
            layout.check(run)
        except DltrainError:  # a link in it
            return None
        draft = job.with_name(f".tmp-{job.name}")
        try:
            storage.remove(draft)  # left by a kill
            shutil.copytree(run, draft, symlinks=True, ignore=shutil.ignore_patterns(".*"))
            run_folder.write_overrides(draft, typed)
            storage.disk.replace(draft, job)
        except OSError as error:
            raise StorageError(f"{job} can't be written: {error.strerror or error}") from error
        return str(run)


def _identities(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, _ in reading.walk(root):
        if ensemble_members.are_in(reading.read_json(folder / "summary.json")[0]):
            continue
        text = reading.read_text(folder / "config.yaml", foreign.LARGEST_CONFIG)
        if run_folder.complete(folder) and text and (values := reading.parse_config(text)):
            yield _identity(values), folder


def _identity(values: Values) -> str:
    return identity.digest(values, but=key_roles.UNSEEN)


def _data_changed(values: Values, run: Path) -> bool:
    """Whether a file that the data are read from is younger than the end of a run."""
    flat = reading.flat(values)
    with suppress(OSError):
        ended = (run / "summary.json").stat().st_mtime
        return any(os.stat(str(flat[key])).st_mtime > ended for key in _PLACES if flat.get(key))
    return True
