"""What is told of metrics by their names."""

import subprocess
import sys

import pytest

from dltrain.parts import metrics


def test_every_metric_has_a_direction_and_an_unknown_one_has_none():
    assert {name for names in metrics.METRICS.values() for name in names} == set(metrics.DIRECTION)
    assert {name: metrics.mode(name) for name in ("loss", "accuracy", "r2")} == {
        **{"loss": "min", "accuracy": "max", "r2": "max"}
    }
    assert [metrics.larger_is_better(key) for key in ("val/f1", "best/rmse", "seconds", "train/loss")] == [
        *(True, False, False, False)
    ]
    with pytest.raises(ValueError, match=r"there is no metric acuracy; the metrics are loss, accuracy"):
        metrics.mode("acuracy")


def test_each_task_is_judged_by_one_of_its_own():
    assert {task: metrics.default_monitor(task) for task in metrics.METRICS} == {
        **{"binary": "accuracy", "multiclass": "accuracy", "multilabel": "accuracy", "regression": "rmse"}
    }


def test_values_and_their_differences_are_told_alike():
    assert [metrics.text("accuracy", v) for v in (0.5, 1, None, float("nan"))] == ["50.00%", "100.00%", "-", "-"]
    assert [metrics.text("rmse", v) for v in (0.123456, 9999, 123456.7)] == ["0.1235", "9999", "123,457"]
    assert (metrics.difference("accuracy", 0.031), metrics.difference("f1", 0.031)) == ("3.10", "0.031")
    assert all(metrics.text(name, 0.5).endswith("%") == metrics.in_percent(name) for name in metrics.DIRECTION)


def test_torch_is_not_needed():
    code = "import sys; import dltrain.parts.metrics; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
