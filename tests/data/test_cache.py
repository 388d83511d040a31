"""What is kept of large tables: whole or not at all, once for all processes, and never a stranger's."""

import errno
import json
import multiprocessing
import os
import signal
import time

import pytest

from dltrain.data import cache
from dltrain.errors import ConfigError, StorageError, system


@pytest.fixture(autouse=True)
def top(tmp_path, monkeypatch):
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def made(text="numbers", size=1):
    def make(folder):
        (folder / "x").write_bytes(text.encode() * size)
        return {"about": text}

    return make


def refused(folder):
    raise AssertionError("made again")


def test_an_entry_is_made_once_and_then_found(top):
    first = cache.obtain("a", made())
    again = cache.obtain("a", refused)
    assert (again.folder / "x").read_text() == "numbers"
    assert (first.facts, again.folder) == (again.facts, top / "a")
    assert top.stat().st_mode & 0o777 == 0o700
    assert [entry.folder.name for entry in cache.entries()] == ["a"]


def test_one_that_is_not_fresh_or_not_whole_is_made_anew(top):
    cache.obtain("a", made("old"))
    assert cache.obtain("a", made("new"), fresh=lambda facts: facts["about"] == "new").facts["about"] == "new"
    for harm in (
        lambda f: (f / "x").write_text(""),
        lambda f: (f / "entry.json").write_text("[1"),
        lambda f: (f / "x").unlink(),
    ):
        harm(top / "a")
        assert cache.entries() == []
        assert cache.obtain("a", made("new")).size > 0
        assert (top / "a" / "x").read_text() == "new"


def test_what_somebody_else_can_write_to_is_not_used(top):
    cache.obtain("a", made())
    top.chmod(0o770)
    with pytest.raises(StorageError, match=r"chmod 700 .*kept.*DLTRAIN_CACHE=FOLDER"):
        cache.obtain("a", made())
    with pytest.raises(StorageError, match="others may read or change"):
        cache.entries()
    top.rename(top.with_name("elsewhere"))
    top.symlink_to(top.with_name("elsewhere"))
    with pytest.raises(StorageError, match=r"it is a link, .*\nName the folder itself: DLTRAIN_CACHE=FOLDER"):
        cache.obtain("a", made())
    top.unlink()
    top.write_text("a file")
    with pytest.raises(StorageError, match=r"a file is where .*\nMove it away, or name another folder"):
        cache.obtain("a", made())
    assert top.read_text() == "a file"


def test_the_folder_of_another_user_is_not_used(top, monkeypatch):
    cache.obtain("a", made())
    monkeypatch.setattr(os, "geteuid", lambda: top.stat().st_uid + 1, raising=False)
    with pytest.raises(StorageError, match=r"the folder is another user's.*\nName another folder"):
        cache.obtain("a", made())


def test_a_link_in_the_place_of_facts_is_no_entry(top):
    cache.obtain("a", made())
    (top / "a" / "entry.json").rename(top / "facts")
    (top / "a" / "entry.json").symlink_to(top / "facts")
    assert cache.entries() == []


def test_an_entry_that_is_a_link_is_made_anew_and_nothing_outside_is_touched(top):
    cache.obtain("a", made())
    outside = top.with_name("outside")
    (top / "a").rename(outside)
    (top / "a").symlink_to(outside)
    assert cache.entries() == []
    assert cache.obtain("a", made("new")).facts["about"] == "new"
    assert not (top / "a").is_symlink()
    assert sorted(path.name for path in outside.iterdir()) == ["entry.json", "x"]


def test_what_has_no_name_yet_is_no_entry(top):
    cache.obtain("a", made()).folder.rename(top / ".tmp-a")  # as it stands just before it gets its name
    assert cache.entries() == []


@pytest.mark.skipif(not system.POSIX, reason="folders are held by locks of POSIX")
def test_what_is_in_use_is_not_removed(top):
    with cache.held("a", made()), cache.held("a", refused) as second:
        cache.obtain("b", made())
        assert cache.remove(cache.entries()) == 1
        assert (second.folder / "x").read_text() == "numbers"
    assert cache.remove([second, second]) == 2
    assert cache.entries() == []


def test_what_goes_before_it_is_held_is_made_anew(top, monkeypatch):
    obtain = cache.obtain

    def gone(name, make, **options):
        monkeypatch.setattr(cache, "obtain", obtain)
        entry = obtain(name, make, **options)
        cache.remove([entry])
        return entry

    monkeypatch.setattr(cache, "obtain", gone)
    with cache.held("a", made()) as entry:
        assert (entry.folder / "x").read_text() == "numbers"


def test_a_full_disk_is_said_and_leaves_nothing(top):
    def fills(folder):
        (folder / "x").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match=r"No space left on device\nFree some room .*dltrain clean --cache"):
        cache.obtain("a", fills)
    assert [path.name for path in top.iterdir() if not path.name.startswith(".lock")] == []


def test_a_limit_of_files_is_not_about_room(top):
    def large(folder):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    def unwritable(folder):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(StorageError, match=r"File too large\nAllow larger files \(`ulimit -f unlimited`\)"):
        cache.obtain("a", large)
    with pytest.raises(StorageError, match=r"Read-only file system\nName a folder that you may write to"):
        cache.obtain("a", unwritable)


def test_what_went_while_it_was_needed_is_no_fault_of_writing(top):
    with pytest.raises(StorageError, match=r"x: it went while it was needed .*\nStart again"):
        cache.obtain("a", lambda folder: {"text": (folder / "x").read_text()})


def _slow(counts):
    def make(folder):
        (folder / "x").write_text("x")
        with counts.get_lock():
            counts.value += 1
        time.sleep(0.2)
        return {}

    cache.obtain("a", make)


def test_of_two_processes_one_makes_it_while_the_other_waits(top):
    context = multiprocessing.get_context("fork")
    counts = context.Value("i", 0)
    processes = [context.Process(target=_slow, args=(counts,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert (counts.value, [process.exitcode for process in processes]) == (1, [0, 0])


def _killed():
    def make(folder):
        (folder / "x").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    cache.obtain("a", make)


def test_what_a_killed_process_left_is_no_entry_and_goes(top):
    for _ in range(2):
        process = multiprocessing.get_context("fork").Process(target=_killed)
        process.start()
        process.join()
        assert (top / ".tmp-a" / "x").exists()
        assert cache.entries() == []
        if not _:
            cache.remove([])  # `dltrain clean` looks for such, too
            assert not (top / ".tmp-a").exists()
    assert cache.obtain("a", made()).facts["about"] == "numbers"
    assert not (top / ".tmp-a").exists()


def test_what_was_not_used_for_the_longest_goes_beyond_the_limit(top, monkeypatch):
    monkeypatch.setenv("DLTRAIN_CACHE_GB", "0.000015")  # 15 kB
    for age, name in ((300, "a"), (200, "b"), (100, "c")):
        entry = cache.obtain(name, made("1234", 1000))
        os.utime(entry.folder / "entry.json", (time.time() - age,) * 2)
    cache.obtain("a", refused)  # which is now the last that was used
    cache.keep_within_limit(cache.obtain("d", made("1234", 1000)))
    assert sorted(entry.folder.name for entry in cache.entries()) == ["a", "c", "d"]
    monkeypatch.setenv("DLTRAIN_CACHE_GB", "much")
    with pytest.raises(ConfigError, match="DLTRAIN_CACHE_GB=much: write how many gigabytes"):
        cache.obtain("e", made())


def test_the_state_of_a_file_tells_whether_it_changed(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" * 1_000_000)
    before = cache.state(path)
    assert json.loads(json.dumps(before)) == before == cache.state(path)
    os.utime(path, (1, 1))
    assert cache.state(path)[:3] == before[:3]
    with path.open("r+b") as file:
        file.seek(10)
        file.write(b"c")
    assert cache.state(path)[:3] != before[:3]


def test_the_place_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("DLTRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.place() == tmp_path / "dltrain"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.place().is_absolute()
    assert cache.place().name == "dltrain"
