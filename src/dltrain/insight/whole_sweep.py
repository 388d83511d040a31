"""Whole sweeps in a program or a notebook: what `dltrain -m` does, with the table of the jobs as the answer."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.config import command_line
from dltrain.errors import DltrainError
from dltrain.sweeps.engines import local
from dltrain.training.stop import Interrupted

if TYPE_CHECKING:
    import polars as pl

    from dltrain.sweeps.sweep import Ended


def sweep(
    *overrides: str,
    allow: Sequence[str] = (),
    runs_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_changed_data: bool = False,
    retry_failed: bool = False,
    reuse: bool = False,
    **keys: command_line.Value,
) -> pl.DataFrame:
    """Trains what `dltrain -m KEY=V1,V2 ...` trains, on all processors, and returns a row for each job, the best first.

    sweep("optimizer.lr=0.1,0.01", optimizer="adamw,momentum", seed="range(3)"): `keys` are texts as they are typed, or
    one number. How jobs are chosen, and how many, is a key, too: sweep="random", "sweep.trials=50". resume="auto" goes
    on with the newest sweep of the same words, with `retry_failed` also where its jobs failed; `reuse` takes over runs
    that were finished before. allow, runs_dir, config_dir: as for `train`.

    The frame has the columns of `runs`, with `job` for the number: load(table["folder"][0]) is the best. A job that
    failed or diverged raises nothing: its row says so in `status`, and why in `reason`; a configuration that occurred
    before has no row. With folds=5 `out_of_fold.csv` in the folder of the sweep, in which those of the jobs are, has
    what the best choice answers to each row by a run that has not seen it. Jobs are processes of their own: threads,
    generators and code of yours in this one stay as they are, and a class that is defined in a notebook is not known to
    them.

    Raises ConfigError with all mistakes before anything is written, and StorageError. Ctrl-C has the jobs save, and
    raises KeyboardInterrupt with the words that go on.
    """
    words = [*map(command_line.word, overrides), *(_typed(key, value) for key, value in keys.items())]
    words += [] if runs_dir is None else [command_line.typed("runs_dir", str(runs_dir))]
    with _importing(allow) as allowed, local.started() as engine:  # it imports torch while all else is looked at
        from dltrain.sweeps import sweep as sweeps
        from dltrain.sweeps.request import Options

        options = Options(
            config_dir=None if config_dir is None else str(config_dir),
            allow=allowed,
            allow_changed_data=allow_changed_data,
            retry_failed=retry_failed,
            reuse=reuse,
            lines=False,
        )
        ended = sweeps.begin(words, options, engine)
    _interrupted(ended)
    return _table(ended, allowed)


def _table(ended: Ended, allow: Sequence[str]) -> pl.DataFrame:
    """The jobs, the best first. Of one whose process died, its folder knows no more than that it did not end."""
    from dltrain.insight import frames
    from dltrain.runs import seeds, sweep_table
    from dltrain.sweeps import told

    jobs = seeds.in_order(
        [
            replace(job, status="failed", reason=reason) if (reason := ended.failed.get(int(job.folder.name))) else job
            for job in sweep_table.jobs(ended.folder)
        ]
    )
    for note in told.changed(jobs):
        warnings.warn(note, stacklevel=3)
    if seeds.FOLD in seeds.keys(jobs):
        _answer_out_of_fold(ended.folder, allow)
    return frames.table(jobs, {"job": [int(job.folder.name) for job in jobs]})


def _answer_out_of_fold(sweep: Path, allow: Sequence[str]) -> None:
    """Leaves the process as it was; warns of what stands against it."""
    from dltrain.engine.process import left_as_it_was
    from dltrain.trained import folds

    try:
        with left_as_it_was():
            folds.out_of_fold(sweep, allow=allow)
    except DltrainError as error:
        warnings.warn(folds.refused(sweep, error), stacklevel=4)


def _typed(key: str, value: command_line.Value) -> str:
    """A keyword argument as an override: a text may be several values."""
    return f"{key}={value}" if isinstance(value, str) else command_line.typed(key, value)


@contextmanager
def _importing(allow: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The packages that are allowed, importable for what is started inside; afterwards modules are found as before."""
    before = [*sys.path]
    try:
        yield tuple(command_line.allowed(allow))
    finally:
        sys.path[:] = before


def _interrupted(ended: Ended) -> None:
    """Raises Interrupted for a sweep that a signal ended: what comes after it in a cell must not go on."""
    if ended.reason is not None:
        where = json.dumps(str(ended.folder))
        words = f"stopped, and saved in {where}; go on: the same call with resume='auto'"
        raise Interrupted(words, ended.folder, ended.reason)
