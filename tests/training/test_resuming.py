"""Whether and from where a run goes on: data found again, other runs passed over, what differs said."""

import json
import shutil
from dataclasses import replace

import pytest
from choices import NEEDS, OF_THE_USER, make_files

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.runs import reading
from dltrain.training import experiment, resuming

QUICK = ("trainer.epochs=1", "trainer.tensorboard=false", "trainer.threads=1", "data.batch_size=8")
LONGER = ("trainer.epochs=2", "trainer.schedule_steps=3")
TABLE = ("data=table", *OF_THE_USER["table"])


@pytest.fixture
def at_home(dltrain, tmp_path, monkeypatch):
    """Types a command in the folder `home`, where the user's files are."""
    home = tmp_path / "home"
    home.mkdir()
    make_files(home)
    (home / "test.csv").write_text((home / "t.csv").read_text()[:200].rpartition("\n")[0] + "\n")
    with open(home / "rows_for_choices.py", "a") as file:
        file.write(
            "class File(Rows):\n    def __init__(self, csv_file):\n        super().__init__(); open(csv_file).close()\n"
        )
    monkeypatch.syspath_prepend(home)

    def run(*words):
        with monkeypatch.context() as patch:
            patch.chdir(home)
            return dltrain(*words)

    return run


@pytest.mark.parametrize(
    "words",
    [
        TABLE,
        (*TABLE, "data.test_path=test.csv"),
        (*(word.replace("=t.csv", "=[t.csv]") for word in TABLE), "data.test_path=te*.csv"),
        ("data=image_folder", *NEEDS["data=image_folder"]),
        ("data=dataset", "data.dataset._target_=rows_for_choices.File", "+data.dataset.csv_file=t.csv"),
    ],
    ids=["path", "test_path", "a list and a pattern", "root", "of an own Dataset"],
)
def test_relative_paths_mean_what_they_meant_where_the_run_was_started(at_home, dltrain, tmp_path, words):
    allow = ["--allow", "rows_for_choices"]
    code, _, err = at_home(*words, *QUICK, *allow, "model.widths=[4]")
    assert code == 0, err
    (folder,) = tmp_path.glob("home/runs/*/*")
    for command in (["eval", str(folder)], ["resume", str(folder), *LONGER]):
        code, _, err = dltrain(*command, *allow)
        assert code == 0, err
    assert reading.read(folder).steps > 3


def test_data_that_moved_are_asked_for_with_both_folders_and_the_override(at_home, dltrain, tmp_path, monkeypatch):
    assert at_home(*TABLE, *QUICK)[0] == 0
    (folder,) = tmp_path.glob("home/runs/*/*")
    (tmp_path / "home" / "t.csv").rename(tmp_path / "moved.csv")
    where = f"there is no t.csv in {tmp_path}, nor in {tmp_path / 'home'}, where the run was started"
    for command in (["eval"], ["doctor"], ["resume", *LONGER]):
        code, _, err = dltrain(*command[:1], str(folder), *command[1:])
        assert (code, err.startswith(f"error: {where}; say where it is: data.path=")) == (3, True), err
    shutil.copy(tmp_path / "moved.csv", tmp_path / "t.csv")  # the folder as a whole may have moved
    assert dltrain("eval", str(folder))[0] == 0
    assert dltrain("resume", str(folder), *LONGER, "data.path=moved.csv")[0] == 0
    (tmp_path / "t.csv").unlink()
    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")
    code, _, err = dltrain("eval", str(folder))
    assert code == 0, err


def test_an_absolute_path_that_is_gone_comes_with_the_override_that_helps(at_home, dltrain, tmp_path):
    table = [word.replace("=t.csv", f"={tmp_path}/home/t.csv") for word in TABLE]
    assert at_home(*table, *QUICK, f"data.test_path={tmp_path}/home/test.csv")[0] == 0
    (folder,) = tmp_path.glob("home/runs/*/*")
    for key, name in (("test_path", "test.csv"), ("path", "t.csv")):
        (tmp_path / "home" / name).rename(tmp_path / name)
        for command in (["eval"], ["doctor"], ["resume", *LONGER]):
            code, _, err = dltrain(*command[:1], str(folder), *command[1:])
            wanted = f"{tmp_path}/home/{name}: no such file; say where it is: data.{key}=..."
            assert (code, wanted in err) == (3, True), err
    code, _, err = dltrain("eval", str(folder), "data.path=t.csv", "data.test_path=test.csv")
    assert code == 0, err


@pytest.mark.parametrize("absolute", [True, False])
def test_pictures_that_are_gone_are_asked_for_as_a_table_is(at_home, dltrain, tmp_path, absolute):
    root = f"{tmp_path}/home/pictures" if absolute else "pictures"
    words = [f"data.root={root}" if word.startswith("data.root=") else word for word in NEEDS["data=image_folder"]]
    assert at_home("data=image_folder", *words, *QUICK)[0] == 0
    (folder,) = tmp_path.glob("home/runs/*/*")
    (tmp_path / "home" / "pictures").rename(tmp_path / "moved")
    where = f"{root}: no such folder" if absolute else f"there is no pictures in {tmp_path}, nor in "
    for command in (["eval"], ["resume", *LONGER]):
        code, _, err = dltrain(*command[:1], str(folder), *command[1:])
        assert (code, where in err, "say where it is: data.root=..." in err) == (3, True, True), err
    code, _, err = dltrain("eval", str(folder), "data.root=moved")
    assert code == 0, err


def test_a_path_is_shown_without_the_way_back(at_home, dltrain, tmp_path, monkeypatch):
    """A path with `..`, typed at resume in a folder and asked for in another one."""
    code, _, err = at_home(*TABLE, *QUICK, "name=a")
    assert code == 0, err
    (folder,) = tmp_path.glob("home/runs/*/*")
    for name in ("b", "c/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "home" / "t.csv").rename(tmp_path / "x.csv")
    (tmp_path / "c" / "deep" / "t.csv").write_bytes((tmp_path / "x.csv").read_bytes())
    (tmp_path / "link").symlink_to("c/deep")
    monkeypatch.chdir(tmp_path / "b")
    code, _, err = dltrain("resume", str(folder), *LONGER, "data.path=.././x.csv")
    assert code == 0, err
    assert reading.read(folder).config["data.path"] == f"{tmp_path}/x.csv"
    code, _, err = dltrain("eval", str(folder), "data.path=../link/../../x.csv")  # which has no shorter name
    assert code == 0, err


def test_a_sweep_goes_on_in_another_folder(at_home, dltrain, tmp_path):
    assert at_home("-m", *TABLE, *QUICK, "model.widths=[4],[5]", "name=hydra_of_lerna")[0] == 0
    (sweep,) = tmp_path.glob("home/runs/hydra_of_lerna/*")
    shutil.rmtree(sweep / "1")
    code, _, err = dltrain("resume", str(sweep))
    assert code == 0, err
    assert reading.read(sweep / "1").status == "done"


def test_auto_passes_over_what_is_no_run_of_its_own(dltrain, tmp_path):
    words = ("data=iris", *QUICK, "model.widths=[4]", "name=mine", "resume=auto")
    mine = tmp_path / "runs" / "mine"
    for name, content in (
        ("99990101-000000-aaaa", "[1, 2]"),
        ("99990101-000000-bbbb", "{"),
        ("99990101-000000-cccc", ""),
    ):
        (mine / name).mkdir(parents=True)
        (mine / name / "environment.json").write_text(content)
    (mine / "99990101-000000-dddd" / "environment.json").mkdir(parents=True)
    (mine / "notes").mkdir()
    code, _, err = dltrain(*words)
    assert code == 0, err
    assert err.count("note: resume=auto passes over") == 4
    (folder,) = (p for p in mine.iterdir() if p.name.startswith("20"))
    code, out, _ = dltrain(*words)
    assert (code, "is complete; nothing to resume" in out) == (0, True)
    (folder / "summary.json").write_text('{"status": ')  # damaged: it is made again
    code, _, err = dltrain(*words)
    assert code == 0, err
    assert reading.read(folder).status == "done"
    for checkpoint in folder.glob("checkpoints/step-*"):
        (checkpoint / "state.json").write_text("{}")
    (folder / "summary.json").unlink()
    code, _, err = dltrain(*words)
    assert code == 0, err
    assert "note: resume=auto passes over" in err
    assert len([p for p in mine.iterdir() if p.name.startswith("20")]) == 2


def test_what_may_change_and_changes_bits_is_said(dltrain, tmp_path):
    words = ("data=iris", *QUICK, "model.widths=[4]", "trainer.max_time=1e-9")
    assert dltrain(*words)[0] == 138
    (folder,) = tmp_path.glob("runs/*/*")
    again = ("resume", str(folder), "trainer.max_time=1e-9")
    assert "the bits may differ" not in dltrain(*again, "trainer.step=plain")[2]  # as the direct one has them
    _, _, err = dltrain(*again, "trainer.flush_denormal=false")
    assert "note: the bits may differ from an uninterrupted run: flush_denormal True then, False now" in err
    state = json.loads((next(folder.glob("checkpoints/step-*")) / "state.json").read_text())
    environment = dict(dict(state["dict"])["environment"]["dict"])
    assert environment["step"] == "plain or direct"
    plan = make_plan(compose.compose(["data=iris"]))
    assert resuming.facts(replace(plan, step="compiled")).items() > {"step": "compiled", "report_every": 7}.items()


def test_a_run_that_ended_between_two_validations_is_not_the_beginning_of_a_longer_one(dltrain, tmp_path):
    words = ("data=iris", *QUICK, "model.widths=[4]", "scheduler=constant", "trainer.eval_every=2")
    for epochs, longer, said in (("2", "4", False), ("3", "4", True), ("1.5", "4", True)):
        assert dltrain(*words, f"trainer.epochs={epochs}")[0] == 0
        code, _, err = dltrain("resume", "last", f"trainer.epochs={longer}")
        assert (code, "it ended with a validation that a longer run would not have made" in err) == (0, said), err


@pytest.mark.parametrize(
    ("watched", "said"),
    [
        ([], False),
        (["scheduler=plateau"], False),  # which watches the validation
        (["trainer.monitor=train/loss"], True),
        (["scheduler=plateau", "scheduler.monitor=train/loss"], True),
        (["regularisation=early_stopping", "regularisation.early_stopping.monitor=train/loss"], True),
    ],
)
def test_reports_may_be_made_at_other_steps_but_what_watches_them_is_said(dltrain, tmp_path, watched, said):
    """The training loss of a report is the mean since the last one."""
    words = ("data=iris", *QUICK, "trainer.epochs=2", "model.widths=[4]", "scheduler=constant", *watched)
    code, _, err = dltrain(*words)
    assert code == 0, err
    code, _, err = dltrain("resume", "last", "trainer.epochs=3", "trainer.report_every=0.5")
    assert code == 0, err
    assert ("the bits may differ from an uninterrupted run: report_every 13 then, 6 now" in err) == said, err


def test_a_run_from_before_a_knob_goes_on_as_one_with_it_off(dltrain, tmp_path, monkeypatch):
    words = ("data=iris", *QUICK, "model.widths=[4]", "name=older")

    before, now = (make_plan(compose.compose([*words, "trainer.max_time=1e-9"])) for _ in range(2))
    del before.config["trainer"]["sync_batchnorm"]
    assert resuming.digest(before.config) == resuming.digest(now.config)
    monkeypatch.chdir(tmp_path)
    experiment.run(before)
    assert dltrain(*words, "resume=auto")[0] == 0
    assert len([*tmp_path.glob("runs/older/*")]) == 1
