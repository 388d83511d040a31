"""Why a run should end: signals and the clock."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from dltrain.errors import system
from dltrain.training.stop import Leavable, Stop, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_the_first_signal_asks_for_a_stop(number, capfd, under_no_nohup):
    if number not in system.STOPS:
        pytest.skip("this system has no such signal")  # it would end the process
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert stop.reason == signal.Signals(number).name
        os.kill(os.getpid(), signal.SIGTERM)  # once more changes nothing
        assert stop.reason == signal.Signals(number).name
    assert signal.getsignal(number) is before
    assert "saving after this step" in capfd.readouterr().err


def test_a_terminal_that_closes_is_ignored_where_it_was():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_interrupt_leaves_at_once(capfd):
    with stop_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert "Ctrl-C leaves at once" in capfd.readouterr().err


def test_the_time_limit_is_a_reason_too():
    with stop_on_signal() as stop:
        stop.after(3600)
        assert not stop()
        stop.after(0)
        assert stop()
        assert stop.reason == "max_time"


@pytest.mark.parametrize(("asked_at", "given"), [(0, 1), (2, 2), (3, 3), (4, 3)])
def test_batches_are_left_between_two_and_one_is_always_given(asked_at, given):
    """A validation that is over is not thrown away, and one of no rows has no metrics."""
    stop = Stop()
    batches = Leavable(SimpleNamespace(epoch=lambda: iter(range(3))), stop, lambda: None)
    stop.reason, seen = None if asked_at else "SIGTERM", 0
    for seen, _ in enumerate(batches.epoch(), 1):
        if seen == asked_at:
            stop.reason = "SIGTERM"
    assert (seen, batches.left) == (given, given < 3)


def test_another_thread_takes_no_signals():
    found = []

    def work():
        with stop_on_signal() as stop:
            found.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_signal_is_heard_where_nothing_can_be_said(tmp_path):
    text = "import os, signal; from dltrain.training.stop import Leavable, Stop, stop_on_signal\nos.close(2)\n"
    text += "with stop_on_signal() as stop:\n    os.kill(os.getpid(), signal.SIGTERM)\n    os._exit(7 * stop())"
    assert subprocess.run([sys.executable, "-c", text], cwd=tmp_path).returncode == 7
