"""What the end of a run says: against one answer for every row, whether it overfits, what to type next."""

import re

import pytest

from dltrain.insight import history


def reports(val, train):
    return [
        {"epoch": float(i), "val/loss": v, "train/loss": t} for i, (v, t) in enumerate(zip(val, train, strict=True))
    ]


@pytest.mark.parametrize(
    ("val", "train", "epoch"),
    [
        ([3, 2, 1.5, 1.0, 1.2, 1.5, 1.8], [3, 2, 1, 0.8, 0.6, 0.4, 0.2], 3),
        ([3, 2, 1.5, 1.0, 1.01, 1.0, 1.02], [3, 2, 1, 0.8, 0.6, 0.4, 0.2], 0),
        ([3, 2, 1.5, 1.0, 1.2, 1.5, 1.8], [3, 2, 1, 0.8, 0.9, 1.0, 1.2], 0),  # both rise: that is something else
        ([3, 2.4, 1.6, 0.9, 0.6, *(0.46 + 0.003 * k for k in range(35))], [2 - k / 20 for k in range(40)], 5),  # slowly
        ([3, *([4, 1, 1, 1, 0.9] * 8)], [2 - k / 50 for k in range(41)], 0),  # swings
        ([3, 0.2, 0.001, 0.01, *([3, 2, 4] * 12)], [2 - k / 50 for k in range(40)], 2),  # the lowest, not the first
        ([], [], None),
        ([3], [3], None),  # nothing can have risen
    ],
)
def test_overfitting_begins_where_the_validation_loss_turns_and_the_train_loss_does_not(val, train, epoch):
    assert history.overfit(reports(val, train)) == epoch


def test_a_validation_loss_that_rises_a_little_or_swings_is_told_by_its_numbers():
    train = [2 - k / 20 for k in range(8)]
    even, little = [1.5, 1.2, 1.0, 1.0, 1.0, 1.0, 1.01, 1.01], [1.5, 1.2, 1.0, 0.95, 1.0, 1.02, 1.03, 1.04]
    assert history.not_overfit(reports(even, train)).startswith("no: the validation loss does not rise while")
    assert history.not_overfit(reports(little, train[::-1])).startswith("no: the validation loss does not rise while")
    ends = "the validation loss ends at 1.04, and its lowest was 0.95 (epoch 3)"
    assert history.not_overfit(reports(little, train)) == f"slightly: {ends}"
    wild, falls = [3, *([4, 1, 1, 1, 0.9] * 7), 4, 1.3, 1.3, 1.3, 1.4, 1.9], [2 - k / 50 for k in range(42)]
    assert history.overfit(reports(wild, falls)) == 0
    ends = "the validation loss ends at 1.9, and its lowest was 0.9 (epoch 5)"
    assert history.not_overfit(reports(wild, falls)) == f"unclear, for it swings: {ends}"


def test_a_run_that_learns_the_few_rows_by_heart_is_told_so_with_the_epoch(dltrain):
    words = ["data=moons", "data.noise=0.4", "data.n=120", "model.widths=[256,256]"]
    code, out, err = dltrain(*words, "optimizer.lr=0.01", "trainer.epochs=150", "trainer.tensorboard=false")
    assert code == 0, err
    lines = out.splitlines()
    found = re.search(r"overfit      from epoch (\d+) of 150 on: the validation loss rises", out)
    assert found, out
    assert 1 <= int(found[1]) < 150
    assert any(
        re.fullmatch(r"baseline     test accuracy \S+%, \S+ points better than one answer .* \(\S+%\)", line)
        for line in lines
    )
    assert lines[-1] == "next         dltrain report last: one page with pictures of what was learned"


def test_train_and_val_stand_side_by_side_in_the_log(dltrain, tmp_path):
    code, _, err = dltrain("data=moons", "trainer.epochs=2", "name=x", "runs_dir=there", "trainer.tensorboard=false")
    assert code == 0, err
    log = next(tmp_path.glob("there/x/*/metrics.jsonl")).read_text().splitlines()
    assert all('"train/accuracy": 0.' in line for line in log)


def test_another_folder_of_runs_is_named_in_the_next_command(dltrain):
    code, out, err = dltrain("data=moons", "trainer.epochs=1", "runs_dir='my runs'", "trainer.tensorboard=false")
    assert code == 0, err
    assert re.search(r"^next         dltrain \w+ 'my runs/moons-mlp/\S+': ", out, re.MULTILINE)


def test_a_metric_that_the_test_rows_leave_undefined_is_not_compared(dltrain, tmp_path):
    for name, targets in (("train", range(60)), ("test", [7] * 12)):
        rows = "\n".join(f"{i % 5},{i % 7},{y}" for i, y in enumerate(targets))
        (tmp_path / f"{name}.csv").write_text(f"a,b,y\n{rows}\n")
    words = ["data=table", "data.path=train.csv", "data.test_path=test.csv", "data.target=y", "trainer.monitor=val/r2"]
    code, out, err = dltrain(*words, "data.task=regression", "trainer.epochs=1", "trainer.tensorboard=false")
    assert code == 0, err
    assert "not defined  r2 (test): a target is the same in all rows" in out
    assert re.search(r"^baseline +test rmse \S+, \S+ worse than .* mean of the targets \(0\)$", out, re.MULTILINE)


def test_what_diverged_names_its_doctor(dltrain):
    words = ["data=diabetes", "optimizer=sgd", "scheduler=constant", "optimizer.lr=1e6", "trainer.tensorboard=false"]
    code, _, err = dltrain(*words)
    assert code == 5
    error, following = err.splitlines()
    assert error.startswith("error: step 3: the loss is inf, first in ")
    assert re.fullmatch(r"next: dltrain doctor runs/diabetes-mlp/\S+", following)
