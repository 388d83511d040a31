"""What TensorBoard calls the jobs of a sweep, and what it compares of them, from the record of the sweep."""

import json

import pytest

from dltrain.runs import run_folder
from dltrain.training import board


def job(root, overrides, typed):
    """The folder of a job, as a sweep makes it before the job is trained."""
    folder = root / "20261130-120000-abcd" / "3"
    folder.mkdir(parents=True)
    (folder.parent / "sweep.json").write_text(json.dumps({"overrides": overrides}))
    run_folder.write_overrides(folder, typed)
    return folder


@pytest.mark.parametrize(
    ("overrides", "typed", "called"),
    [
        (["data=iris", "optimizer=sgd,adamw"], ["data=iris", "optimizer=sgd"], "optimizer=sgd"),
        (["optimizer.lr=0.1,0.01", "model.widths=[8],[8,8]"], ["optimizer.lr=0.1", "model.widths=[8,8]"], None),
        (["optimizer.lr=tag(log,interval(0.001,0.1))"], ["optimizer.lr=0.0367225"], "lr=0.0367225"),
        (["optimizer.lr=range(1,3)"], ["optimizer.lr=2"], "lr=2"),
        (["optimizer.nesterov=false,true"], ["optimizer.nesterov=True"], "nesterov=true"),
        (["data.test=1/2,2/2"], ["data.test=2/2"], "test=2_2"),
        (["a.x=1,2", "b.x=1,2", "c.y=1,2"], ["a.x=1", "b.x=2", "c.y=1"], "a.x=1 b.x=2 y=1"),
        (["+db/mysql=a,b"], ["+db/mysql=a"], "db_mysql=a"),
        (["data.path='../a.csv','b c.csv'"], ["data.path='../a.csv'"], "path=.._a.csv"),
        (["optimizer.lr=0.1"], ["optimizer.lr=0.1"], ""),
        (["optimizer.lr=0.1,(", "seed=1,2"], ["optimizer.lr=0.1", "seed=1"], "seed=1"),
        (["optimizer.lr=range(0,1e18)"], ["optimizer.lr=1"], ""),
        ({"optimizer.lr": 1}, ["optimizer.lr=1"], ""),
        ([f"{'k' * 300}=1,2"], [f"{'k' * 300}=1"], ""),
        (["data.path=1,2"], [f"data.path={'名' * 100}"], f"path={'名' * 31}"),
    ],
)
def test_a_job_is_called_what_its_sweep_varies(tmp_path, overrides, typed, called):
    assert board.name(job(tmp_path, overrides, typed)) == ("lr=0.1 widths=[8,8]" if called is None else called)


def test_a_run_of_no_sweep_has_no_name_below_its_folder(tmp_path):
    run_folder.write_overrides(tmp_path, ["optimizer.lr=0.1"])
    assert board.name(tmp_path) == ""


def test_a_job_lacks_no_key_in_which_the_choices_of_its_sweep_differ(tmp_path):
    folder = job(tmp_path, ["optimizer=adamw,sgd,nesterov", "optimizer.momentum=0.9,0"], ["optimizer=adamw"])
    config = {"optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.1, "fused": True}, "data": {"drop": []}}
    found = board.values({**config, "names": ["column"] * 100}, folder, {"optimizer": "adamw"})
    assert found["optimizer.momentum"] == found["optimizer.nesterov"] == "n/a"
    assert (found["optimizer"], found["optimizer.lr"], found["optimizer.fused"]) == ("adamw", 0.1, "true")
    assert "data.drop" not in found
    assert len(found["names"]) == 40
