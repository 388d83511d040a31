"""Jobs of a cluster, as submitit runs them on this machine: SLURM itself is no part of the tests."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from dltrain.runs import reading
from dltrain.sweeps.engines import cluster
from dltrain.sweeps.orders import Orders
from dltrain.sweeps.slots import slots

submitit = pytest.mark.skipif(
    find_spec("submitit") is None or sys.platform != "linux",
    reason="needs submitit (pip install 'dltrain[slurm]'), and /proc",
)
QUICK = ("data=iris", "trainer.epochs=2", "trainer.tensorboard=false")
HERE = ("sweep.engine=submitit", "sweep.cluster.cluster=local", "sweep.cluster.timeout_min=60")
DLTRAIN = [sys.executable, "-m", "dltrain"]
KILLED = """
import os
from dltrain import MLP


def net(in_features: int, out_features: int, does: str):
    if does == "killed" and os.environ.get("SUBMITIT_LOCAL_JOB_ID"):
        os.kill(os.getpid(), 9)
    if does == "leaves" and os.environ.get("SUBMITIT_LOCAL_JOB_ID"):
        os._exit(3)
    return MLP(in_features, out_features, widths=[4])
"""


def lines(folder):
    (sweep,) = (file.parent for file in folder.glob("runs/*/*/sweep.json"))
    found = [json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines()]
    return sweep, {line["job"]: line for line in found}


@submitit
def test_jobs_of_a_cluster_fail_as_they_do_here(dltrain, tmp_path, monkeypatch):
    (tmp_path / "killed_net.py").write_text(KILLED)
    monkeypatch.syspath_prepend(tmp_path)
    words = ("model=module", "model._target_=killed_net.net", "+model.does=killed,leaves")
    code, _, err = dltrain("-m", "--allow", "killed_net", *QUICK, *words, *HERE)
    assert code == 8, err
    sweep, found = lines(tmp_path)
    assert [found[n]["state"] for n in range(2)] == ["failed", "failed"]
    assert "killed by SIGKILL" in found[0]["reason"]
    assert "exit code 3" in found[1]["reason"]
    code, _, err = dltrain("resume", str(sweep))
    assert (code, "type that again" in err) == (2, True), err


def _parent(stat):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@submitit
def test_a_job_that_gives_way_saves_and_goes_on(dltrain, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    own = ("--allow", "own_nets", "model=module", "model._target_=own_nets.Held")
    words = ("data=iris", "trainer.epochs=4", "trainer.tensorboard=false", "trainer.save_every=0", "seed=0")
    (tmp_path / "hold").touch()
    process = subprocess.Popen(
        [*DLTRAIN, "-m", "seeds=1", *own, *words, *HERE], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    _until(process, lambda: [*tmp_path.glob("runs/*/*/*/checkpoints/step-*")])
    (controller,) = (int(p.name.split("_")[0]) for p in tmp_path.glob("runs/*/*/cluster/*/*_submitted.pkl"))
    (task,) = (int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == controller)
    os.kill(task, signal.SIGUSR2)  # what SLURM sends before a limit of time
    sweep, _ = lines(tmp_path)
    _until(process, lambda: _parent(Path(f"/proc/{task}/stat")) != controller and reading.is_alive(sweep / "0"))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143, err
    log = "".join(file.read_text() for file in sweep.glob("cluster/*/*_log.*"))
    assert log.count("Calling checkpoint method") == 1
    assert lines(tmp_path)[1][0]["state"] == "stopped"
    (tmp_path / "hold").unlink()
    code, _, err = dltrain(*own[:2], "resume", str(sweep), *HERE)
    assert code == 0, err
    assert lines(tmp_path)[1][0]["state"] == "done"
    assert reading.read(sweep / "0").numbers["last/epoch"] == 4


def _until(process, holds):
    while not holds():
        assert process.poll() is None
        time.sleep(0.02)


class Queue:
    """Takes one job at a time, as where there is a limit for each user."""

    def __init__(self):
        self.taken, self.most = [], 1

    def submit(self, task):
        from submitit.core.utils import FailedJobError

        if sum(not job.over for job in self.taken) >= self.most:
            raise FailedJobError("sbatch failed\nJob violates accounting/QOS policy")
        self.taken.append(Taken(task, str(len(self.taken))))
        return self.taken[-1]


class Taken:
    over, state = False, "RUNNING"

    def __init__(self, task, job_id):
        self.task, self.job_id = task, job_id

    def done(self):
        return self.over


class Silent:
    def brief(self, orders):
        pass

    def close(self):
        pass


@submitit
def test_a_job_that_a_cluster_does_not_take_waits_until_another_has_ended(tmp_path):
    engine = cluster.Cluster({}, Silent(), looks=False)
    engine.brief(Orders(str(tmp_path)))
    engine._executor = queue = Queue()
    for number in range(3):
        engine.start(number, ["seed=0"])
    ended = []
    while len(ended) < 3:
        (job,) = (job for job in queue.taken if not job.over)
        Path(job.task.end).parent.mkdir(parents=True, exist_ok=True)
        Path(job.task.end).write_text('{"told": {"state": "done"}, "code": 0}')
        job.over = True
        job.paths = type("Paths", (), {"stderr": "there"})
        ended += engine.wait(1)
    assert [(e.number, e.told["state"]) for e in ended] == [(n, "done") for n in range(3)]
    queue.most = 0  # it takes none at all
    engine.start(3, ["seed=0"])
    (refused,) = engine.wait(1)
    assert (refused.told["state"], "QOS" in refused.told["reason"]) == ("failed", True)


@submitit
def test_a_file_that_says_where_jobs_run_is_enough_to_go_on(dltrain, tmp_path):
    (tmp_path / "experiment").mkdir()
    file = tmp_path / "experiment" / "there.yaml"
    file.write_text("# @package _global_\nsweep: {verbose: false}\n")
    words = ("--config-dir", ".", "-m", "experiment=there", *QUICK, "seed=0,1", "resume=auto")
    assert dltrain(*words)[0] == 0
    (record,) = tmp_path.glob("runs/*/*/sweep.json")
    found = json.loads(record.read_text())
    record.write_text(json.dumps(found | {"sweep": found["sweep"] | {"engine": "submitit"}}))
    file.write_text("# @package _global_\nsweep: {engine: submitit, cluster: {cluster: local}}\n")
    code, out, err = dltrain(*words)
    assert (code, "2 of 2 jobs had ended" in out) == (0, True), err


def test_what_can_not_be_as_asked_is_said_before_anything_is_written(dltrain, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    code, _, err = dltrain("-m", *QUICK, "seed=0,1", "sweep.engine=submitit")
    assert (code, err) == (2, "error: sweep.engine=submitit needs submitit: pip install 'dltrain[slurm]'\n")
    assert not (tmp_path / "runs").exists()
    code, _, err = dltrain("-m", *QUICK, "seed=0,1", "hydra/launcher=submitit_slurm")
    assert (code, "sweep.engine=submitit" in err) == (2, True)
    assert slots("auto", device="cuda", elsewhere=True).most == 100


@submitit
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("cluster.nodes=2", "a job is one process"),
        ("cluster.timeout=3", "imeout"),
        ("cluster.cluster=pbs", "any executor named pbs"),
        ("cluster.cluster=slurm", "srun"),
    ],
)
def test_parameters_of_a_cluster_are_checked(word, said, dltrain, tmp_path):
    code, _, err = dltrain("-m", *QUICK, "seed=0,1", "sweep.engine=submitit", f"sweep.{word}")
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "runs").exists()
