"""How far a run is, as it writes it itself, and as a stranger may have written it."""

import json
import time

import pytest
import torch

from dltrain.runs import pulse
from dltrain.runs.tracker import Tracker


def wrote(folder, **numbers):
    full = {"step": 30, "total": 100, "rate": 2.0, "loss": 0.5, "time": time.time(), "host": "far", "pid": 7, **numbers}
    (folder / pulse.NAME).write_text(json.dumps(full))
    return pulse.read(folder)


def test_a_word_says_share_rate_and_time_left(tmp_path):
    word = wrote(tmp_path)
    assert (word.share, word.rate, word.left, word.loss) == (0.3, 2.0, 35.0, 0.5)
    assert word.elsewhere
    assert not word.stale
    old = wrote(tmp_path, time=time.time() - 12 * 60)
    assert old.stale == "no word for 12 min"
    assert wrote(tmp_path, time=time.time() + 3600).stale == "no word for 1 h"  # no clock goes so wrong


@pytest.mark.parametrize(
    "odd",
    [
        *({"step": value} for value in (-1, 1.5, "x", None, True, 1e400, 10**30)),
        *({"total": value} for value in ("x", None, [1])),
        *({"time": value} for value in ("x", None, float("nan"), 10**400)),
    ],
    ids=str,
)
def test_what_is_no_word_is_none(tmp_path, odd):
    assert wrote(tmp_path, **odd) is None


@pytest.mark.parametrize("text", ["", "{", "[" * 9000, "[]", "null", "x" * 20_000])
def test_what_is_not_its_file_is_none(tmp_path, text):
    (tmp_path / pulse.NAME).write_text(text)
    assert pulse.read(tmp_path) is None


def test_odd_numbers_beside_a_good_place_are_left_out(tmp_path):
    word = wrote(tmp_path, rate=0, loss=float("inf"), host=["x"], pid="y", total=0)
    assert (word.rate, word.left, word.loss, word.host, word.pid, word.share) == (None, None, None, "?", 0, 1.0)
    assert "\x1b" not in wrote(tmp_path, host="\x1b[2J" + "x" * 1000).host
    assert len(wrote(tmp_path, host="x" * 1000).host) == 60
    assert wrote(tmp_path, rate=-1).left is None
    assert wrote(tmp_path, rate=1e-300).left is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *(
            (0, "0 s"),
            (0.2, "1 s"),
            (59.4, "59 s"),
            (60, "1 min"),
            (3569, "59 min"),
            (3600, "1 h"),
            (7500, "2 h 5 min"),
        ),
        *((86399, "1 d"), (90000, "1 d 1 h"), (3e5, "3 d 11 h"), (1e12, "years")),
    ],
)
def test_durations(seconds, words):
    assert pulse.duration(seconds) == words


def test_a_run_writes_where_it_is_every_few_seconds_and_at_its_end(tmp_path):
    losses = [torch.tensor(2.0), torch.tensor(1.0)]
    tracker = Tracker(tmp_path, total_steps=10, start=4, bar=False, events=False, losses=lambda: losses)
    first = pulse.read(tmp_path)
    assert (first.step, first.total, first.rate, first.loss, first.elsewhere) == (4, 10, None, None, False)
    tracker.tell(0.1, 5)
    assert tracker.due == pytest.approx(3.1)
    assert pulse.read(tmp_path).step == 4  # it has just been written
    time.sleep(0.01)
    tracker.tell(3.2, 7)
    word = pulse.read(tmp_path)
    assert (word.step, word.loss) == (7, 1.5)
    assert 0 < word.rate <= 200  # two steps in 10 ms or more: the first of all is not counted
    assert {path.name for path in tmp_path.iterdir()} == {pulse.NAME}
    tracker.close(10)
    assert pulse.read(tmp_path).step == 10


def test_a_folder_that_takes_no_word_stops_nobody(tmp_path):
    (tmp_path / pulse.NAME).mkdir()
    tracker = Tracker(tmp_path, total_steps=10, start=0, bar=False, events=False, losses=list)
    tracker.tell(0.0, 1)
    tracker.tell(4.0, 2)
    tracker.close(2)


def test_an_epoch_is_no_power_of_ten():
    assert [pulse.epoch(value) for value in (5.0, 7 / 3, 23490.0, 1234567.0)] == ["5", "2.33", "23,490", "1,234,567"]
