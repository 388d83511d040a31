"""Whole commands with their own processes: what jobs do to themselves, to each other, and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import pytest
from outcomes import outcome

from dltrain.commands import cli
from dltrain.config.compose import compose
from dltrain.config.plan import make_plan
from dltrain.errors import StorageError
from dltrain.runs import reading, run_folder
from dltrain.sweeps.engines import Ended, served
from dltrain.sweeps.engines.local import Processes
from dltrain.sweeps.orders import Orders
from dltrain.training import experiment

linux = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")
QUICK = ("data=iris", "trainer.epochs=2", "trainer.tensorboard=false")
DLTRAIN = [sys.executable, "-m", "dltrain"]
MINE = """
import os, sys, ctypes
from torch import nn

class Odd(nn.Module):
    def __init__(self, in_features: int, out_features: int, does: str = "nothing"):
        super().__init__()
        self.layer, self.does, self.calls = nn.Linear(in_features, out_features), does, 0

    def forward(self, x):
        if self.training and x.device.type == "cpu":
            self.calls += 1
        if self.calls > 3 and "MENDED" not in os.environ:
            if self.does == "exits":
                print("leaving"); sys.stdout.flush(); os._exit(3)
            if self.does == "crashes":
                ctypes.string_at(0)
            if self.does == "raises":
                raise RuntimeError("I can't go on")
            if self.does == "leaves":
                raise SystemExit(4)
            if self.does == "is killed":
                os.kill(os.getpid(), 9)
        return self.layer(x.flatten(1))
"""


def command(folder, *words):
    return subprocess.run([*DLTRAIN, *words], cwd=folder, capture_output=True, text=True, timeout=300)


def here(folder, *words):
    """The exit code of a command in this process, which trains jobs by itself: where its own processes were seen."""
    with chdir(folder), pytest.raises(SystemExit) as end:
        cli.main(words)
    return end.value.code


def alone(root, *words):
    """What a run that is no job gives."""
    plan = make_plan(compose([*words, f"runs_dir={root}", "trainer.threads=1"]), [NETS])
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    experiment.train(plan, folder)
    return outcome(folder)


def sweep_in(folder):
    (found,) = folder.glob("runs/*/*/sweep.json")
    return found.parent


def last_lines(sweep):
    lines = map(json.loads, (sweep / "jobs.jsonl").read_text().splitlines())
    return {line["job"]: line for line in lines}


def orphans(folder):
    """Processes that work in a folder, or for a sweep in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(folder):
                found.append((process / "cmdline").read_text()[:200])
        except OSError:
            continue
    return found


def gone(folder):
    end = time.monotonic() + 60
    while found := orphans(folder):
        assert time.monotonic() < end, found
        time.sleep(0.1)


OPTIMIZERS = ("adamw", "momentum")


@pytest.fixture(scope="module")
def singles(tmp_path_factory):
    words = (*QUICK, "regularisation=[dropout]")
    return [alone(tmp_path_factory.mktemp(name), *words, f"optimizer={name}") for name in OPTIMIZERS]


@linux
def test_a_job_has_the_bits_of_the_same_run_alone(tmp_path, singles):
    """The second of one process, too; two at once are in the test of a sweep that is stopped."""
    words = (*QUICK, f"optimizer={','.join(OPTIMIZERS)}", "regularisation=[dropout]", "trainer.threads=1")
    done = command(tmp_path, "-m", *words, "sweep.workers=1")
    assert done.returncode == 0, done.stderr
    sweep = sweep_in(tmp_path)
    for number, single in enumerate(singles):
        job = outcome(sweep / str(number))
        for _, state, *_ in (job, single):
            state["config"] |= {"name": "", "runs_dir": ""}
        assert job == single
    assert not (sweep / "0" / "output.txt").exists()


@linux
def test_jobs_that_end_themselves_take_no_other_with_them(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    does = ["nothing", "exits", "crashes", "raises", "leaves", "is killed", "everything"]
    words = ("-m", "--allow", "mine", *QUICK, "model=module", "model._target_=mine.Odd", "sweep.workers=2")
    done = command(tmp_path, *words, f"+model.does={','.join(map(repr, does))}")
    assert done.returncode == 8, done.stderr
    assert "5 of 7 jobs failed" in done.stderr
    found = last_lines(sweep := sweep_in(tmp_path))
    assert [found[n]["state"] for n in range(7)] == ["done", *["failed"] * 5, "done"]
    assert "exit code 3" in found[1]["reason"]
    assert "SIGSEGV" in found[2]["reason"]
    assert found[3]["reason"] == "RuntimeError: I can't go on"
    assert found[4]["reason"] == "SystemExit: 4"
    assert "SIGKILL" in found[5]["reason"]
    assert (sweep / "1" / "output.txt").read_text() == "leaving\n"
    assert here(tmp_path, "--allow", "mine", "resume", str(sweep)) == 8
    assert "7 of 7 jobs had ended" in capsys.readouterr().out
    assert [(run := reading.read(sweep / str(n))).status for n in (1, 2, 5)] == ["failed"] * 3
    assert (run.reason, "killed by SIGKILL" in run.reason) == (found[5]["reason"], True)
    assert "--allow=mine --retry-failed" in done.stderr
    assert here(tmp_path, "--retry-failed", "resume", str(sweep)) == 2  # and no job is touched
    assert "its jobs had --allow mine" in capsys.readouterr().err
    monkeypatch.setenv("MENDED", "yes")
    monkeypatch.syspath_prepend(tmp_path)
    assert here(tmp_path, "--allow", "mine", "--retry-failed", "resume", str(sweep)) == 0
    sys.modules.pop("mine", None)
    assert "2 of 7 jobs had ended" in capsys.readouterr().out
    assert {line["state"] for line in last_lines(sweep).values()} == {"done"}


@linux
def test_jobs_read_their_data_themselves(tmp_path):
    """The process that forks them has no threads: a library's would not be there in its children."""
    (tmp_path / "rows.csv").write_text("a,b,y\n" + "".join(f"{i % 7},{i % 5},{'ab'[i % 2]}\n" for i in range(60)))
    done = command(tmp_path, "-m", *QUICK[1:], "data=iris,wine", "sweep.workers=2")
    assert done.returncode == 0, done.stderr
    table = ("data=table", "data.path=rows.csv", "data.target=y", "data.scaling=standard,none")
    done = command(tmp_path, "-m", *QUICK[1:], *table, "name=table")
    assert done.returncode == 0, done.stderr


NETS = "own_nets"
HELD = ("data=iris", "model=module", f"model._target_={NETS}.Held", "trainer.epochs=4", "trainer.tensorboard=false")


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("second"), *HELD, "regularisation=none", "seed=1")


@linux
@pytest.mark.parametrize("how", ["a group, as Ctrl-C", "the driver alone", "the driver, by SIGKILL", "the server"])
def test_a_sweep_that_is_stopped_leaves_no_process_and_goes_on(tmp_path, monkeypatch, second, how):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    words = ("--allow", NETS, *HELD, "regularisation=none", "trainer.save_every=0", "seed=0,1", "sweep.workers=2")
    (tmp_path / "hold").touch()
    process = subprocess.Popen(
        [*DLTRAIN, "-m", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 120
    while len({place.parents[1] for place in tmp_path.glob("runs/*/*/*/checkpoints/step-*")}) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    sweep = sweep_in(tmp_path)
    if how == "the server":
        (server,) = (int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if _parent(p) == process.pid)
        os.kill(server, signal.SIGKILL)
        (tmp_path / "hold").unlink()
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    else:
        if how.startswith("a group"):
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGKILL if "SIGKILL" in how else signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == {"a": 130, "t": 143}[how[0]] if "SIGKILL" not in how else -9, err
        gone(tmp_path)
        (tmp_path / "hold").unlink()
        assert {reading.read(sweep / str(seed)).status for seed in (0, 1)} == {"stopped"}
        if how.startswith("a group"):
            again = command(tmp_path, "--allow", NETS, "resume", str(sweep))
            assert again.returncode == 0, again.stderr
        else:
            assert here(tmp_path, "--allow", NETS, "resume", str(sweep)) == 0
    assert {line["state"] for line in last_lines(sweep).values()} == {"done"}
    for seed in (0, 1):
        run = reading.read(sweep / str(seed))
        assert (run.status, run.steps) == ("done", json.loads((sweep / "0" / "summary.json").read_text())["steps"])
    assert outcome(sweep / "1")[0] == second[0]
    gone(tmp_path)


@linux
def test_a_server_that_dies_while_it_looks_at_jobs_is_replaced_and_says_how_it_ended(monkeypatch):
    dying = [
        sys.executable,
        "-c",
        "import os, time; time.sleep(0.2); os.close(int(os.sys.argv[1])); time.sleep(0.1); os.kill(os.getpid(), 40)",
    ]
    monkeypatch.setattr(
        served, "python", lambda *_, pass_fds, **__: subprocess.Popen([*dying, str(*pass_fds)], pass_fds=pass_fds)
    )
    engine = served.Served("none")
    engine.brief(Orders("."))
    assert engine.check([["seed=0"]]).wrong == []  # what it had not read is lost: the connection is reset
    for _ in range(2):
        engine.start(0, ["seed=0"])
        assert engine.wait(60) == [Ended(0, code=None)]
    with pytest.raises(StorageError, match=r"ended 3 times, .* killed by signal 40\); it may have too little memory"):
        engine.wait(60)
    engine.close()


def _parent(stat):
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_where_nothing_is_forked_each_job_is_a_python_of_its_own(tmp_path):
    assert here(tmp_path, "-m", *QUICK, "seed=0,1", "sweep.workers=2") == 0
    sweep = sweep_in(tmp_path)
    engine = Processes()
    engine.brief(Orders(str(sweep), threads=1))
    long = ("regularisation.l1", "regularisation.l2", "optimizer.weight_decay", "model.dropout")
    many = [[*QUICK, *(f"{key}={'0' * 900}.{n}" for key in long)] for n in range(40)]  # more than one argument may hold
    assert engine.check([[*QUICK, "seed=0"], [*QUICK, "optimizer.lr=-1"], *many]).wrong[0][0] == 1
    engine.start(2, [*QUICK, "seed=1"])
    engine.start(3, [*QUICK, "optimizer.lr=-1"])
    ended = []
    while len(ended) < 2:
        ended += engine.wait(60)
    engine.close()
    found = {e.number: e for e in ended}
    assert (found[2].told["state"], found[3].told["state"]) == ("done", "failed")
    assert "Invalid learning rate" in found[3].told["reason"]
    assert outcome(sweep / "2")[0] == outcome(sweep / "1")[0]


@linux
def test_what_is_edited_while_a_sweep_waits_changes_nothing(tmp_path, capsys):
    (tmp_path / "mine" / "optimizer").mkdir(parents=True)
    file = tmp_path / "mine" / "optimizer" / "slow.yaml"
    file.write_text("# Slow.\n_target_: torch.optim.SGD\nlr: 0.01\n")
    words = ("--config-dir", "mine", "-m", *QUICK, "optimizer=slow", "seed=0,1", "trainer.max_time=1e-6")
    assert here(tmp_path, *words) == 138
    sweep = sweep_in(tmp_path)
    file.write_text("# Slow.\n_target_: torch.optim.SGD\nlr: 0.9\n")
    assert command(tmp_path, "resume", str(sweep)).returncode == 138
    assert here(tmp_path, "--config-dir", "mine", "resume", str(sweep)) == 138
    said = capsys.readouterr().err
    assert "changed since this sweep began, whose jobs keep what was: mine/optimizer/slow.yaml" in said
    assert [reading.read(sweep / str(n)).config["optimizer.lr"] for n in (0, 1)] == [0.01, 0.01]
