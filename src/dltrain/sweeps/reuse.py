"""Finished runs that a sweep takes over in the place of jobs that would give the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dltrain.errors import DltrainError, StorageError, system
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
        draft = job.with_name(f".tmp-{job.name}")
        try:
            storage.remove(draft)  # left by a kill
            if not _copied(run, draft):
                storage.remove(draft)
                return None
            run_folder.write_overrides(draft, typed)
            storage.disk.replace(draft, job)
            _renamed(job)
        except OSError as error:
            raise StorageError(f"{job} can't be written: {error.strerror or error}") from error
        return str(run)


def _renamed(job: Path) -> None:
    """Has TensorBoard call a copied run as the others of the sweep."""
    from dltrain.runs import tensorboard  # and NumPy, which a sweep does without that takes nothing over
    from dltrain.training import board

    tensorboard.rename(job, board.name(job))


def _copied(run: Path, draft: Path) -> bool:
    """Copies what a run folder is made of, and nothing else that stands in it; False for one that has a link there, a
    hole, or what is no plain file.
    """

    def others(folder: str, names: list[str]) -> set[str]:
        inside = Path(folder) != run
        return {name for name in names if name.startswith(".") or not (inside or layout.OF_RUN.fullmatch(name))}

    def copy(source: str, target: str) -> None:
        with system.plain_file(Path(source)) as file:
            if system.is_hollow(file.fileno()):
                raise StorageError(f"{source} is a hole")
        shutil.copy2(source, target)

    try:
        layout.check(run)
        shutil.copytree(run, draft, ignore=others, copy_function=copy)
    except DltrainError:
        return False
    return True


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
