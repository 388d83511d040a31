"""`dltrain rm` and `dltrain clean`: what goes, and above all what stays."""

import errno
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from outcomes import make_failed

from dltrain.commands import cli
from dltrain.runs import run_folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A run, and a sweep with a failed job, as they come out of the product."""
    root = tmp_path_factory.mktemp("removal")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in (
            ["name=one"],
            ["-m", "name=many", "optimizer.lr=0.01,1"],
            ["-m", "name=bad", "optimizer.lr=1,2"],
        ):
            with pytest.raises(SystemExit):
                cli.main([*words, "data=iris", "trainer.epochs=1"])
        for job in (*root.glob("runs/many/*/1"), *root.glob("runs/bad/*/[01]")):
            make_failed(job, "optimizer.lr=-1")
    return root


@pytest.fixture
def root(real, tmp_path, monkeypatch):
    shutil.copytree(real / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def everything(root):
    return sorted(str(p) for p in root.rglob("*"))


def test_without_a_terminal_it_lists_and_refuses(dltrain, root):
    before = everything(root)
    (one,) = root.glob("one/*")
    for words in (["rm", one.name[-4:]], ["clean"]):
        code, out, err = dltrain(*words)
        assert code == 2
        assert "nothing was removed: there is no terminal to ask at" in err
        assert out.splitlines()[0].split() == ["folder", "status", "size"]
    assert everything(root) == before


def test_yes_removes_what_was_listed_and_nothing_else(dltrain, root):
    (one,), (many,) = root.glob("one/*"), root.glob("many/*")
    stays = everything(root / "many")
    code, out, _ = dltrain("rm", one.name[-4:], "--yes")
    assert code == 0
    assert f"runs/one/{one.name}   done" in out
    assert not (root / "one").exists()
    assert everything(root / "many") == stays
    code, out, _ = dltrain("rm", str(many), f"{many.name[-4:]}/0", "--yes")
    assert code == 0
    assert "sweep, 1 of 2 done" in out
    assert not (root / "many").exists()


def test_last_is_the_sweep_that_show_and_resume_mean_and_a_job_where_the_sweep_is_named(dltrain, root):
    (many,) = root.glob("many/*")
    (many / "1" / "config.yaml").write_text("seed: 1\n")
    code, out, _ = dltrain("rm", f"{many}/last", "--yes")
    assert (code, "sweep, " in out, sorted(p.name for p in many.glob("[0-9]"))) == (0, False, ["0"])
    code, out, _ = dltrain("rm", "runs/many/last", "--yes")
    assert (code, "sweep, 1 of 1 done" in out, many.exists()) == (0, True, False)


@pytest.mark.parametrize(
    ("answer", "gone"),
    [("y\n", True), ("n\n", False), ("\n", False), ("yes please\n", False), ("\x04", False), ("\udcff\n", False)],
)
def test_it_asks_at_a_terminal(root, answer, gone):
    (one,) = root.glob("one/*")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dltrain.commands.cli", "rm", str(one)],
        stdin=slave, stdout=subprocess.PIPE, text=True, cwd=root.parent,
    )  # fmt: skip
    os.write(master, os.fsencode(answer))  # \x04 is Ctrl-D
    out, _ = process.communicate(timeout=60)
    os.close(master)
    os.close(slave)
    assert process.returncode == 0
    assert "remove this for good? [y/N]" in out
    assert one.exists() is not gone


def test_clean_takes_failed_jobs_and_sweeps_that_hold_nothing_else(dltrain, root):
    (one,), (many,) = root.glob("one/*"), root.glob("many/*")
    unborn = run_folder.create(root, "late")  # killed before it wrote anything
    (unborn / ".lock").write_text("")
    diverged = root / "one" / "20260101-000000-abcd"
    shutil.copytree(one, diverged)
    (diverged / "summary.json").write_text('{"status": "diverged", "error": "loss is nan", "steps": 3, "seconds": 1.0}')
    elsewhere = run_folder.create(root, "late")
    (elsewhere / ".lock").write_text("process 7 on another since 2026-01-01 00:00:00\n")
    interrupted = root / "one" / "20260101-000001-abcd"
    shutil.copytree(one, interrupted)
    (interrupted / "summary.json").unlink()
    code, out, _ = dltrain("clean", "--yes")
    assert code == 0, out
    assert not (root / "bad").exists()
    assert not diverged.exists()
    assert not unborn.exists()
    assert elsewhere.exists()  # its lock may be held where we can't see it
    assert interrupted.exists()  # it has a checkpoint to go on from
    assert one.exists()
    assert (many / "0").exists()
    assert not (many / "1").exists()
    assert dltrain("clean")[1].startswith("nothing to clean in runs")


def test_what_is_no_run_is_never_removed(dltrain, root, tmp_path):
    other = tmp_path / "project"
    other.mkdir()
    (other / "config.yaml").write_text("mine: 1\n")
    code, _, err = dltrain("rm", str(other), "--yes")
    assert (code, "dltrain did not make it" in err) == (2, True)
    for words in ([str(root)], [str(root / "one")], ["nonsense"], ["."], [".."]):
        code, _, _ = dltrain("rm", *words, "--yes")
        assert code == 2, words
    (other / "summary.json").write_text('{"status": "failed"}')
    assert "nothing to clean" in dltrain("clean", str(other), "--yes")[1]
    assert (other / "config.yaml").exists()
    code, _, err = dltrain("rm", "one/last", str(other), "--yes")
    assert (code, "nothing was removed" in err) == (2, True)
    assert list(root.glob("one/*"))


def test_links_are_neither_followed_nor_removed(dltrain, root, tmp_path):
    (one,) = root.glob("one/*")
    link = root / "one" / "20260101-000000-abcd"
    link.symlink_to(one)
    code, _, err = dltrain("rm", str(link), "--yes")
    assert (code, "it is a link" in err) == (2, True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("keep")
    (one / "checkpoints" / "away").symlink_to(outside)
    (one / "notes.txt").write_text("mine")
    code, out, _ = dltrain("rm", str(one), "--yes")
    assert code == 0
    assert "with notes.txt" in out
    assert not one.exists()
    assert (outside / "precious.txt").read_text() == "keep"


def test_folders_of_any_depth_are_shown_and_go(dltrain, root):
    (one,) = root.glob("one/*")
    inner = str(one)
    for _ in range(1_200):
        inner += "/d"
        os.mkdir(inner)
    Path(inner, "file").write_bytes(bytes(1 << 21))
    code, out, err = dltrain("show", str(one))
    assert (code, " 2.0 MB  d" in out) == (0, True), err
    assert dltrain("resume", str(one))[0] in (0, 2)
    (one / "checkpoints").mkdir(exist_ok=True)
    shutil.move(one / "d", one / "checkpoints" / "d")
    assert "is nested too deeply" in dltrain("eval", str(one))[2]
    code, out, err = dltrain("rm", str(one), "--yes")
    assert (code, bool(re.search(r" 2\.[01] MB", out)), one.exists()) == (0, True, False), err


def test_a_run_in_use_stays_and_so_does_its_sweep(dltrain, root):
    (many,) = root.glob("many/*")
    (one,) = root.glob("one/*")
    hold = (
        "import sys, pathlib; from dltrain.runs.run_folder import Lock; "
        "lock = Lock(pathlib.Path(sys.argv[1])); print(); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", hold, str(many / "1")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    before = everything(root)
    try:
        for words in ([str(many / "1")], [str(one), str(many)]):
            code, _, err = dltrain("rm", *words, "--yes")
            assert (code, "is running; nothing was removed" in err) == (6, True)
        assert "many" not in dltrain("clean", "--yes")[1]
    finally:
        process.communicate("\n")
    assert [p for p in before if "bad" not in p] == [p for p in everything(root) if "bad" not in p]


def test_what_a_killed_removal_left_goes_with_the_next(dltrain, root):
    (one,) = root.glob("one/*")
    half = root / "one" / f".del-{one.name}-123"
    half.mkdir()
    (half / "config.yaml").write_text("")
    (root / "one" / ".del-mine").mkdir()
    assert dltrain("rm", str(one), "--yes")[0] == 0
    assert [p.name for p in (root / "one").iterdir()] == [".del-mine"]


def test_a_failing_disk_is_said_and_leaves_nothing_that_looks_like_a_run(dltrain, root, monkeypatch):
    (one,) = root.glob("one/*")
    (many,) = root.glob("many/*")

    def refuse(path, *_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        code, _, err = dltrain("rm", str(one), "--yes")
    assert (code, "can't be removed: Input/output error" in err) == (7, True)
    assert not one.exists()
    assert dltrain("runs", "one", "--csv")[1].count("\n") == 1  # the head alone
    shutil.move(many, root / "one")
    assert dltrain("rm", str(root / "one" / many.name), "--yes")[0] == 0
    assert not (root / "one").exists()
