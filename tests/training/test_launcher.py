import os
import signal

import pytest

from dltrain.training import launcher


@pytest.fixture
def started(monkeypatch):
    """What torch's launcher would start: its configurations, the words of each process, and who they know for it."""
    found = []
    for name in ("OMP_NUM_THREADS", "DLTRAIN_LAUNCHER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def launch(config, _):
        return lambda *words: found.append((config, words, os.environ["DLTRAIN_LAUNCHER"]))

    monkeypatch.setattr(launcher, "elastic_launch", launch)
    return found


def test_each_process_does_what_was_typed_and_knows_who_started_it(started):
    assert launcher.launch(["data=iris", "--nproc", "2", "seed=1"], 2) == 0
    ((config, words, by),) = started
    assert words == ("-m", "dltrain", "data=iris", "seed=1")
    assert (config.nproc_per_node, config.max_restarts) == (2, 0)
    assert by == str(os.getpid())
    assert "DLTRAIN_LAUNCHER" not in os.environ  # what this process starts later has another launcher


@pytest.mark.parametrize("ignored", [False, True])
def test_signals_that_ask_for_a_stop_are_passed_on_but_a_hangup_that_nohup_ignores(started, ignored):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        launcher.launch(["--nproc=2"], 2)
    finally:
        signal.signal(signal.SIGHUP, before)
    names = started[0][0].signals_to_handle.split(",")
    assert {"SIGTERM", "SIGINT", "SIGUSR1"} <= {*names}
    assert ("SIGHUP" in names) is not ignored
