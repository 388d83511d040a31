"""`dltrain clean --cache`: what is kept of large tables is shown, and goes when it is asked for."""

import errno
import os
import time

import pytest

from dltrain.data import cache

WORDS = ("data=table", "data.path=t.csv", "data.target=y", "data.on_disk=true", "trainer.max_steps=2")


@pytest.fixture
def kept(dltrain, tmp_path, monkeypatch):
    """A run on a table that is not held in memory; its folder, the words of its end, and the command."""
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "kept"))
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"{i},{i * i},{i % 7}.5\n" for i in range(60)))
    assert dltrain(*WORDS, "trainer.tensorboard=false")[0] == 0
    return dltrain


def test_what_is_kept_of_tables_is_listed_and_removed(kept, tmp_path):
    code, said, error = kept("clean", "--cache")
    assert (code, "there is no terminal to ask at; --yes removes" in error) == (2, True)
    assert f"{tmp_path}/t.csv: its columns" in said
    assert f"{tmp_path}/t.csv: encoded" in said
    assert kept("clean", "--cache", "--older-than", "1")[:2] == (
        0,
        f"nothing to clean in {tmp_path}/kept: nothing is kept there that was not used for 1 days\n",
    )
    for entry in cache.entries()[:1]:
        os.utime(entry.folder / "entry.json", (time.time() - 90_000,) * 2)
    assert kept("clean", "--cache", "--older-than", "1", "--yes")[1].endswith("removed 1\n")
    assert len(cache.entries()) == 1
    name = cache.entries()[0].folder.name
    with cache.held(name, lambda folder: {}):
        assert kept("clean", "--cache", "--yes")[1].endswith("removed 0; 1 is in use\n")
    assert kept("clean", "--cache", "--yes")[1].endswith("removed 1\n")
    assert cache.entries() == []


def test_why_nothing_is_looked_at_is_said(dltrain, tmp_path, monkeypatch):
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "kept"))
    (tmp_path / "kept").mkdir(mode=0o755)
    code, _, error = dltrain("clean", "--cache")
    assert (code, "others may read or change" in error, f"chmod 700 {tmp_path}/kept" in error) == (7, True, True)


def test_a_full_disk_is_no_mistake_of_the_configuration(dltrain, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(cache, "_write", full)
    (tmp_path / "t.csv").write_text("a,b,y\n" + "".join(f"{i},{i * i},{i % 7}.5\n" for i in range(60)))
    code, _, error = dltrain(*WORDS)
    assert (code, "No space left on device" in error, "DLTRAIN_CACHE=FOLDER" in error) == (7, True, True)


def test_words_that_would_be_ignored_are_refused(dltrain):
    assert "add --cache" in dltrain("clean", "--older-than", "3")[2]
    assert "leave out one of the two" in dltrain("clean", "runs", "--cache")[2]
    assert "write a number of days, such as 30" in dltrain("clean", "--cache", "--older-than", "soon")[2]


def test_a_run_resumes_with_the_table_where_it_was_not_and_with_the_same_bits(kept):
    """What is in memory and what is not are the same data, as the fingerprint says."""
    for on_disk in ("true", "false"):
        code, _, error = kept(
            "resume", "last", "trainer.max_steps=4", "trainer.schedule_steps=2", f"data.on_disk={on_disk}"
        )
        assert (code, "changed" in error) == (0, False), error
