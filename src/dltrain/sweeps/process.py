"""The process of a job: what it prints goes to a file of its folder, and how it ended is told in a line.

`alone` and `look` are what a Python of its own does where no server forks one.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from dltrain.config.composer import Composer
from dltrain.errors import DltrainError, streams, system
from dltrain.errors.output import warnings_in_words
from dltrain.runs.foreign import Values
from dltrain.sweeps import job
from dltrain.sweeps.orders import Orders


def run(
    orders: Orders, number: int, overrides: list[str], composer: Composer, until: float | None = None
) -> tuple[Values, int]:
    """A job in this process, which is its alone; returns how it ended, and an exit code."""
    from dltrain.training.stop import stop_on_signal

    with streams.unfailing(), warnings_in_words(), stop_on_signal(quiet=True) as stop:
        try:
            said = job.train(orders, number, overrides, composer, stop, until)
        except DltrainError as error:
            return {"state": "failed", "reason": str(error).splitlines()[0]}, error.exit_code
        except KeyboardInterrupt:
            return {"state": "stopped", "reason": "SIGINT"}, 130
    return said, 0


def alone(text: str) -> None:
    """One job in a Python of its own, told as JSON; the last line that it prints says how the job ended."""
    asked = json.loads(text)
    orders = Orders.of(asked["orders"])
    out = os.dup(1)
    output = write_to(Path(orders.folder) / str(asked["number"]))
    composer = Composer(orders.snapshot, quick=orders.quick)
    said, code = run(orders, asked["number"], asked["overrides"], composer, asked["until"])
    drop_empty(output)
    os.write(out, json.dumps(said).encode())
    os._exit(code)


def look(text: str) -> None:
    """Looks at jobs in a Python of its own; the last line that it prints is what is wrong with them, as JSON."""
    asked = json.loads(text)
    orders = Orders.of(asked["orders"])
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    composer = Composer(orders.snapshot, quick=orders.quick)
    found = job.check(orders, asked["jobs"], composer)
    seconds = job.seconds_of(orders, asked["jobs"][0], composer) if asked["timed"] and not found.wrong else None
    os.write(out, json.dumps({**found._asdict(), "seconds": seconds}).encode())
    os._exit(0)


def drop_empty(output: Path) -> None:
    """Removes the file of a job that had nothing to say."""
    sys.stdout.flush()
    sys.stderr.flush()
    with suppress(OSError):
        if output.stat().st_size == 0:
            output.unlink()


def write_to(folder: Path) -> Path:
    """Has what this process prints, the system's last words too, go to output.txt in a job's folder."""
    path = folder / "output.txt"
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
    try:
        system.refuse_link(path)
        out = os.open(path, system.WRITE | os.O_APPEND, 0o666)
    except OSError:
        out = os.open(os.devnull, os.O_WRONLY)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(nothing)
    os.close(out)
    return path
