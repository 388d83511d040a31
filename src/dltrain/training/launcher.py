"""Several processes of this machine, started and watched by torch's own launcher, as torchrun does it."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from dltrain.config.processes import LAUNCHER
from dltrain.errors import system
from dltrain.errors.output import say

_SPOKEN = (1, 2, *range(128, 160))  # codes of what is said before they meet, and of a stop


def launch(words: Sequence[str], count: int) -> int:
    """Runs `dltrain WORDS` as so many processes; returns the exit code, of several that failed the first one's.

    words: what was typed; `--nproc` among them is for this process, and the others leave it alone.
    """
    for name in [*logging.root.manager.loggerDict]:  # who has failed says why
        if name.startswith("torch.distributed"):  # those of the launcher have levels of their own
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle=",".join(_passed_on()),
    )
    try:
        with _surroundings(count):
            elastic_launch(config, sys.executable)("-m", "dltrain", *_without_nproc(words))
    except ChildFailedError as failed:
        rank, first = failed.get_first_failure()
        if first.exitcode < 0:  # the others leave it to this process to say
            name = signal.Signals(-first.exitcode).name
            say(f"error: process {rank} of {count} was ended by {name}; `dltrain resume last` goes on", error=True)
        elif first.exitcode not in _SPOKEN and not os.path.exists(first.error_file):  # where it would say why
            what = f"ended itself with exit code {first.exitcode}, and said nothing of why"
            say(f"error: process {rank} of {count} {what}; `dltrain resume last` goes on", error=True)
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    return 0


@contextmanager
def _surroundings(count: int) -> Iterator[None]:
    """Variables for the processes; afterwards they are as before, for what else this process starts."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", LAUNCHER)}
    # As torchrun does it, but with all processors: each process works with its share of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, system.processors() // count)))
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _passed_on() -> list[str]:
    """The signals that the processes get, too; without SIGHUP where it is ignored, as under `nohup`."""
    kept = (n for n in system.STOPS if n.name != "SIGHUP" or signal.getsignal(n) != signal.SIG_IGN)
    return [*(number.name for number in kept), *(["SIGQUIT"] if hasattr(signal, "SIGQUIT") else [])]


def _without_nproc(words: Sequence[str]) -> list[str]:
    kept, skip = list[str](), False
    for word in words:
        if skip or word.startswith("--nproc="):
            skip = False
        elif word == "--nproc":
            skip = True
        else:
            kept.append(word)
    return kept
