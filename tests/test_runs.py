"""Run folders: made once, locked, found again."""

import json
import multiprocessing

import pytest

from dltrain import runs
from dltrain.errors import BusyError, ConfigError, StorageError


def test_folders_made_in_the_same_second_differ(tmp_path):
    made = {runs.create(tmp_path, "x") for _ in range(20)}
    assert len(made) == 20
    assert all(p.parent == tmp_path / "x" for p in made)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(StorageError, match="x is in the way: it is a file"):
        runs.create(tmp_path, "x")
    assert "is a file" in runs.check_writable(tmp_path / "x" / "deeper")
    assert runs.check_writable(tmp_path / "new" / "folder") is None


def _try_lock(folder, answers):
    try:
        with runs.Lock(folder):
            answers.put("got it")
    except BusyError as error:
        answers.put(str(error))


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()

    def ask():
        process = context.Process(target=_try_lock, args=(tmp_path, answers))
        process.start()
        answer = answers.get(timeout=60)
        process.join()
        return answer

    with runs.Lock(tmp_path):
        assert f"{tmp_path} is in use by process" in ask()
    assert ask() == "got it"


def test_json_is_whole_and_without_nan(tmp_path):
    runs.write_json(tmp_path / "a.json", {"x": float("nan"), "y": [1.0, float("inf")], "z": 2.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.0, None], "z": 2.5}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(StorageError, match="can't be written"):
        runs.write_json(tmp_path / "missing" / "a.json", {})


def test_runs_are_found_by_folder_short_id_and_last(tmp_path):
    first, second = (runs.create(tmp_path, name) for name in ("a", "b"))
    for folder in (first, second):
        (folder / "config.yaml").write_text("seed: 0\n")
    assert runs.find(str(first), tmp_path) == first
    assert runs.find(first.name, tmp_path) == first
    assert runs.find(first.name[-4:], tmp_path) == first
    assert runs.find("last", tmp_path) == second
    with pytest.raises(ConfigError, match="no run called `zzzz`"):
        runs.find("zzzz", tmp_path)
    with pytest.raises(ConfigError, match="not a run folder"):
        runs.find(str(tmp_path), tmp_path)
    with pytest.raises(ConfigError, match="no run in"):
        runs.find("last", tmp_path / "empty")


def test_the_environment_names_versions_and_command():
    found = runs.environment(["dltrain", "model=mlp", "name=a b"], device="cpu")
    assert found["command"] == "dltrain model=mlp 'name=a b'"
    assert found["packages"]["torch"]
    assert found["device"] == "cpu"
