"""What a run shows of itself: a bar that fits a terminal, lines where there is none."""

import os
import select
import struct
import sys
import time

import pytest
import torch

from dltrain.engine.records import Record
from dltrain.runs import progress
from dltrain.runs.pulse import Pulse
from dltrain.runs.tracker import Tracker

NUMBERS = {
    "train/loss": 0.23456,
    "val/accuracy": 0.971,
    "val/loss": 0.31,
    "train/lr": 0.003,
    "train/samples_per_s": 123456.7,
}


def word(step=12_000, total=40_000, rate=33.3):
    return Pulse(step, total, rate, 0.5, time.time(), "here", 1)


def test_what_matters_most_comes_first():
    shown = progress.parts(word(), NUMBERS)
    assert [*shown.values()] == [
        "14 min left",
        "loss 0.2346",
        "val accuracy 97.10%",
        "val loss 0.31",
        "12,000/40,000 steps",
        "33.3 steps/s",
        "lr 0.003",
        "123,457 samples/s",
    ]
    assert [*progress.parts(word(rate=None), {}).values()] == ["12,000/40,000 steps"]
    assert progress.line(word(), NUMBERS) == (
        "step 12,000 of 40,000 (30%): loss 0.2346, val accuracy 97.10%, val loss 0.31, 33.3 steps/s, lr 0.003, "
        "123,457 samples/s, 14 min left"
    )


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_the_bar_fits(columns):
    form = progress.layout([*progress.parts(word(), NUMBERS, narrow=columns < 80).values()], columns)
    assert len(form.format(percentage=100.0, bar="#" * 10)) <= columns
    assert ("samples/s" in form) == (columns == 200)
    assert ("loss 0.23" in form) == (columns > 40)
    assert ("val acc 97.10%" in form) == (columns == 60)
    assert ("val accuracy 97.10%" in form) == (columns > 60)


def tracker(folder, losses):
    return Tracker(folder, total_steps=1000, start=0, bar=True, events=False, losses=lambda: losses)


def report(step):
    metrics = {**NUMBERS, "train/loss": 0.125}
    return Record(step, 1.0, metrics, torch.zeros(1), torch.ones(1, dtype=torch.int64))


@pytest.mark.parametrize("columns", [60, 200])
def test_the_bar_shows_the_loss_in_the_first_epoch_and_says_val_where_it_is_val(columns, monkeypatch, tmp_path):
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    main, other = pytest.importorskip("pty").openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with open(other, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        losses = [torch.tensor(0.75), torch.tensor(0.25)]
        bar = tracker(tmp_path, losses)
        bar.tell(0.0, 50)
        bar.tell(0.1, 100)
        losses.clear()
        bar.write(report(200))
        bar.tell(9.0, 200)
        bar.close(200)
        terminal.flush()
        text = b""
        while select.select([main], [], [], 0.5)[0]:  # it comes in pieces
            text += os.read(main, 1 << 16)
    os.close(main)
    text = text.decode()
    shown = [frame.removesuffix("\r\n") for frame in text.split("\r") if frame.strip()]
    assert all(len(frame) <= columns for frame in shown)
    assert "loss 0.5" in shown[2]
    assert "val" not in shown[2]
    assert "loss 0.125, val acc" in shown[-1]
    assert ("samples/s" in shown[-1]) == (columns == 200)


def test_off_a_terminal_a_line_comes_now_and_then_and_after_a_validation(monkeypatch, tmp_path, capsys):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = tracker(tmp_path, [torch.tensor(0.5)])
    said = []

    def after(seconds, act):
        now[0] += seconds
        act()
        said.append(capsys.readouterr().err)

    after(9, lambda: lines.write(report(100)))  # a short run is silent
    after(2, lambda: lines.write(report(200)))
    after(9, lambda: lines.write(report(300)))
    for seconds in (20, 2, 29, 2):
        after(seconds, lambda: lines.tell(now[0], 400))
    after(60, lambda: lines.close(500))
    assert [bool(text) for text in said] == [False, True, False, False, True, False, True, False]
    assert said[1].startswith("step 200 of 1,000 (20%): loss 0.125, val accuracy 97.10%, val loss 0.31")
    assert said[4].startswith("step 400 of 1,000 (40%): loss 0.5,")
    assert all(text.count("\n") <= 1 for text in said)
    quiet = Tracker(tmp_path, total_steps=1000, start=0, bar=False, events=False, losses=list)
    for step in (100, 200):
        now[0] += 100
        quiet.tell(now[0], step)
        quiet.write(report(step))
    assert capsys.readouterr() == ("", "")


def test_the_metric_that_chooses_is_shown_before_the_usual_one():
    numbers = {"val/accuracy": 0.99, "val/average_precision": 0.5, "val/mcc": 0.4}
    shown = progress.parts(word(), numbers, monitor="val/average_precision")
    assert [name for name in shown if name.startswith("val ")] == ["val average_precision", "val accuracy"]
    assert "val average_precision 0.5, val accuracy 99.00%" in progress.line(word(), numbers, "val/average_precision")
    assert "val mcc" not in progress.line(word(), numbers, "train/loss")
