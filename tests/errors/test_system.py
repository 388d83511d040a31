"""Locks, plain files and flushing, as this system has them; again under `other_system`."""

import os
import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from other_system import holding

from dltrain.errors import system

FORKS = pytest.mark.skipif(not system.POSIX, reason="nothing forks there")


@pytest.fixture
def holder():
    """Another process that takes the lock; says whether it got it."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(holding(path))


def ask(path):
    """Whether this process gets the lock."""
    handle = system.open_lock(path)
    try:
        return system.lock(handle)
    finally:
        os.close(handle)


def test_one_process_has_a_lock_until_it_dies(tmp_path, holder):
    path = tmp_path / ".lock"
    assert not system.is_locked(path)
    process, got = holder(path)
    assert got
    assert system.is_locked(path)
    assert not ask(path)
    process.kill()
    process.wait()
    assert not system.is_locked(path)
    assert ask(path)


def test_who_asks_whether_a_run_is_alive_keeps_nobody_from_it(tmp_path, holder):
    path, end = tmp_path / ".lock", threading.Event()
    path.touch()

    def keep_asking():
        while not end.is_set():
            system.is_locked(path)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        for _ in range(3):
            process, got = holder(path)
            assert got
            process.kill()
            process.wait()
    finally:
        end.set()
        asking.join()


@FORKS
def test_a_lock_of_an_older_version_is_understood(tmp_path):
    import fcntl

    path = tmp_path / ".lock"
    child = os.fork()
    if not child:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(600)
    try:
        while not system.is_locked(path):
            time.sleep(0.01)
        assert not ask(path)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert not system.is_locked(path)


def test_a_text_in_a_lock_file_is_read_while_it_is_locked(tmp_path, holder):
    path = tmp_path / ".lock"
    path.write_text("process 1\n", "utf-8")
    holder(path)
    assert path.read_text("utf-8") == "process 1\n"


def test_threads_wait_for_each_other(tmp_path):
    order = []

    def work(number):
        with (tmp_path / "lock").open("w", encoding="utf-8") as file:
            system.wait_for_lock(file.fileno())
            order.append(number)
            time.sleep(0.05)
            order.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[::2] == order[1::2]


def test_only_a_plain_file_is_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"a\r\nb\n\x1a")
    with system.plain_file(tmp_path / "file") as file:
        assert file.read() == b"a\r\nb\n\x1a"
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "lost").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "lost", "pipe", ".", "none"):
        with pytest.raises(OSError):
            system.plain_file(tmp_path / name)
        if name in ("link", "lost"):
            with pytest.raises(OSError, match=name):
                os.close(system.open_lock(tmp_path / name))
    assert not (tmp_path / "none").exists()


def test_a_file_that_a_link_takes_the_place_of_meanwhile_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"own")
    (tmp_path / "other").write_bytes(b"secret")
    real = system.os.open

    def swap(path, *rest):
        (tmp_path / "file").unlink()
        (tmp_path / "file").symlink_to(tmp_path / "other")
        return real(path, *rest)

    monkeypatch.setattr(system, "os", SimpleNamespace(**{n: getattr(system.os, n) for n in NEEDED}, open=swap))
    with pytest.raises(OSError, match="file"):
        system.plain_file(tmp_path / "file")


NEEDED = ("O_RDONLY", "fstat", "lstat", "close", "fdopen", "path", "strerror")


def test_a_junction_of_windows_leads_elsewhere(tmp_path):
    junction = SimpleNamespace(st_mode=0o040777, st_reparse_tag=0xA0000003)
    cloud_file = SimpleNamespace(st_mode=0o100666, st_reparse_tag=0x9000001A)
    assert system.is_link(junction)
    assert not system.is_link(cloud_file)
    assert not system.leads_elsewhere(tmp_path / "none")


def test_what_is_open_is_moved_once_it_is_closed(tmp_path, monkeypatch):
    calls = []

    def change(path):
        calls.append(path)
        if len(calls) < 3:
            raise PermissionError(13, "it is used by another process", str(path))

    monkeypatch.setattr(system, "POSIX", False)
    system.patiently(change, tmp_path)
    assert len(calls) == 3
    monkeypatch.setattr(system, "_PATIENCE", 0.05)
    calls.clear()
    monkeypatch.setattr(system.time, "sleep", lambda _: calls.clear())
    with pytest.raises(PermissionError):
        system.patiently(change, tmp_path)


def test_a_run_stops_on_the_signals_that_there_are():
    names = [number.name for number in system.STOPS]
    assert names == ["SIGINT", "SIGTERM", *(["SIGUSR1", "SIGHUP"] if system.POSIX else [])]


def test_letters_for_a_console_of_windows_are_in_its_code_page(monkeypatch):
    import ctypes

    console = SimpleNamespace(kernel32=SimpleNamespace(GetConsoleOutputCP=lambda: 850))
    stream = SimpleNamespace(encoding="utf-8")
    monkeypatch.setattr(ctypes, "windll", console, raising=False)
    assert system.encoding(stream, 1) == "utf-8"
    monkeypatch.setattr(system, "_msvcrt", object())
    monkeypatch.setattr(os, "isatty", lambda _: True)
    assert system.encoding(stream, 1) == "cp850"
    assert "─±".encode(system.encoding(stream, 1), "replace") == b"\xc4\xf1"
    assert system.encoding(None, 1) == "cp850"
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert system.encoding(None, 1) == "utf-8"


@pytest.mark.skipif(not hasattr(system.os, "SEEK_DATA"), reason="this system tells nothing of holes")
def test_a_hole_is_told_from_a_file_that_is_stored(tmp_path):
    path = tmp_path / "x"
    for size, stored, hollow in [(128 << 20, 9, True), (1 << 20, 9, False), (128 << 20, 4 << 20, False), (0, 0, False)]:
        path.write_bytes(b"a" * stored)
        os.truncate(path, size)
        with path.open("rb") as file:
            assert system.is_hollow(file.fileno()) is hollow
            assert file.read(1) == b"a"[: min(stored, size)]


def written(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A tree of control groups, and what says where in it this process is."""

    def forget():
        system.control_groups.cache_clear()
        system._memory_limits.cache_clear()

    monkeypatch.setattr(system, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(system, "_OWN_GROUPS", tmp_path / "own")
    forget()
    yield lambda text: (tmp_path / "own").write_text(text)
    forget()


def test_memory_is_free_within_the_limits_of_all_control_groups(groups, tmp_path):
    groups("0::/user/job\n")
    facts = "anon 1\ninactive_file 200\nactive_file 100\n"
    written(tmp_path / "cgroup" / "user" / "job", memory__max="max\n", memory__current="500\n", memory__stat=facts)
    written(tmp_path / "cgroup" / "user", memory__max="2000\n", memory__current="1500\n", memory__stat=facts)
    written(tmp_path / "cgroup")
    assert system.free_memory() == 2000 - 1500 + 300
    written(tmp_path / "cgroup" / "user", memory__current="9000\n")
    assert system.free_memory() == 0


def test_memory_is_free_within_a_limit_of_the_first_version_of_control_groups(groups, tmp_path):
    groups("3:cpu,cpuacct:/box\n2:memory:/box\n1:name=systemd:/\n0::/\n")  # as a container is told, which sees no box
    facts = "inactive_file 1\nactive_file 2\ntotal_inactive_file 200\ntotal_active_file 100\n"
    texts = {"memory__limit_in_bytes": "2000\n", "memory__usage_in_bytes": "1500\n", "memory__stat": facts}
    written(tmp_path / "cgroup" / "memory", **texts)
    assert system.free_memory() == 800
    assert system.control_groups("cpu") == [tmp_path / "cgroup"]


def test_without_a_limit_memory_is_free_as_the_machine_says(groups, tmp_path):
    whole = system.free_memory()
    assert whole > 0
    groups("2:memory:/\n")
    written(tmp_path / "cgroup" / "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="5")
    assert system._memory_limits() == []


@FORKS
@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'GPU 0: NVIDIA A (UUID: GPU-1)'; echo '  MIG 1g: x'; echo 'GPU 1: NVIDIA A (UUID: GPU-2)'", 2),
        ("echo NVIDIA-SMI has failed; exit 9", 0),
        ("exec sleep 60", 0),
        (None, 0),
    ],
)
def test_where_the_driver_has_no_folder_its_program_is_asked_for_gpus(monkeypatch, tmp_path, script, found):
    program = tmp_path / "nvidia-smi"
    if script:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
    monkeypatch.setattr(system, "_GPUS", tmp_path / "none")
    monkeypatch.setattr(system, "_LISTING", [tmp_path / "other", program])
    monkeypatch.setattr(system, "_SOON", 0.2 if script and "sleep" in script else 60.0)
    system.nvidia_gpus.cache_clear()
    assert system.nvidia_gpus() == found
    (tmp_path / "none" / "0000:01:00.0").mkdir(parents=True)
    system.nvidia_gpus.cache_clear()
    assert system.nvidia_gpus() == 1
    system.nvidia_gpus.cache_clear()
