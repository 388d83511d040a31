"""The check of a run folder before anything there is opened: while the run goes on, and wherever it lies."""

import os

import pytest

from dltrain.errors import CheckpointError, StorageError
from dltrain.runs import layout, run_folder


def test_what_a_run_in_training_removes_meanwhile_is_no_fault(tmp_path, monkeypatch):
    drafts = [tmp_path / "checkpoints" / ".tmp-step-00000002", tmp_path / "checkpoints" / "step-00000001"]
    for draft in drafts:
        draft.mkdir(parents=True)
    (tmp_path / "summary.json").write_text("{}")
    entries = layout._entries

    def and_then_it_goes_on(folder):
        found = entries(folder)
        for path in (*drafts, tmp_path / "summary.json"):
            if path.parent.samefile(folder) and path.exists():
                path.rmdir() if path.is_dir() else path.unlink()
        return found

    monkeypatch.setattr(layout, "_entries", and_then_it_goes_on)
    layout.check(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(("inside", "error"), [("checkpoints", CheckpointError), ("plots", StorageError)])
def test_a_link_is_a_fault_of_the_part_that_it_stands_in(tmp_path, inside, error):
    folder = tmp_path / "checkpoints" / "run"  # as runs_dir=checkpoints makes it
    (folder / inside).mkdir(parents=True)
    layout.check(folder)
    (folder / inside / "x").symlink_to(tmp_path)
    with pytest.raises(error, match=f"{inside}/x is a link"):
        layout.check(folder)


def test_a_folder_of_event_files_is_no_link_and_a_file_of_such_a_name_its_users(tmp_path):
    folder = tmp_path / "run"
    (folder / "lr=0.1 momentum=0.9").mkdir(parents=True)
    (folder / "note=1").write_text("mine")
    layout.check(folder)
    (folder / "lr=0.1").symlink_to(tmp_path)
    with pytest.raises(StorageError, match=r"lr=0\.1 is a link"):
        layout.check(folder)


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "diagnosis.jsonl", "progress.json", "events.out.tfevents.1.host.1", ".lock"]
)
def test_what_is_written_on_where_it_stands_has_no_second_name(tmp_path, name):
    other, folder = tmp_path / "precious", tmp_path / "run"
    other.write_text("kept")
    folder.mkdir()
    os.link(other, folder / name)
    layout.check(folder)  # to read it is no harm
    with pytest.raises(StorageError, match="has a second name elsewhere"), run_folder.Lock(folder):
        layout.check(folder, written=True)
    assert other.read_text() == "kept"
