"""The table of a sweep: what a terminal has no room for, and processes that die while it is made."""

import json
import sys
import threading

import pytest

from dltrain.insight import listing
from dltrain.runs import run_folder, sweep_table


@pytest.fixture
def sweep(tmp_path):
    """Six jobs of two keys, one of which failed."""
    folder = run_folder.create(tmp_path, "sweep")
    (folder / "sweep.json").write_text("{}")
    for number in range(6):
        job = folder / str(number)
        job.mkdir()
        rate, width = 0.0013 * (number + 1), 64 * (number % 2 + 1)
        (job / "overrides.txt").write_text(f"data=digits\noptimizer.lr={rate}\nmodel.widths=[{width}]\n")
        (job / "config.yaml").write_text(f"optimizer: {{lr: {rate}}}\nmodel: {{widths: [{width}]}}\n")
        (job / "environment.json").write_text('{"monitor": "val/accuracy"}')
        metrics = {"accuracy": 0.9 + number / 100, "loss": 0.1}
        ended = {"status": "done", "seconds": 1.0, "best": metrics, "last": metrics, "test": metrics}
        failed = {"status": "failed", "error": "RuntimeError: out of patience with this configuration"}
        (job / "summary.json").write_text(json.dumps(failed if number == 5 else ended))
    return folder


@pytest.fixture
def terminal(monkeypatch):
    """Says how wide the terminal is."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    return lambda wide: monkeypatch.setenv("COLUMNS", str(wide))


@pytest.mark.parametrize("wide", [60, 80, 100, 126])
def test_what_was_varied_goes_last_where_room_lacks(sweep, terminal, wide):
    terminal(wide)
    jobs = sweep_table.jobs(sweep)
    lines = listing.table(jobs, listing.ids_of(jobs), None).splitlines()
    assert max(map(len, lines[:8])) <= wide
    head = lines[0].split()
    names = ["lr", "widths"] if wide == 60 else ["optimizer.lr", "model.widths"]
    assert {"run", "status", *names, "best/accuracy"} <= set(head)
    assert ("reason" in head) is (wide == 126)  # which holds next to nothing
    assert "not shown: " in lines[-1]
    lines = sweep_table.table(jobs).splitlines()
    assert max(map(len, lines[:8])) <= wide
    assert {"job", "overrides", "val", "status"} <= set(lines[0].split())
    assert ("optimizer.lr=0.0013 model.widths=[64]" if wide > 80 else " lr=0.0013 widths=[64]") in lines[6]
    assert ("not shown: test loss, seconds: dltrain runs" in lines[-1]) is (wide == 100)
    assert (lines[-1].startswith("not shown: ")) is (wide < 126)


def test_most_reasons_stay_and_metrics_that_nothing_has_go(sweep, terminal):
    terminal(60)
    for number in range(1, 6):
        (sweep / str(number) / "summary.json").write_text('{"status": "failed", "error": "RuntimeError: no patience"}')
    jobs = sweep_table.jobs(sweep)
    lines = listing.table(jobs, listing.ids_of(jobs), None, more="dltrain runs X shows them").splitlines()
    assert lines[0].split() == ["run", "status", "lr", "widths", "reason"]
    assert lines[-1].endswith("; dltrain runs X shows them")
    assert max(map(len, lines[:8])) <= 60


def test_long_values_are_cut_before_the_metric_that_judges_goes(sweep, terminal):
    terminal(60)
    for number in range(6):
        (sweep / str(number) / "overrides.txt").write_text(f"model.words={'long' * 30}{number}\n")
    lines = sweep_table.table(sweep_table.jobs(sweep)).splitlines()
    assert max(map(len, lines[:8])) <= 60
    assert {"overrides", "val"} <= set(lines[0].split())
    assert "words=longlong" in lines[2]


def test_a_process_that_dies_is_waited_for(sweep, monkeypatch):
    (sweep / "1" / "summary.json").write_text('{"status": "running"}')
    lock = run_folder.Lock(sweep / "1")
    timer = threading.Timer(0.1, lock.release)
    timer.start()
    assert {job.status for job in sweep_table.jobs(sweep)} == {"done", "failed", "killed"}
    timer.join()
    monkeypatch.setattr(sweep_table, "_PATIENCE", 0.0)
    with run_folder.Lock(sweep / "1"):
        assert "running" in [job.status for job in sweep_table.jobs(sweep)]
