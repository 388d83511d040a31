"""What stands in a run folder, and the check of it before anything there is opened, written or removed."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from dltrain.errors import CheckpointError, StorageError, system

EVENTS = r"[\w.]+=.*"  # a folder of a job's event files: TensorBoard calls a run by its path, as 3/lr=0.1 momentum=0.9
OURS = re.compile(  # what dltrain itself writes into the folder of a run or a sweep; an exported model is its user's
    r"\.lock|\.(tmp|del|old)-.*|[0-9]+|checkpoints|cluster|configs|plots|profile|config\.yaml|overrides\.txt|error\.txt"
    r"|multirun\.yaml|output\.txt|(metrics|diagnosis|jobs)\.jsonl|(data|environment|progress|summary|sweep|eval-\w+)\.json"
    rf"|events\.out\.tfevents\..*|{EVENTS}|report\.html"
)
OF_RUN = re.compile(
    r"checkpoints|plots|profile|config\.yaml|(overrides|error|output)\.txt|(metrics|diagnosis)\.jsonl"
    r"|(data|environment|progress|summary|eval-\w+)\.json"
    rf"|events\.out\.tfevents\..*|{EVENTS}|report\.html"
)
SECOND_NAME = "has a second name elsewhere (a hard link), and would be changed there, too; put a copy in its place"
_FOLDERS = re.compile(r"[0-9]+|checkpoints|cluster|configs|plots|profile|\.old-.*")
_IN_PLACE = re.compile(  # the others are written anew
    r"(metrics|diagnosis|jobs)\.jsonl|output\.txt|progress\.json|events\.out\.tfevents\..*"
)
_DEEPEST = 8  # folders in folders; the files of a checkpoint are at the third
_DRAFTS = (".tmp-", ".del-")  # removed before anything else, links as such


def check(folder: Path, *, written: bool = False) -> None:
    """Raises StorageError (CheckpointError among checkpoints) where something of dltrain's own below a run folder is a
    link, or not the file or folder that it should be.

    A link leads out of the folder, to what nobody has locked; a pipe waits for ever. The jobs of a sweep are checked
    when they are opened. `written` refuses one of a second name (a hard link), too, that is written
    where it stands: to go on in it would write elsewhere.
    """
    for entry in _entries(folder):
        if not OURS.fullmatch(entry.name) or entry.name.startswith(_DRAFTS):
            continue
        if written and _IN_PLACE.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_nlink > 1:
            raise StorageError(f"{entry.path} {SECOND_NAME}")
        kind = CheckpointError if entry.name == "checkpoints" else StorageError
        named = re.fullmatch(EVENTS, entry.name) and entry.is_dir(follow_symlinks=False)  # a file is its user's
        _check(entry, kind, as_folder=bool(_FOLDERS.fullmatch(entry.name) or named))


def _check(entry: os.DirEntry[str], kind: type[Exception], *, as_folder: bool, depth: int = 1) -> None:
    with suppress(FileNotFoundError):  # a run that is being trained has replaced or removed it meanwhile
        status = entry.stat(follow_symlinks=False)
        mode = 0 if system.is_link(status) else status.st_mode
        if depth > _DEEPEST or not (stat.S_ISDIR(mode) if as_folder else stat.S_ISREG(mode)):
            found = "a link" if system.is_link(status) else "a folder" if stat.S_ISDIR(mode) else "no plain file"
            found = "nested too deeply" if depth > _DEEPEST else found
            raise kind(f"{entry.path} is {found}; a run folder holds its own files, and dltrain touches no others")
        if as_folder and not (depth == 1 and entry.name.isdecimal()):
            for inner in _entries(entry.path):
                _check(inner, kind, as_folder=inner.is_dir(follow_symlinks=False), depth=depth + 1)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)
