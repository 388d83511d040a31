"""Jobs of a Ray cluster: real ones on this machine, of which a test may lose a machine, or that a sweep starts."""

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

from dltrain.runs import reading
from dltrain.sweeps.engines import ray_cluster

ray = pytest.mark.skipif(
    find_spec("ray") is None or sys.platform != "linux", reason="needs Ray (pip install 'dltrain[ray]'), and /proc"
)
DLTRAIN = [sys.executable, "-m", "dltrain"]
QUICK = ("data=iris", "trainer.epochs=2", "trainer.tensorboard=false", "seed=0")
MACHINES = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20})
lost = [cluster.add_node(num_cpus=1, resources={"first": 1}, object_store_memory=80 << 20)]
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
    cluster.remove_node(lost.pop(), allow_graceful=False)
    print("lost", flush=True)
cluster.shutdown()
"""
MINE = """
import os, time
from pathlib import Path
from torch import nn


class Odd(nn.Module):
    def __init__(self, in_features: int, out_features: int, does: str):
        super().__init__()
        self.layer, self.does, self.calls = nn.Linear(in_features, out_features), does, 0

    def forward(self, x):
        self.calls += self.training and x.device.type == "cpu"
        if self.calls == 4 and os.environ.get("RAY_JOB_ID") and not Path(self.does).exists():
            if self.does == "leaves":
                os._exit(3)
            Path(self.does).touch()
            if self.does == "is alone":
                os.kill(os.getppid(), 9)
            while self.does == "waits":
                time.sleep(0.02)
        return self.layer(x.flatten(1))
"""


def begun(folder, *words):
    with (folder / "err").open("w") as err:
        return subprocess.Popen([*DLTRAIN, *words], cwd=folder, stdout=err, stderr=err, start_new_session=True)


def lines(folder):
    (sweep,) = (file.parent for file in folder.glob("runs/*/*/sweep.json"))
    found = [json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines()]
    return sweep, {line["job"]: line for line in found}


def until(process, holds):
    while not holds():
        assert process.poll() is None
        time.sleep(0.02)


@ray
def test_jobs_go_on_when_their_worker_or_their_machine_die(dltrain, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    words = ("--allow", "mine", *QUICK, "model=module", "model._target_=mine.Odd")
    does = "+model.does='waits','leaves','is alone'"
    machines = subprocess.Popen(
        [sys.executable, "-c", MACHINES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        address = machines.stdout.readline().strip()
        process = begun(tmp_path, "-m", *words, does, "sweep.engine=ray", f"sweep.cluster.address={address}")
        until(process, (tmp_path / "waits").exists)
        machines.stdin.write("\n")
        machines.stdin.flush()
        assert machines.stdout.readline() == "lost\n"
        assert process.wait(120) == 8, (tmp_path / "err").read_text()
    finally:
        machines.communicate(timeout=60)
    sweep, found = lines(tmp_path)
    assert [found[n]["state"] for n in range(3)] == ["done", "failed", "done"]
    assert "exit code 3" in found[1]["reason"]
    code, _, err = dltrain("resume", str(sweep))
    assert (code, "type that again" in err) == (2, True), err
    code, _, err = dltrain(*words, "+model.does=nothing", "trainer.threads=1", "name=near")
    assert code == 0, err
    (near,) = tmp_path.glob("runs/near/*")
    for number in (0, 2):
        assert outcome(sweep / str(number))[0] == outcome(near)[0]


def _works_in(folder):
    """Processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder):
                found.append((process / "cmdline").read_text()[:200])
        except OSError:
            continue
    return found


@ray
def test_a_cluster_of_a_sweep_ends_with_it(tmp_path):
    words = ("data=iris", "trainer.epochs=3000", "trainer.tensorboard=false", "trainer.save_every=0.2")
    process = begun(tmp_path, "-m", *words, "seed=0,1", "sweep.engine=ray", "sweep.workers=1")
    until(process, lambda: [*tmp_path.glob("runs/*/*/0/checkpoints/step-*")])
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, (tmp_path / "err").read_text()
    assert not _works_in(tmp_path)
    sweep, found = lines(tmp_path)
    assert found[0]["state"] == "stopped"
    before = reading.read(sweep / "0").steps
    process = begun(tmp_path, "resume", str(sweep), "sweep.engine=ray", "sweep.workers=1")
    until(process, lambda: reading.is_alive(sweep / "0"))
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    while left := _works_in(tmp_path):
        assert time.monotonic() < end, left
        time.sleep(0.1)
    assert reading.read(sweep / "0").steps >= before


def test_what_can_not_be_as_asked_is_said_before_anything_is_written(dltrain, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    code, _, err = dltrain("-m", *QUICK[:-1], "seed=0,1", "sweep.engine=ray", "sweep.workers=1")
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
    code, _, err = dltrain("-m", *QUICK[:-1], "seed=0,1", "sweep.engine=ray", f"sweep.cluster.{word}")
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "runs").exists()
