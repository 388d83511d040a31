"""A perceptron's run: it ends where there are no more mistakes, and says how many there were and can be."""

import pytest

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.runs import reading, run_folder
from dltrain.training import experiment, overview, perceptron
from dltrain.training.stop import Stop

FEATURES = "data.features=[sepal length, petal width]"
IRIS = (
    "experiment=perceptron_iris",
    FEATURES,
    "data.scaling=none",
    "seed=1",
    "trainer.tensorboard=false",
    "trainer.threads=1",
)


def start(tmp_path, *overrides):
    plan = make_plan(compose.compose([*IRIS, f"runs_dir={tmp_path}", *overrides]))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    return plan, folder


def mistakes(folder):
    return [n for _, n in perceptron.counted(reading.read_log(folder))]


class After(Stop):
    """Asks for a stop after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def __call__(self):
        self.left -= 1
        if self.left < 0:
            self.reason = self.reason or "max_time"
        return super().__call__()


def test_it_ends_after_an_epoch_without_a_mistake_and_says_so(tmp_path):
    plan, folder = start(tmp_path)
    summary = experiment.train(plan, folder)
    assert mistakes(folder) == [22, 9, 8, 3, 0]
    text = overview.result(plan, folder, summary)
    assert "mistakes     22, 9, 8, 3, 0 an epoch, 42 in all" in text
    assert "a hyperplane separates the classes, and there can be (R/γ)² = 2,598 at most" in text  # noqa: RUF001 - gamma
    assert "510 steps in" in text
    assert "stopped after an epoch without a mistake" in text


@pytest.mark.parametrize("steps", [150, 450])
def test_stopped_in_an_epoch_it_goes_on_to_the_same_end(tmp_path, steps):
    """Also in the one that is to have no mistake."""
    whole = experiment.train(*start(tmp_path))
    plan, folder = start(tmp_path)
    assert experiment.train(plan, folder, stop=After(steps))["status"] == "stopped"
    again = experiment.train(plan, folder, resume=True)
    assert again["status"] == "early_stopped"
    assert mistakes(folder) == [22, 9, 8, 3, 0]
    for name in ("steps", "train", "test", "best"):
        assert again[name] == whole[name]


@pytest.mark.parametrize(("every", "steps"), [("0.3", 527), ("2", 612)])
def test_reports_at_other_places_find_a_whole_epoch(tmp_path, every, steps):
    """Steps 409 to 510 are the epoch; the next report behind it says so. Two epochs in one report have a mistake."""
    plan, folder = start(tmp_path, f"trainer.report_every={every}", f"trainer.eval_every={max(2, float(every))}")
    summary = experiment.train(plan, folder)
    assert summary["status"] == "early_stopped"
    assert summary["steps"] == steps
    assert "a report" in overview.result(plan, folder, summary)


def test_without_the_key_it_goes_on_and_changes_nothing(tmp_path):
    plan, folder = start(tmp_path, "trainer.stop_without_mistakes=false", "trainer.epochs=8")
    summary = experiment.train(plan, folder)
    assert summary["status"] == "done"
    assert mistakes(folder) == [22, 9, 8, 3, 0, 0, 0, 0]


def test_the_key_is_for_the_perceptron(tmp_path):
    plan, _ = start(tmp_path, "loss=hinge", "trainer.monitor=auto")
    assert any("stop_without_mistakes is not used: only loss=perceptron" in note for note in plan.notes)


def test_where_no_line_separates_it_says_so(tmp_path):
    words = ["experiment=perceptron_xor", "data.n=100", "trainer.epochs=10", f"runs_dir={tmp_path}"]
    plan = make_plan(compose.compose(words))
    text = perceptron.told(plan, [{"epoch": float(n), "train/mistakes": 40.0 + n} for n in range(1, 11)])
    assert text == (
        "41, 42, 43, 44, 45, ..., 49, 50 an epoch, 455 in all; no hyperplane separates the classes, and they never end"
    )


@pytest.mark.parametrize(
    "override", ["data.batch_size=4", "optimizer.momentum=0.9", "scheduler=cosine", "model=linear"]
)
def test_the_bound_is_told_of_the_perceptron_as_it_was_stated(tmp_path, override):
    """Batches, momentum, rates that change and other first weights make other mistakes."""
    plan, _ = start(tmp_path)
    assert perceptron.bound(plan) == pytest.approx(2597.6, abs=0.1)
    plan, _ = start(tmp_path, override)
    assert perceptron.bound(plan) is None
