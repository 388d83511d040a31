"""Imported by the fork server alone: makes every run and trains it for a moment, so that its children start warm."""

import io
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

import quick_compose
import torch
from inline_engine import Inline
from nursery import RUNS, SWEEP, new_folder, plan_of

from dltrain.commands import cli
from dltrain.data.loaders import _stop_all_workers
from dltrain.sweeps.engines import local
from dltrain.training import experiment

quick_compose.put_in_place()
torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
with tempfile.TemporaryDirectory() as root:
    for name in RUNS:
        plan = plan_of(name, "trainer.epochs=1")
        experiment.train(plan, new_folder(plan, Path(root)))
        plan_of(name)
    inner, local.local = local.local, Inline
    with chdir(root), redirect_stdout(io.StringIO()):
        cli._run([*SWEEP, "trainer.epochs=1"])
    local.local = inner
_stop_all_workers()  # a child would take them for its own
