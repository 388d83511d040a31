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
    assert [metrics.text("mae", v) for v in (1e14, 4e42, -4e42)] == ["100,000,000,000,000", "4e+42", "-4e+42"]
    assert (metrics.difference("accuracy", 0.031), metrics.difference("f1", 0.031)) == ("3.10", "0.031")
    assert all(metrics.text(name, 0.5).endswith("%") == metrics.in_percent(name) for name in metrics.DIRECTION)


def test_each_metric_of_a_task_has_its_place_and_the_usual_ones_are_among_them():
    for task, names in metrics.METRICS.items():
        assert {*metrics.USUAL[task]} <= {*names}
        assert {*metrics.USUAL[task]}.isdisjoint((*metrics.OF_ALL_ROWS, *metrics.OF_PROBABILITIES))
    assert metrics.for_rare([90, 10]) == "average_precision"
    assert metrics.for_rare([10, 90]) == "roc_auc"  # the average precision is that of the second
    assert metrics.for_rare([90, 2, 90]) == "average_precision"


def test_a_table_of_one_run_has_room_for_some_and_for_what_was_asked_for():
    assert metrics.told(metrics.METRICS["binary"]) == [
        *("loss", "accuracy", "f1", "balanced_accuracy", "roc_auc", "average_precision")
    ]
    assert metrics.told(metrics.METRICS["regression"], "val/log_loss") == [*metrics.METRICS["regression"]]
    assert metrics.told(["mcc", "loss", "brier"], "val/mcc") == ["loss", "mcc"]


def test_what_has_no_value_is_told_with_its_reason():
    nan = float("nan")
    parts = {"val": {"roc_auc": nan, "f1": 0.5}, "test": {"roc_auc": None, "f1": 0.5}}
    assert metrics.undefined(parts, ["f1", "roc_auc"]) == [
        "not defined  roc_auc (val, test): these rows have one class alone, or one value of each label, or are too "
        "many to be ranked"
    ]
    assert metrics.undefined({"test": {"r2": nan}}, ["r2"]) == [
        "not defined  r2 (test): a target is the same in all rows"
    ]
    assert metrics.undefined({"test": {"loss": nan}}, ["loss"]) == [
        "not defined  loss (test): some numbers are not finite"
    ]
    assert metrics.undefined(parts, ["f1"]) == []


def test_torch_is_not_needed():
    code = "import sys; import dltrain.parts.metrics; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
