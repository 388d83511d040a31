"""The commit of a folder, read as text beside what git says, and from repositories that would run programs."""

import os
import shutil
import subprocess

import pytest

from dltrain.runs import run_folder
from dltrain.runs.git_commit import commit

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="the reference is git itself")


def git(folder, *words):
    """What git answers, without a configuration of the user's."""
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=a", "-c", "user.email=b", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", *who, *words], cwd=folder, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    (folder / "deep" / "er").mkdir(parents=True)
    for message in ("one", "two"):
        git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return folder


STATES = {
    "a branch": lambda r: r,
    "a folder inside": lambda r: r / "deep" / "er",
    "packed references": lambda r: (git(r, "pack-refs", "--all"), r)[1],
    "a detached head": lambda r: (git(r, "checkout", "-q", "--detach", "HEAD~1"), r)[1],
    "a branch with a slash": lambda r: (git(r, "checkout", "-q", "-b", "a/b.c-d"), r)[1],
    "a reference to a reference": lambda r: (git(r, "symbolic-ref", "refs/heads/x", "refs/heads/main"), write_head(r))[
        1
    ],
    "a worktree": lambda r: (git(r, "worktree", "add", "-q", "../tree", "HEAD~1"), r.parent / "tree")[1],
    "a worktree's branch, packed": lambda r: (
        git(r, "worktree", "add", "-q", "-b", "other", "../tree"),
        git(r, "pack-refs", "--all"),
        r.parent / "tree",
    )[2],
    "a submodule": lambda r: (git(r, "submodule", "--quiet", "add", str(r), "inner"), r / "inner")[1],
    "a bundle of SHA-256": lambda r: sha256(r.parent / "other"),
}


def write_head(repository):
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/x\n")
    return repository


def sha256(folder):
    folder.mkdir()
    git(folder, "init", "-q", "--object-format=sha256")
    git(folder, "commit", "-q", "--allow-empty", "-m", "one")
    return folder


@pytest.mark.parametrize("state", STATES)
def test_the_commit_is_the_one_that_git_names(repository, state):
    folder = STATES[state](repository)
    assert commit(folder) == git(folder, "rev-parse", "HEAD")


def test_where_there_is_none_it_is_unknown_or_nothing(tmp_path, repository):
    assert commit(tmp_path) is None
    git(tmp_path, "init", "-q", "unborn")
    assert commit(tmp_path / "unborn") == "unknown"
    head = repository / ".git" / "HEAD"
    for content in (b"", b"ref: ../../x\n", b"ref: refs/../../secret\n", b"ref: refs/heads/gone\n", b"\xff", b"x" * 99):
        head.write_bytes(content)
        assert commit(repository) == "unknown"
    head.unlink()
    os.mkfifo(head)
    assert commit(repository) == "unknown"
    shutil.rmtree(repository / ".git")
    for content in ("gitdir: /nowhere\0x", "gitdir: ../none", "", "gitdir: " + "x" * 5000):
        (repository / ".git").write_text(content)
        assert commit(repository) == "unknown"


def test_no_program_of_the_repository_runs(repository, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=evil\n")
    (repository / "file").write_text("x")
    git(repository, "add", "file")
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "core.pager", "core.sshCommand"):
        git(repository, "config", key, str(program))
    (repository / "file").write_text("y")
    monkeypatch.chdir(repository)
    found = run_folder.environment(["dltrain"])["git"]
    assert not marker.exists()
    assert found == {"commit": commit(repository)}
    assert len(found["commit"]) == 40
