"""What `dltrain` and `dltrain -m` say and return at the end of a run or sweep."""

import json
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from dltrain.commands import train
from dltrain.runs import run_folder
from dltrain.sweeps import sweep
from dltrain.sweeps.engines import local
from dltrain.training.experiment import Ended


@pytest.fixture
def ending(dltrain, tmp_path, monkeypatch):
    """The exit code and the words of a sweep that came to this: states of the ledger, summaries of jobs."""

    def end(states, *jobs, reason=None):
        folder = run_folder.create(tmp_path, "sweep")
        (folder / "sweep.json").write_text("{}")
        for number, summary in enumerate(jobs):
            (folder / str(number)).mkdir()
            (folder / str(number) / "summary.json").write_text(json.dumps(summary))
        monkeypatch.setattr(local, "started", nullcontext)
        monkeypatch.setattr(sweep, "begin", lambda *_: sweep.Ended(folder, Counter(states), reason))
        return dltrain("-m", "seed=1,2")

    return end


@pytest.mark.parametrize(
    ("alone", "reason", "code"),
    [
        ("SIGINT", None, 130),
        ("SIGTERM", None, 143),
        ("max_time", None, 138),
        ("odd", None, 138),
        ("SIGTERM", "SIGINT", 130),
    ],
)
def test_a_sweep_of_which_jobs_stopped_alone_ends_as_they_did(ending, alone, reason, code):
    done, stopped = {"status": "done"}, {"status": "stopped", "reason": alone}
    assert ending({"done": 1, "stopped": 1}, done, stopped, reason=reason)[0] == code


def test_jobs_that_were_removed_are_counted_with_the_others(ending):
    code, out, err = ending({"done": 2, "failed": 7, "diverged": 1}, {"status": "done"}, {"status": "done"})
    assert (code, "2 jobs in " in out, "8 of 10 jobs failed; " in err) == (8, True, True)


@pytest.mark.parametrize(("launcher", "typed"), [("7", " --nproc=2"), ("", "")])
def test_a_run_that_was_stopped_is_resumed_by_as_many_processes_as_were_typed(monkeypatch, capsys, launcher, typed):
    monkeypatch.setenv("DLTRAIN_LAUNCHER", launcher)
    if not launcher:
        monkeypatch.delenv("DLTRAIN_LAUNCHER")
    plan = SimpleNamespace(ranks=SimpleNamespace(rank=0, world_size=2), is_rank_zero=True)
    assert (
        train._told(Ended(plan, Path("runs/a"), {"status": "stopped", "steps": 7, "reason": "max_time"}), ["own"])
        == 138
    )
    assert capsys.readouterr().err == f"stopped at step 7; resume: dltrain resume runs/a{typed} --allow=own\n"
