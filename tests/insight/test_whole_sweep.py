"""A sweep of a program: the engine of the command, with a frame as the answer and exceptions for mistakes."""

import os
import signal
import sys
import threading
import time

import polars as pl
import pytest

import dltrain
from dltrain.errors import ConfigError
from dltrain.sweeps.engines import local

OWN = local.local  # the engine, before tests have jobs in their own process
QUICK = ("data=iris", "trainer.epochs=2", "trainer.tensorboard=false", "sweep.workers=1")

LEAVES = """
import os
from dltrain import MLP


def net(in_features: int, out_features: int, gone: bool):
    if gone:
        os._exit(3)
    return MLP(in_features, out_features, widths=[4])
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def _processes(monkeypatch):
    """Jobs are processes, as they are for everybody else."""
    monkeypatch.setattr(local, "local", OWN)


@pytest.mark.usefixtures("_processes")
def test_a_sweep_is_a_frame_the_best_first(here, capfd):
    before = [*sys.path], threading.active_count()
    table = dltrain.sweep(*QUICK, "optimizer.lr=0.02,1e38", optimizer="sgd,adamw", seed=3, runs_dir="my rüns")
    assert (sys.path, threading.active_count()) == before
    assert isinstance(table, pl.DataFrame)
    assert table.columns[:2] == ["job", "status"]
    assert table["status"].to_list() == ["done", "done", "diverged", "diverged"]
    assert table["best/accuracy"][:2].is_sorted(descending=True)
    assert "Try a smaller optimizer.lr" in table["reason"][3]
    assert "optimizer.lr=0.02" in table["command"][0]
    assert {str(here / folder) for folder in table["folder"]} == {
        str(p.parent) for p in here.glob("my rüns/*/*/*/.lock")
    }
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)
    best = dltrain.load(table["folder"][0])
    assert best.metrics["best/accuracy"] == table["best/accuracy"][0]
    again = dltrain.sweep(
        *QUICK, "optimizer.lr=0.02,1e38", optimizer="sgd,adamw", seed=3, runs_dir="my rüns", resume="auto"
    )
    assert again.equals(table)


@pytest.mark.usefixtures("_processes")
def test_a_process_that_ends_itself_has_a_row_too(here):
    (here / "leaves.py").write_text(LEAVES)
    words = ("model=module", "model._target_=leaves.net", "+model.gone=false,true")
    table = dltrain.sweep(*QUICK, *words, allow=["leaves"])
    assert table["status"].to_list() == ["done", "failed"]
    assert "exit code 3" in table["reason"][1]


@pytest.mark.parametrize(
    ("words", "keys", "said"),
    [
        (("optimizer.lr=0.1,-1",), {}, "Invalid learning rate: -1"),
        (("optimizer.lt=0.1,0.2",), {}, "unknown key"),
        ((), {"optimizer": "adamw,sgdd"}, "did you mean"),
        ((3,), {}, "an override is a text"),
        ((), {"seed": object()}, "give a text, a number"),
        (("seed=0,1", "sweep=random"), {"sweep.trials": "many"}, "sweep.trials"),
    ],
)
def test_mistakes_are_raised_before_anything_is_written(words, keys, said, here):
    with pytest.raises(ConfigError, match=said):
        dltrain.sweep(*QUICK, *words, **keys)
    assert not [*here.glob("runs/*/*")]


@pytest.mark.usefixtures("_processes")
def test_a_sweep_that_is_interrupted_says_how_it_goes_on(here):
    words = (
        "data=iris",
        "trainer.epochs=99999",
        "trainer.save_every=0.1",
        "trainer.tensorboard=false",
        "seed=0,1",
        "sweep.workers=2",
    )

    def press():
        while len([*here.glob("runs/*/*/*/checkpoints")]) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt, match=r"saved in .*; go on: the same call with resume='auto'"):
        dltrain.sweep(*words, "seed=0,1", "sweep.workers=2")
    assert dltrain.runs()["status"].to_list() == ["stopped", "stopped"]
