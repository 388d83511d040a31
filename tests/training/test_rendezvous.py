"""How processes of a run hear of each other's end; here they are objects of one process, and programs that sleep."""

import gc
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import repeat

import pytest
import torch.distributed as dist

from dltrain.config.processes import Processes
from dltrain.errors import ConfigError, LostError, Quiet, output, running
from dltrain.training import rendezvous

MOVED = "Connection closed by peer"
LATE = "Timed out waiting 10000ms"


@pytest.fixture
def meet(monkeypatch):
    """Makes the meetings of so many processes, that a launcher keeps the store of, or the first of them."""
    monkeypatch.setattr(rendezvous, "_PATIENCE", 0.4)
    monkeypatch.setattr(rendezvous, "_BEFORE", 0.0)
    monkeypatch.setattr(rendezvous, "_numbers", repeat(0))  # all of one run
    made, stores = [], []

    def make(size, *, launcher=True, machines=1):
        at_launcher = {"is_master": True, "wait_for_workers": False, "timeout": timedelta(seconds=20)}
        store = dist.TCPStore("localhost", 0, **at_launcher)
        stores.append(store)
        port = store.port
        if launcher:
            monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
            monkeypatch.setenv("MASTER_ADDR", "localhost")
            monkeypatch.setenv("MASTER_PORT", str(port))
        else:
            del stores[:], store
        with ThreadPoolExecutor(size) as pool:
            found = [Processes(n, size, n, 0, "localhost", port, machines) for n in range(size)]
            made[:] = pool.map(rendezvous.Rendezvous, found)
        return made

    yield make
    for each in made:
        each.ear.rest()


@pytest.fixture
def sleeper():
    """Starts a process of this machine."""
    started = []

    def start():
        started.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
        return started[-1], (running.mark()[0], started[-1].pid, running._since(started[-1].pid))

    yield start
    for process in started:
        process.kill()
        process.wait()


def known(meetings, marks):
    for each in meetings:
        each._marks.update(enumerate(marks))
        each._timeout = timedelta(seconds=10)


def off_main_thread(work, *given):
    """Signals keep their handlers."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *given).result()


def test_who_is_killed_is_named_and_not_who_is_busy_beside_it(meet, sleeper):
    first, *_ = meetings = meet(3)
    (_, busy), (killed, gone) = sleeper(), sleeper()
    known(meetings, [running.mark(), busy, gone])
    killed.kill()  # and its parent has not asked for it
    assert "process 2 of 3 has ended; all end" in off_main_thread(first.who_is_lost, MOVED)


def test_who_hangs_is_named_and_ended_and_that_is_the_cause_for_a_launcher(meet, sleeper, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    first, _ = meetings = meet(2)
    hanging, mark = sleeper()
    hanging.send_signal(signal.SIGSTOP)
    known(meetings, [running.mark(), mark])
    words = off_main_thread(first.who_is_lost, LATE)
    assert "process 1 of 2 has not answered for 10 s: it hangs, or is slow" in words
    assert first.failed(LostError(words), "") is None
    assert words in (tmp_path / "error.json").read_text()
    off_main_thread(first.end_who_hangs)
    assert hanging.wait(10) == -signal.SIGKILL


def test_why_the_first_ends_is_heard_before_what_it_keeps_is_gone_with_it(meet):
    first, second = meet(2, launcher=False)
    assert first.failed(ValueError("no such animal"), "process 0 of 2") is None
    with pytest.raises(Quiet) as ended:
        off_main_thread(second.who_is_lost, MOVED)
    assert (str(ended.value), ended.value.exit_code) == ("process 0 of 2: ValueError: no such animal", 1)


def test_a_mistake_that_one_machine_has_is_said_with_its_name_to_those_who_wait(meet, monkeypatch):
    monkeypatch.setattr(rendezvous, "_LATER", 0.0)
    monkeypatch.setattr(rendezvous.socket, "gethostname", lambda: "node7")
    first, second = meet(2, machines=2)
    error = ConfigError("--config-dir mine: there is no such folder")
    assert second.failed(error, second.name_for(error)) is None
    with pytest.raises(Quiet, match="process 1 of 2 on node7: --config-dir mine: there is no such folder"):
        first.ranks(60)
    (alone,) = meet(1)
    assert alone.name_for(error) == ""  # of one machine all have the same, and one says it


def leave(first):
    """Who keeps the store has ended, and the store with it."""
    first._store = first._lasting = first.ear._store = None
    gc.collect()


def test_a_mistake_of_all_is_said_once_where_the_first_ends_with_the_store_before_others_ask(meet):
    first, second = meet(2, launcher=False)
    error = ConfigError("optimizer.lr: Invalid learning rate: -1")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second.failed, error, "process 1 of 2")
        assert first.failed(error, "") is None
        leave(first)
        assert str(other.result()) == str(error)


def test_who_speaks_of_the_loss_of_the_store_and_ends_is_not_taken_for_lost(meet, sleeper):
    (gone, mark), (speaker, busy) = sleeper(), sleeper()
    first, second, third = meetings = meet(3, launcher=False)
    known(meetings, [mark, busy, running.mark()])
    gone.kill()
    gone.wait()
    leave(first)
    words = "process 0 of 3 has ended; all end"
    second._marks[1] = running.mark()
    said = off_main_thread(second.who_is_lost, MOVED)
    assert words in said
    assert second.failed(LostError(said), "") is None
    while third.ear.broken is None:
        third.ear.join(0.05)
    speaker.kill()
    said = off_main_thread(third.who_is_lost, MOVED)
    assert words in said
    assert isinstance(third.failed(LostError(said), ""), Quiet)


def test_who_does_not_come_is_named(meet):
    first, _ = meet(2)
    with pytest.raises(LostError, match="process 1 of 2 has not come within"):
        first.ranks(0.1)


def test_who_finds_nobody_says_where_it_waits_and_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "_LONG", 0.0)
    monkeypatch.setattr(rendezvous, "_COMING", timedelta(seconds=0.3))
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    with socket.socket() as taken, output.voice_kept():
        taken.bind(("localhost", 0))  # and does not listen
        port = taken.getsockname()[1]
        output.silence()
        with pytest.raises(LostError, match=f"process 1 of 2 has waited in vain .* port {port}: .*; start all"):
            rendezvous.Rendezvous(Processes(1, 2, 1, 0, "localhost", port))
        assert capsys.readouterr().err.startswith("note: process 1 of 2 waits for the first at localhost, port ")
        with pytest.raises(LostError, match=f"port {port}: address already in use; set MASTER_PORT to another"):
            rendezvous.Rendezvous(Processes(0, 2, 0, 0, "localhost", port))


def test_a_launcher_that_was_given_port_0_keeps_no_store(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    found = Processes(0, 2, 0, 0, "localhost", 29_500)
    for port, keeps in (("29500", True), ("0", False)):
        monkeypatch.setenv("MASTER_PORT", port)
        assert rendezvous._launcher_keeps(found) is keeps


def test_who_waits_for_a_launcher_that_has_gone_ends(monkeypatch):
    monkeypatch.setenv("DLTRAIN_LAUNCHER", "999999999")  # as in processes whose launcher was killed at once
    with socket.socket() as taken, output.voice_kept():
        taken.bind(("localhost", 0))  # and does not listen
        found = Processes(1, 2, 1, 0, "localhost", taken.getsockname()[1])
        with pytest.raises(LostError, match="who started it has ended"):
            rendezvous.Rendezvous(found)
