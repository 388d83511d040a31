"""Imported by the fork server alone: makes and trains every run once, so that its children start warm."""

import io
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

import torch
from nursery import RUNS, SWEEP, new_folder, plan_of

from dltrain.commands import cli
from dltrain.data.loaders import _stop_all_workers
from dltrain.training import experiment

torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
with tempfile.TemporaryDirectory() as root:
    for name in RUNS:
        plan = plan_of(name)
        experiment.train(plan, new_folder(plan, Path(root)))
    with chdir(root), redirect_stdout(io.StringIO()):
        cli._run(SWEEP)
_stop_all_workers()  # a child would take them for its own
