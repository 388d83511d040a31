"""The commit that a folder is at, read from .git as text: git itself runs programs that a repository configures."""

from __future__ import annotations

import re
from pathlib import Path

from dltrain.runs import foreign

_HASH = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(rb"ref: (refs/[^\s\0]{1,500})")
_HOPS = 5  # of references to references


def commit(folder: Path) -> str | None:
    """The hash of the commit of the folder's repository, "unknown" where it can't be told; None outside of one."""
    for place in (folder, *folder.parents):
        found = place / ".git"
        if found.is_dir():
            return _head(found)
        if found.is_file():  # of a worktree or a submodule: it says where
            return _head(place / (_read(found).removeprefix(b"gitdir: ").decode(errors="replace") or "."))
    return None


def _head(git: Path) -> str:
    """What HEAD leads to: a hash, or a reference in a file of its own or among the packed ones."""
    common = git / (_read(git / "commondir").decode(errors="replace") or ".")  # of a worktree: the main repository's
    content = _read(git / "HEAD")
    for _ in range(_HOPS):
        if _HASH.fullmatch(content):
            return content.decode()
        named = _REF.fullmatch(content)
        if not named or b".." in named[1]:
            break
        ref = named[1].decode(errors="replace")
        packed = re.search(rb"^([0-9a-f]+) " + re.escape(named[1]) + rb"$", _read(common / "packed-refs"), re.MULTILINE)
        content = _read(git / ref) or _read(common / ref) or (packed[1] if packed else b"")
    return "unknown"


def _read(path: Path) -> bytes:
    try:
        return foreign.read(path).strip()
    except (OSError, ValueError):  # ValueError: a NUL in its name
        return b""
