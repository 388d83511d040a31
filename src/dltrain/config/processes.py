"""Whether this is one of several processes that were started alike, and to do what; nothing here needs torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dltrain.errors import ConfigError
from dltrain.errors.output import cut

LAUNCHED = "TORCHELASTIC_RUN_ID"  # set by torch's launcher, which watches over its processes
LAUNCHER = "DLTRAIN_LAUNCHER"  # the process number of one that says itself which process was killed
_MOST = 4096
_SLURM = "SLURM_STEP_NUM_TASKS"  # in srun's tasks alone; the one process of a batch script has SLURM_NTASKS, too
_READ = {  # how many there are -> by what they were started, and the number of this one, on its machine, of restarts
    "WORLD_SIZE": ("torchrun", "RANK", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"),
    _SLURM: ("srun", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_RESTART_COUNT"),
}
_OTHERS = {"OMPI_COMM_WORLD_SIZE": "mpirun", "MV2_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpiexec"}


@dataclass(frozen=True)
class Processes:
    """This process is rank `rank` of `world_size`, and `local_rank` on its machine; they meet at a host and its port.

    restarts: how often a launcher has started them anew; machines: how many they are on.
    """

    rank: int
    world_size: int
    local_rank: int
    restarts: int
    host: str
    port: int
    machines: int = 1


def found(environ: Mapping[str, str] = os.environ) -> Processes | None:
    """What torchrun or srun says of this process; None where it is alone. Raises ConfigError for what can't be read,
    and for other launchers.
    """
    for of, (launcher, number, local, restarts) in _READ.items():
        if (size := _several(environ, of)) is None:
            continue
        host, port = _place(environ, of)
        if lacking := [name for name in (number, *([] if host else ["MASTER_ADDR"])) if not environ.get(name)]:
            raise ConfigError(
                f"{of}={size}: one of several processes, as {launcher} starts them, but there is no "
                f"{' and no '.join(lacking)}: start them by `dltrain --nproc {size} ...`, torchrun or srun, or one "
                f"(unset {of})"
            )
        rank, most = _whole(environ, number), _whole(environ, of)
        if not rank < most <= _MOST:
            raise ConfigError(f"{number}={rank} and {of}={most}: a process's number is below theirs, {_MOST:,} at most")
        here, restarted = _whole(environ, local), _whole(environ, restarts)
        return Processes(rank, most, here, restarted, host, port, _machines(environ, of, most))
    for name, launcher in _OTHERS.items():
        if (size := _several(environ, name)) is not None:
            raise ConfigError(
                f"{name}={size}: {launcher} started {size} processes, and each would do the same work; start them by "
                f"`dltrain --nproc {size} ...`, torchrun or srun, or one (unset {name})"
            )
    return None


def several(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether variables say that this is one of several processes, whatever else they say."""
    return any(_several(environ, name) is not None for name in (*_READ, *_OTHERS))


def refuse(environ: Mapping[str, str] = os.environ, *, doing: str, nproc: int = 1) -> None:
    """Raises ConfigError where this is one of several processes, or they are asked for: `doing` is for one."""
    if nproc > 1:
        raise ConfigError(f"--nproc {nproc}: {doing} is work for one process; several share a training alone")
    for name in (*_READ, *_OTHERS):
        if (count := _several(environ, name)) is not None:
            raise ConfigError(
                f"{name}={count}: {doing} is work for one process, and {count} were started to do the same; "
                f"start one (or unset {name})"
            )


def _several(environ: Mapping[str, str], name: str) -> str | None:
    """How many processes a variable speaks of, as it says it; None where that is one, or no number."""
    text = environ.get(name, "")
    return cut(text, 20) if text.isdecimal() and text.lstrip("0") not in ("", "1") else None


def _machines(environ: Mapping[str, str], of: str, size: int) -> int:
    if of == _SLURM:
        return _whole(environ, "SLURM_STEP_NUM_NODES") or 1
    return -(-size // (_whole(environ, "LOCAL_WORLD_SIZE") or size))


def _place(environ: Mapping[str, str], of: str) -> tuple[str, int]:
    """Where they meet: on the first machine, at a port of the job's, since two jobs may share a machine."""
    host, port = environ.get("MASTER_ADDR", ""), _whole(environ, "MASTER_PORT")
    if of == _SLURM:
        nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
        host, port = host or first_node(nodes), port or 20_000 + _whole(environ, "SLURM_JOB_ID") % 20_000
    if port > 65_535:
        raise ConfigError(f"MASTER_PORT={port}: 65535 is the highest port")
    return host, port or 29_500  # torch's own


def first_node(nodes: str) -> str:
    """The first machine of a list as Slurm writes them: `n[003-005,9],m` is n003."""
    name = re.match(r"([^\[,]*)(?:\[([^\],-]*)[^\]]*\])?([^,\[]*)", nodes)
    assert name is not None  # it may match nothing
    return f"{name[1]}{name[2] or ''}{name[3]}"


def _whole(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "") or "0"
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ConfigError(f"{name}={cut(text, 20)}: want a whole number")
    return int(text)
