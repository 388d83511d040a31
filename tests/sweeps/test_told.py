"""What a person sees of a sweep while it lasts."""

from collections import Counter

import pytest

from dltrain.sweeps import told
from dltrain.sweeps.told import Told


class Line:
    """A line that moves, as it was last."""

    text = ""

    def set_description_str(self, text, refresh):
        self.text = text

    def clear(self):
        pass

    close = clear


@pytest.fixture
def line(monkeypatch):
    line = Line()
    monkeypatch.setattr(told, "_line", lambda: line)
    monkeypatch.setattr(told.shutil, "get_terminal_size", lambda: told.shutil.os.terminal_size((200, 20)))
    return line


def ends(number, state, value):
    return {"job": number, "state": state, "monitor": "val/accuracy", "value": value, "loss": 1.0}


def test_the_best_so_far_is_none_that_diverged(line):
    seen = Told(3, Counter(), moving=True, lines=False)
    for number, (state, value) in enumerate([("done", 0.9), ("diverged", 0.99), ("failed", 0.98), ("pruned", 0.8)]):
        seen.ended(number, [], ends(number, state, value))
    seen.close(Counter(done=1, diverged=1, failed=1, pruned=1))
    assert line.text.endswith("best accuracy 90.00% [0]")


def test_the_best_so_far_may_be_of_an_earlier_command(line):
    seen = Told(30, Counter(done=2), moving=True, lines=False)
    seen.recall([{"job": 0, "state": "queued"}, ends(0, "done", 0.8), ends(1, "diverged", 0.99)])
    seen.ended(2, [], ends(2, "done", 0.7))
    seen.total = 3  # the space has no more
    seen.close(Counter(done=2, diverged=1))
    assert line.text.startswith("3 of 3 jobs, 1 failed")
    assert line.text.endswith("best accuracy 80.00% [0]")


def test_what_is_said_of_a_job_is_one_line_of_a_sensible_length(capsys):
    seen = Told(1, Counter(), moving=False, lines=True)
    seen.ended(0, ["name=x\nerror: forged", "a" * 100_000], {"state": "failed", "reason": "b\n" * 100_000})
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) < 3_000
    assert "failed: b b b" in line
