import os
import signal

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

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


@pytest.mark.parametrize(
    ("code", "is_told", "words"),
    [
        (-9, False, "error: process 1 of 2 was ended by SIGKILL; `dltrain resume last` goes on\n"),
        (3, False, "error: process 1 of 2 ended itself with exit code 3, and said nothing of why; "),
        (3, True, ""),
        (138, False, ""),
    ],
)
def test_who_ends_without_a_word_is_named(monkeypatch, capsys, tmp_path, code, is_told, words):
    told = tmp_path / "error.json"
    if is_told:
        told.write_text('{"message": "why", "timestamp": 1}')

    def fails(*_):
        raise ChildFailedError("dltrain", {1: ProcessFailure(1, 999_999_999, code, str(told))})

    monkeypatch.setattr(launcher, "elastic_launch", lambda *_: fails)
    assert launcher.launch(["--nproc=2"], 2) == (code if code > 0 else 128 - code)
    said = capsys.readouterr().err
    assert said.startswith(words)
    assert bool(said) is bool(words)
