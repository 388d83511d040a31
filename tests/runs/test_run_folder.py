"""Run folders: made once, locked, found again."""

import json
import multiprocessing

import pytest

from dltrain.errors import BusyError, ConfigError, StorageError
from dltrain.errors.output import plain
from dltrain.runs import reading, run_folder


def test_folders_made_in_the_same_second_differ(tmp_path):
    made = {run_folder.create(tmp_path, "x") for _ in range(20)}
    assert len(made) == 20
    assert all(p.parent == tmp_path / "x" for p in made)


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(StorageError, match="x is in the way: it is a file"):
        run_folder.create(tmp_path, "x")
    assert "is a file" in run_folder.check_writable(tmp_path / "x" / "deeper")
    assert run_folder.check_writable(tmp_path / "new" / "folder") is None


def _try_lock(folder, answers):
    try:
        with run_folder.Lock(folder):
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

    with run_folder.Lock(tmp_path):
        assert f"{tmp_path} is in use by process" in ask()
    assert ask() == "got it"


def test_json_is_whole_and_without_nan(tmp_path):
    run_folder.write_json(tmp_path / "a.json", {"x": float("nan"), "y": [1.0, float("inf")], "z": 2.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [1.0, None], "z": 2.5}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(StorageError, match="can't be written"):
        run_folder.write_json(tmp_path / "missing" / "a.json", {})


def test_runs_are_found_by_folder_short_id_and_last(tmp_path):
    first, second = (run_folder.create(tmp_path, name) for name in ("a", "b"))
    for folder in (first, second):
        (folder / "config.yaml").write_text("seed: 0\n")
    assert run_folder.find(str(first), tmp_path) == first
    assert run_folder.find(first.name, tmp_path) == first
    assert run_folder.find(first.name[-4:], tmp_path) == first
    assert run_folder.find("last", tmp_path) == second
    with pytest.raises(ConfigError, match="no run called `zzzz`"):
        run_folder.find("zzzz", tmp_path)
    with pytest.raises(ConfigError, match="not a run folder"):
        run_folder.find(str(tmp_path), tmp_path)
    with pytest.raises(ConfigError, match="no run in"):
        run_folder.find("last", tmp_path / "empty")


def test_a_sweep_and_its_jobs_are_found_by_its_id(tmp_path):
    sweep = run_folder.create(tmp_path, "sweep")
    (sweep / "sweep.json").write_text("{}")
    for number in ("0", "1"):
        (sweep / number).mkdir()
        (sweep / number / "overrides.txt").write_text("seed=1\n")
    (sweep / "0" / "config.yaml").write_text("seed: 1\n")
    short = sweep.name[-4:]
    assert run_folder.find(f"{short}/0", tmp_path) == sweep / "0"
    assert run_folder.find(f"{short}/last", tmp_path) == run_folder.find("last", tmp_path) == sweep / "0"
    assert run_folder.find(short, tmp_path, sweeps=True) == run_folder.find("last", tmp_path, sweeps=True) == sweep
    assert run_folder.find("sweep/last", tmp_path, sweeps=True) == run_folder.place("sweep/last", tmp_path) == sweep
    assert run_folder.find(f"{short}/last", tmp_path, sweeps=True) == sweep / "0"  # which names the sweep already
    assert run_folder.find(f"{short}/1", tmp_path, broken=True) == sweep / "1"
    with pytest.raises(ConfigError, match="is a sweep; name one of its runs"):
        run_folder.find(short, tmp_path)
    with pytest.raises(ConfigError, match="not a run folder: it has no config"):
        run_folder.find(f"{short}/1", tmp_path)
    with pytest.raises(ConfigError, match=f"no run called `{short}/2`"):
        run_folder.find(f"{short}/2", tmp_path)
    with pytest.raises(ConfigError, match="name one of the runs in it"):
        run_folder.find(str(tmp_path / "sweep"), tmp_path)


def test_best_is_the_best_of_runs_that_can_be_compared(tmp_path):
    def make(name, accuracy, loss, data="iris", monitor="val/accuracy"):
        folder = run_folder.create(tmp_path, name)
        (folder / "config.yaml").write_text(f"data:\n  _target_: dltrain.data.{data}\n  batch_size: {len(name)}\n")
        run_folder.write_json(folder / "environment.json", {"monitor": monitor})
        best = {"accuracy": accuracy, "loss": loss, "rmse": loss}
        run_folder.write_json(folder / "summary.json", {"status": "done", "best": best, "last": best})
        return folder

    with pytest.raises(ConfigError, match=r"no run in .* has a best epoch yet"):
        run_folder.find("best", tmp_path)
    make("a", 0.5, 0.1)
    top = make("b", 0.9, 0.3)
    make("b", 0.9, 0.4)
    make("b", float("nan"), 0.0)
    assert run_folder.find("best", tmp_path) == top
    assert run_folder.find("a/best", tmp_path).parent.name == "a"
    other = make("c", 0.99, 0.2, data="wine")
    with pytest.raises(ConfigError, match=r"as data differs \(iris, wine\)"):
        run_folder.find("best", tmp_path)
    assert run_folder.find("c/best", tmp_path) == other
    make("d", 0.0, 0.7, monitor="val/rmse")
    small = make("d", 0.0, 0.5, monitor="val/rmse")
    assert run_folder.find(f"{tmp_path / 'd'}/best", tmp_path) == small
    with pytest.raises(ConfigError, match="no folder or sweep called `e`"):
        run_folder.find("e/best", tmp_path)


def test_runs_whose_validation_has_other_rows_are_not_compared(tmp_path):
    """The rows of overfit_batches are learned by heart; a test file of its own leaves more rows to validate on."""

    best = {"accuracy": 0.9}

    def make(name, test_path="null", batches=0):
        folder = run_folder.create(tmp_path / name, "a")
        (folder / "config.yaml").write_text(
            f"data:\n  _target_: dltrain.data.tables.table\n  path: {name}.csv\n  test_path: {test_path}\n"
            f"trainer:\n  overfit_batches: {batches}\n"
        )
        run_folder.write_json(folder / "environment.json", {"monitor": "val/accuracy"})
        run_folder.write_json(folder / "summary.json", {"status": "done", "best": best, "last": best})

    make("x")
    make("x", batches=1)
    with pytest.raises(ConfigError, match=r"as trainer.overfit_batches differs \(0, 1\)"):
        run_folder.find("x/best", tmp_path)
    make("y")
    make("y", test_path="t.csv")
    with pytest.raises(ConfigError, match=r"as data.test_path differs \(-, given\)"):
        run_folder.find("y/best", tmp_path)
    make("z", test_path="t.csv")
    make("z", test_path="/moved/t.csv")
    assert run_folder.find("z/best", tmp_path).parent.parent.name == "z"


def test_the_environment_names_versions_and_command():
    found = run_folder.environment(["dltrain", "model=mlp", "name=a b"], device="cpu")
    assert found["command"] == "dltrain model=mlp 'name=a b'"
    assert found["packages"]["torch"]
    assert found["device"] == "cpu"


def test_reading_a_run_of_ones_own_does_not_free_its_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    with run_folder.Lock(tmp_path):
        assert reading.read(tmp_path).status == "running"
        process = context.Process(target=_try_lock, args=(tmp_path, answers))
        process.start()
        assert "is in use by process" in answers.get(timeout=60)
        process.join()
    assert not reading.is_alive(tmp_path)


def test_what_was_typed_is_read_back_and_nothing_in_its_file_is_obeyed(tmp_path):
    typed = ["data=iris", "data.path='a\x1b[2J\n.csv'", "name=für 💡", '"', "name=\u202egnp", "name='a\tb'", ""]
    run_folder.write_overrides(tmp_path, typed)
    assert reading.read(tmp_path).overrides == tuple(typed)
    text = (tmp_path / "overrides.txt").read_text()
    assert plain(text) == text
    assert text.splitlines()[0::2] == ["data=iris", "name=für 💡", '"name=\\u202egnp"', ""]
