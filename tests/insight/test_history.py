"""Reports as curves: what is no finite number is no point of one."""

import json

from dltrain.insight import history
from dltrain.runs import reading


def test_what_is_no_finite_number_is_left_out(tmp_path):
    reports = [
        {"step": 1, "epoch": 1, "train/loss": 0.5, "val/loss": 2},
        {"step": 2, "epoch": 2, "train/loss": None, "val/loss": 1.5},
        {"step": 3, "train/loss": 0.25},
        {"step": 4, "epoch": None, "train/loss": 10**400},
        {"step": 5, "epoch": "5", "train/loss": True, "val/loss": [1]},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(report)}\n" for report in reports))
    read = reading.read_log(tmp_path)
    assert len(read) == len(reports)
    assert history.points(read, "train/loss") == [(1, 0.5)]
    assert history.points(read, "train/loss", over="step") == [(1, 0.5), (3, 0.25)]
    assert history.points(read, "val/loss") == [(1, 2), (2, 1.5)]
    assert history.points(read, "val/f1") == []
    assert history.values(read, "train/loss") == [0.5, 0.25]
    assert [report["step"] for report in history.logged(reading.read(tmp_path))] == [1, 2]
