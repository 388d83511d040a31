"""Runs as frames: what `dltrain runs --csv` and `dltrain compare` say, for a program."""

import json

import polars as pl
import pytest

import dltrain
from dltrain.errors import ConfigError
from dltrain.runs import reading

QUICK = ("data=iris", "trainer.max_steps=5", "trainer.tensorboard=false")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("frames")
    for seed in (0, 1, 2):
        for optimizer in ("adamw", "sgd"):
            dltrain.train(*QUICK, f"seed={seed}", f"optimizer={optimizer}", runs_dir=place / "runs")
    return place / "runs"


def test_runs_are_a_frame(folder, monkeypatch):
    frame = dltrain.runs(folder)
    assert isinstance(frame, pl.DataFrame)
    assert len(frame) == 6
    assert set(frame["status"]) == {"done"}
    assert frame.columns[:2] == ["run", "status"]
    assert frame.columns.index("optimizer") < frame.columns.index("test/accuracy") < frame.columns.index("folder")
    assert frame["test/accuracy"].dtype == pl.Float64
    assert frame["steps"].to_list() == [5] * 6
    assert sorted(frame["seed"]) == [0, 0, 1, 1, 2, 2]
    best = dltrain.runs(folder, "optimizer=adamw", "seed>0", sort="test/loss")
    assert best["test/loss"].is_sorted()
    assert len(best) == 2
    with pytest.raises(ConfigError, match="did you mean `test/accuracy`"):
        dltrain.runs(folder, sort="test/acuracy")
    with pytest.raises(ConfigError):
        dltrain.runs(folder / "none")
    monkeypatch.chdir(folder.parent)
    assert dltrain.runs().equals(dltrain.runs("runs"))


def test_a_folder_without_runs_gives_an_empty_frame(tmp_path):
    assert dltrain.runs(tmp_path).is_empty()


def test_runs_is_the_room_as_well():
    assert dltrain.runs.reading is reading


def test_a_key_of_several_kinds_is_a_column_of_texts(tmp_path):
    for size in ("16", "full"):
        dltrain.train(*QUICK, f"data.batch_size={size}", runs_dir=tmp_path)
    for widths in ("[4]", "[4,4]", "[]"):
        dltrain.train(*QUICK, f"model.widths={widths}", runs_dir=tmp_path)
    frame = dltrain.runs(tmp_path)
    assert "full" in set(frame["data.batch_size"])
    found = [json.loads(v) if isinstance(v, str) else list(v) for v in frame["model.widths"]]
    assert all(widths in found for widths in ([4], [4, 4], []))


def test_compare_says_what_the_command_says(folder, monkeypatch, dltrain_command):
    monkeypatch.chdir(folder.parent)
    found = dltrain.compare(folder)
    assert found.metric == "test/accuracy"
    assert found.entries["optimizer"].to_list() == ["AdamW", "SGD"] or len(found.entries) == 2
    assert found.differences["p"].len() == 1
    code, out, _ = dltrain_command("compare", str(folder))
    assert code == 0
    assert out.startswith(repr(found))
    assert found.verdicts[0] in out
    assert dltrain.compare(folder, metric="val/loss").metric == "best/loss"
    with pytest.raises(ConfigError, match="did you mean `test/loss`"):
        dltrain.compare(folder, metric="test/los")


@pytest.fixture
def dltrain_command(dltrain):
    return dltrain


def test_compare_takes_runs_and_wants_two(folder):
    names = [folder / name for name, *_ in ((row,) for row in dltrain.runs(folder)["folder"])]
    one, other = (dltrain.load(name) for name in names[:2])
    assert len(dltrain.compare(one, other).entries) == len(dltrain.compare([one, other]).entries) == 2
    with pytest.raises(ConfigError, match="is one run"):
        dltrain.compare(one)
