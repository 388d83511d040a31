"""Hostile files and hostile typing, drawn from the grammar of `hostile`: whole run folders, sweeps, folders of
configuration files, data files, and command lines; no case may run, fetch, touch or say what it should not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
COUNT = 20_000 if SOAK else 120  # a third of a second each
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (COUNT, []),
        pytest.param(
            1_000, ["alone"], marks=pytest.mark.skipif(not SOAK, reason="an hour of processes: DLTRAIN_SOAK=1")
        ),
    ],
    ids=["forks", "processes"],
)
def test_nothing_that_a_stranger_wrote_or_a_hand_typed_does_harm(tmp_path, count, how):
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "PYTHONDONTWRITEBYTECODE"), "1"),
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
    }
    drive = [sys.executable, "-P", "-m", "hostile.drive", "0", str(count), str(tmp_path / "work"), *how]
    done = subprocess.run(drive, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3_000:]
    *bad, last = done.stdout.splitlines()
    found = json.loads(last)
    print(f"{count:,} hostile cases: {found}")
    assert not bad, "\n".join(["with tests/ on PYTHONPATH each can be tried alone:", *bad[:60]])
    assert sum(found["counts"].values()) == count
    assert found["counts"]["0"] > count / 20  # all of it is no nonsense
