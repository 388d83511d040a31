"""Imported by the fork server alone: makes and trains every run once, so that its children start warm."""

import tempfile
from pathlib import Path

from nursery import RUNS, new_folder, plan_of

from dltrain import experiment
from dltrain.data.loaders import _stop_all_workers

with tempfile.TemporaryDirectory() as root:
    for name in RUNS:
        plan = plan_of(name)
        experiment.train(plan, new_folder(plan, Path(root)))
_stop_all_workers()  # a child would take them for its own
