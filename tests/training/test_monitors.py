"""Metrics that a run is asked for: what chooses, stops and is logged, what auto means, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError
from dltrain.parts.metrics import METRICS, USUAL
from dltrain.runs import run_folder
from dltrain.training import experiment, overview, resuming

SHORT = ("trainer.tensorboard=false", "trainer.progress=false", "trainer.threads=1")


def planned(tmp_path, *overrides):
    return make_plan(compose.compose([*SHORT, f"runs_dir={tmp_path / 'runs'}", *overrides]))


def reports(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def rare(path, positive=1 / 16, rows=1600):
    """A table of two classes, one of which is rare, that can be told apart."""
    generator = np.random.default_rng(0)
    y = (np.arange(rows) % round(1 / positive) == 1).astype(int)
    x = generator.normal(size=(rows, 2)) + 2 * y[:, None]
    path.write_text(
        "a,b,answer\n" + "".join(f"{a:.3f},{b:.3f},{'yn'[1 - c]}\n" for (a, b), c in zip(x, y, strict=True))
    )
    return ("data=table", f"data.path={path}", "data.target=answer", "trainer.epochs=2")


def test_any_metric_chooses_stops_and_is_logged(tmp_path):
    plan = planned(
        tmp_path,
        *("data=breast_cancer", "trainer.epochs=4", "trainer.monitor=val/roc_auc", "trainer.metrics=[mcc,log_loss]"),
        *("regularisation=early_stopping", "regularisation.early_stopping.monitor=val/brier"),
        *("scheduler=plateau", "scheduler.monitor=val/average_precision"),
    )
    ended = experiment.run(plan)
    wanted = {*USUAL["binary"], "roc_auc", "log_loss", "brier", "average_precision"}
    found = reports(ended.folder)
    for line in found:
        assert {name.removeprefix("val/") for name in line if name.startswith("val/")} == wanted
    best = max(found, key=lambda line: (line["val/roc_auc"], -line["val/loss"]))
    assert ended.summary["best"]["step"] == best["step"]
    assert ended.summary["val"]["roc_auc"] == best["val/roc_auc"]
    assert set(ended.summary["test"]) == {*METRICS["binary"]}
    assert run_folder.read_json(ended.folder / "environment.json")["monitor"] == "val/roc_auc"
    text = overview.result(plan, ended.folder, ended.summary)
    assert "average_precision" in text
    assert "log_loss" in text.splitlines()[0]  # it was asked for
    assert "by val/roc_auc" in text


def test_auto_sees_a_rare_class_and_says_so(tmp_path):
    plan = planned(tmp_path, *rare(tmp_path / "rare.csv"))
    text = overview.describe(plan)
    assert plan.monitor == "val/average_precision"
    assert "class y has 6.25% of the train rows, which accuracy hardly sees" in text
    assert "baseline   `n` for every row: accuracy 93.75%, average_precision 0.0625 on val" in text
    assert planned(tmp_path, *rare(tmp_path / "rare.csv"), "trainer.monitor=val/accuracy").monitor == "val/accuracy"
    few = planned(tmp_path, *rare(tmp_path / "few.csv", rows=480))
    assert few.monitor == "val/accuracy"  # with four rows of it nothing is known
    assert planned(tmp_path, "data=breast_cancer").monitor == "val/accuracy"
    assert "baseline   the mean of the targets for every row: rmse " in overview.describe(
        planned(tmp_path, "data=diabetes")
    )


def test_a_rare_first_class_is_seen_too(tmp_path):
    words = rare(tmp_path / "rare.csv")
    text = (tmp_path / "rare.csv").read_text()
    (tmp_path / "rare.csv").write_text(text.replace(",y\n", ",a\n"))  # before n
    assert planned(tmp_path, *words).monitor == "val/roc_auc"


def test_real_tables_have_the_metric_that_sees_their_classes(shared_data, tmp_path):
    """2.3 % positive, a third, and six classes of which one has nine rows, of which one row is validated."""
    for name, monitor in (("mammography", "average_precision"), ("phoneme", "accuracy"), ("glass", "accuracy")):
        path = shared_data / "tables" / f"{name}.csv.gz"
        plan = planned(tmp_path, "data=table", f"data.path={path}", "data.header=false", "data.target=-1")
        assert plan.monitor == f"val/{monitor}"


def test_a_run_goes_on_by_the_metric_with_which_it_began(tmp_path):
    """Also where auto meant another when it began."""
    plan = replace(
        planned(tmp_path, *rare(tmp_path / "rare.csv")), monitor="val/accuracy"
    )  # as before there was a rule
    folder = experiment.run(plan).folder
    again = make_plan(resuming.stored(folder, ["trainer.epochs=3", "trainer.schedule_steps=34"]))
    assert again.monitor == "val/average_precision"
    as_begun = resuming.judged_as_begun(again, folder)
    assert as_begun.monitor == "val/accuracy"
    assert "the best epoch is chosen by val/accuracy, as when the run began" in as_begun.notes
    assert not any("val/average_precision" in note for note in as_begun.notes)
    assert experiment.go_on(again, folder).plan.monitor == "val/accuracy"
    assert run_folder.read_json(folder / "environment.json")["monitor"] == "val/accuracy"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trainer.metrics=[roc_aux]"], "trainer.metrics: there is no metric `roc_aux`; did you mean `roc_auc`?"),
        (["trainer.metrics=[val/roc_auc]"], "there is no metric `val/roc_auc`; write roc_auc"),
        (["trainer.metrics=[rmse]"], "there is no metric `rmse`"),
        (["trainer.monitor=roc_auc"], "trainer.monitor: there is no metric `roc_auc`; write val/roc_auc"),
        (["trainer.monitor=val/log_loss", "loss=hinge"], "trainer.monitor: there is no metric `val/log_loss`"),
        (["trainer.metrics=roc_auc"], "trainer.metrics: want a list"),
        (["regularisation.early_stopping={monitor: val/r2}"], "there is no metric `val/r2`"),
    ],
)
def test_what_there_is_not_is_refused(tmp_path, words, text):
    with pytest.raises(ConfigError) as error:
        planned(tmp_path, "data=breast_cancer", *words)
    assert text in str(error.value)


def test_a_part_of_one_class_can_not_be_ranked(tmp_path):
    words = rare(tmp_path / "rare.csv", positive=0.01, rows=150)
    with pytest.raises(ConfigError, match="val/roc_auc: the validation part has class n alone, of which it says noth"):
        planned(tmp_path, *words, "trainer.monitor=val/roc_auc", "data.val=5")
    plan = planned(tmp_path, *words, "trainer.metrics=[roc_auc]", "data.val=5", "trainer.epochs=1")
    ended = experiment.run(plan)
    assert (
        "not defined  roc_auc (val, test), average_precision (val, test): these rows have one class alone"
        in overview.result(plan, ended.folder, ended.summary)
    )
    assert reports(ended.folder)[-1]["val/roc_auc"] is None
