"""Jobs of a Ray cluster, as a sweep starts one on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from outcomes import outcome

from dltrain.sweeps.engines import ray_cluster

ray = pytest.mark.skipif(
    find_spec("ray") is None or sys.platform != "linux", reason="needs Ray (pip install 'dltrain[ray]'), and /proc"
)
DLTRAIN = [sys.executable, "-m", "dltrain"]
QUICK = ("data=iris", "trainer.epochs=40", "trainer.tensorboard=false", "trainer.save_every=0.2", "trainer.threads=1")
MINE = """
import os, time
from pathlib import Path
from torch import nn


class Odd(nn.Module):
    def __init__(self, in_features: int, out_features: int, does: str):
        super().__init__()
        self.layer, self.does, self.calls = nn.Linear(in_features, out_features), does, 0

    def forward(self, x):
        if os.environ.get("RAY_JOB_ID") and self.training and x.device.type == "cpu":
            self.calls += 1
            if self.does == "leaves":
                os._exit(3)
            if self.does == "is alone" and self.calls == 9 and not Path(self.does).exists():
                Path(self.does).touch()
                os.kill(os.getppid(), 9)
            if self.does == "is slow":
                time.sleep(0.3)
        return self.layer(x.flatten(1))
"""


def begun(folder, *words):
    with (folder / "said").open("w") as said:
        return subprocess.Popen([*DLTRAIN, *words], cwd=folder, stdout=said, stderr=said, start_new_session=True)


def works_in(folder):
    """Other processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder) and process.name != str(os.getpid()):
                found.append((process / "cmdline").read_text()[:200])
        except OSError:
            continue
    return found


def states(folder):
    """The last line of each job."""
    lines = [line for file in folder.glob("runs/*/*/jobs.jsonl") for line in file.read_text().splitlines(keepends=True)]
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {line["job"]: line for line in found}


@ray
def test_jobs_end_as_they_do_here_and_leave_nothing(dltrain, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    words = ("--allow", "mine", *QUICK, "seed=0", "model=module", "model._target_=mine.Odd")
    does = "+model.does='leaves','is alone','is slow'"
    process = begun(tmp_path, "-m", *words, does, "sweep.engine=ray", "sweep.cluster.num_cpus=0.5")
    try:
        end = time.monotonic() + 240
        while {number: states(tmp_path).get(number, {}).get("state") for number in (0, 1)} != {0: "failed", 1: "done"}:
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < end, states(tmp_path)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130, (tmp_path / "said").read_text()
    finally:
        process.kill()
        process.wait()
    assert not works_in(tmp_path)
    assert "exit code 3" in states(tmp_path)[0]["reason"]
    assert states(tmp_path)[2]["state"] == "stopped"
    (sweep,) = tmp_path.glob("runs/sweep/*")
    code, _, err = dltrain("resume", str(sweep))
    assert (code, "type that again" in err) == (2, True), err
    assert dltrain("--allow", "mine", "resume", str(sweep), "sweep.engine=local")[0] == 8
    assert states(tmp_path)[2]["state"] == "done"
    code, _, err = dltrain(*words, "+model.does=nothing", "name=near")
    assert code == 0, err
    (near,) = tmp_path.glob("runs/near/*")
    assert outcome(sweep / "1")[0] == outcome(sweep / "2")[0] == outcome(near)[0]


def test_what_can_not_be_as_asked_is_said_before_anything_is_written(dltrain, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    code, _, err = dltrain("-m", *QUICK, "seed=0,1", "sweep.engine=ray", "sweep.workers=1")
    assert (code, err) == (2, "error: sweep.engine=ray needs Ray: pip install 'dltrain[ray]'\n")
    assert not (tmp_path / "runs").exists()


@ray
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("num_cpu=2", "Ray's sweep.cluster has no `num_cpu`; did you mean `num_cpus`?"),
        ("num_gpus=1.5", "sweep.cluster.num_gpus: 1.5: want a whole number, or a part of one"),
        ("num_cpus=many", "sweep.cluster.num_cpus: want a number"),
        ("resources.big=yes", "sweep.cluster.resources: want numbers"),
        ("address=ray://there:10001", "start dltrain on one of its machines"),
        ("address=127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
    ],
)
def test_what_a_job_gets_of_a_cluster_is_checked(word, said, dltrain, tmp_path):
    code, _, err = dltrain("-m", *QUICK, "seed=0,1", "sweep.engine=ray", f"sweep.cluster.{word}")
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "runs").exists()
