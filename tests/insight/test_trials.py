"""Trials of a sweep as plain values."""

import json
import math
import statistics

import pytest
from scipy import stats

from dltrain.insight import trials
from dltrain.insight.trials import Score, Trial
from dltrain.runs.reading import Run


def job(folder, number, *typed, score=None, **config):
    run = Run(folder / str(number), "done", "", {}, folder)
    run.__dict__.update(
        overrides=typed,
        config=config,
        numbers={} if score is None else {"best/accuracy": score},
        environment={"monitor": "val/accuracy"},
    )
    return run


def test_a_trial_is_a_configuration_with_the_mean_over_its_seeds(tmp_path):
    runs = [
        job(tmp_path, i, f"lr={lr}", f"seed={seed}", score=score, lr=lr, seed=seed)
        for i, (lr, seed, score) in enumerate([(0.1, 0, 0.5), (0.1, 1, 0.7), (0.2, 0, 0.9), (0.2, 1, None)])
    ]
    assert trials.keys(runs) == ["lr", "seed"]
    assert trials.score(runs) == Score("accuracy", True)
    found = trials.of_groups([runs[2:], runs[:2]], ["lr", "seed"], Score("accuracy", True))
    assert found == [Trial({"lr": 0.2}, 0.9, 0, "2,3"), Trial({"lr": 0.1}, pytest.approx(0.6), 1, "0,1")]


def test_a_choice_is_told_as_it_was_typed_and_a_key_that_is_not_there_is_told(tmp_path):
    run = job(tmp_path, 0, "optimizer=momentum", "widths=[16]", optimizer="SGD", widths=[16])
    assert [trials.value(run, key) for key in ("optimizer", "widths", "momentum")] == ["momentum", "[16]", "-"]


def test_trials_stand_in_the_order_in_which_the_last_of_their_jobs_ended(tmp_path):
    found = [Trial({}, 0.1 * i, i, jobs) for i, jobs in enumerate(["0,1", "2", "3", "10", "4"])]
    assert [t.jobs for t in trials.in_time(found, None)] == ["0,1", "2", "3", "4", "10"]
    lines = [
        {"job": n, "state": state} for n, state in [(0, "done"), (2, "early_stopped"), (3, "running"), (1, "done")]
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "jobs.jsonl").write_text(f"[]\nno line\n{text}" + '{"job": [1], "state": "done"}\n{"job"')
    assert [t.jobs for t in trials.in_time(found, tmp_path)] == ["2", "0,1", "3", "4", "10"]


def test_keys_are_those_that_differ_or_that_some_jobs_lack(tmp_path):
    class Typed(dict):
        """Nobody asks for a key: with as many keys as jobs that would take the square of them."""

        get = __getitem__ = None

    found = [Run(tmp_path, "done", "", {}) for _ in range(50)]
    for n, run in enumerate(found):
        run.__dict__["typed"] = Typed({"seed": str(n % 2), "data": "iris", f"k{n}": "1"})
    assert trials.keys(found) == [*(f"k{n}" for n in range(50)), "seed"]
    found += [Run(tmp_path, "done", "", {}) for _ in range(200)]
    for n, run in enumerate(found):
        run.__dict__["typed"] = Typed({f"k{n}": "1", "seed": str(n % 2)})
    varied = trials.keys(found)
    assert (len(varied), varied[-1]) == (101, "seed")


def test_records_are_better_than_all_before():
    ordered = [Trial({}, score, 0) for score in (0.5, 0.4, 0.6, 0.6, 0.9, 0.3)]
    assert trials.records(ordered, larger=True) == [0, 2, 4]
    assert trials.records(ordered, larger=False) == [0, 1, 5]
    assert trials.records([], larger=True) == []
    equal = [trials.Trial({}, 1.0, place) for place in (2, 0, 1)]  # of which the ranking knows the best
    assert trials.records(equal, larger=True) == [0, 1]


def test_means_have_students_interval():
    points = [(1.0, 2.0), (0.0, 1.0), (0.0, 3.0), (0.0, 5.0)]
    one, other = trials.means(points)
    low, _ = stats.t.interval(0.95, 2, loc=3.0, scale=statistics.stdev([1, 3, 5]) / math.sqrt(3))
    assert (one.place, one.mean, one.half) == (0.0, 3.0, pytest.approx(3.0 - low))
    assert (other.place, other.mean, other.half) == (1.0, 2.0, None)
    binned = trials.means([(float(i), float(i)) for i in range(12)], 3)
    assert [b.place for b in binned] == pytest.approx([11 / 6, 5.5, 55 / 6])
    assert [b.mean for b in binned] == pytest.approx([1.5, 5.5, 9.5])
