"""Whether this is one of several processes that were started alike, and to do what; nothing here needs torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dltrain.errors import ConfigError
from dltrain.errors.output import cut

_MOST = 4096
_NO_RANKS = {"OMPI_COMM_WORLD_SIZE": "mpirun", "MV2_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpiexec"}
_SLURM = "SLURM_STEP_NUM_TASKS"  # in srun's tasks alone; the one process of a batch script has SLURM_NTASKS, too


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `size`, and number `local` on its machine.

    restarts: how often a launcher has started them anew.
    """

    rank: int
    size: int
    local: int
    restarts: int


def found(environ: Mapping[str, str] = os.environ) -> Processes | None:
    """What torchrun or srun says of this process; None where it is alone. Raises ConfigError for what can't be read,
    and for other launchers.
    """
    if _count(environ, "WORLD_SIZE") is not None:
        return _by_torchrun(environ)
    if _count(environ, _SLURM) is not None:
        return _by_slurm(environ)
    for name, launcher in _NO_RANKS.items():
        if (count := _count(environ, name)) is not None:
            raise ConfigError(
                f"{name}={count}: {launcher} started {count} processes, and each would do the same work; start them by "
                f"torchrun --nproc-per-node={count} -m dltrain ..., by srun, or one (unset {name})"
            )
    return None


def refuse(environ: Mapping[str, str] = os.environ, *, doing: str) -> None:
    """Raises ConfigError where this is one of several processes: `doing` is for one."""
    for name in ("WORLD_SIZE", _SLURM, *_NO_RANKS):
        if (count := _count(environ, name)) is not None:
            raise ConfigError(
                f"{name}={count}: {doing} is work for one process, and {count} were started to do the same; "
                f"start one (or unset {name})"
            )


def _count(environ: Mapping[str, str], name: str) -> str | None:
    """How many processes a variable speaks of, as it says it; None where that is one, or no number."""
    text = environ.get(name, "")
    return cut(text, 20) if text.isdecimal() and text.lstrip("0") not in ("", "1") else None


def _by_torchrun(environ: Mapping[str, str]) -> Processes:
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]
    if lacking:
        size = _count(environ, "WORLD_SIZE")
        raise ConfigError(
            f"WORLD_SIZE={size}: one of several processes, but there is no {' and no '.join(lacking)}: start them by "
            f"torchrun --nproc-per-node=N -m dltrain ..., or one (unset WORLD_SIZE)"
        )
    return Processes(
        *_numbers(environ, "RANK", "WORLD_SIZE", "LOCAL_RANK"),
        _whole(environ, "TORCHELASTIC_RESTART_COUNT"),
    )


def _by_slurm(environ: Mapping[str, str]) -> Processes:
    """Of srun's tasks; what torch asks for is set as torchrun would set it."""
    rank, size, local = _numbers(environ, "SLURM_PROCID", _SLURM, "SLURM_LOCALID")
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "localhost"
    port = 20_000 + _whole(environ, "SLURM_JOB_ID") % 20_000  # of a job: two of them may share a machine
    os.environ.setdefault("MASTER_ADDR", first_node(nodes))
    os.environ.setdefault("MASTER_PORT", str(port))
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(local))
    return Processes(rank, size, local, _whole(environ, "SLURM_RESTART_COUNT"))


def first_node(nodes: str) -> str:
    """The first machine of a list as Slurm writes them: `n[003-005,9],m` is n003."""
    name = re.match(r"([^\[,]*)(?:\[([^\],-]*)[^\]]*\])?([^,\[]*)", nodes)
    assert name is not None  # it may match nothing
    return f"{name[1]}{name[2] or ''}{name[3]}"


def _numbers(environ: Mapping[str, str], rank: str, size: str, local: str) -> tuple[int, int, int]:
    of, number = _whole(environ, size), _whole(environ, rank)
    if not number < of <= _MOST:
        shown = f"{rank}={cut(environ.get(rank, ''), 20)} and {size}={cut(environ.get(size, ''), 20)}"
        raise ConfigError(f"{shown}: want the number of a process, and how many there are, {_MOST:,} at most")
    return number, of, _whole(environ, local)


def _whole(environ: Mapping[str, str], name: str) -> int:
    text = environ.get(name, "") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigError(f"{name}={cut(text, 20)}: want a whole number")
    return int(text)
