"""Processes of this machine by their numbers: whether one still runs. Known where the system keeps /proc, as Linux."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from dltrain.errors import system

Mark = tuple[str, int, str]  # the machine, a number there, and since when it is that process's


def mark() -> Mark:
    """What tells this process from all others, also from those of other machines and other containers."""
    machine = _machine()
    return machine, os.getpid(), _since(os.getpid()) if machine else ""


def is_near(other: Mark) -> bool:
    """Whether that process is one of this machine, so that its end is seen."""
    return other[0] != "" and other[0] == _machine()


def has_ended(other: Mark) -> bool:
    """Whether that process is known to run no more."""
    return is_near(other) and _since(other[1]) != other[2]


def end(other: Mark) -> None:
    """Kills that process with the group it leads, as far as it is one of this machine."""
    if is_near(other) and not has_ended(other):
        system.kill_group(other[1])


@cache
def _machine() -> str:
    """Which it is, since when it runs, and which container; nothing where that can't be known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _since(process: int) -> str:
    """When it began, in the system's ticks; nothing of one that has ended, though its parent has not asked for it."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in "ZX" else rest[18]
