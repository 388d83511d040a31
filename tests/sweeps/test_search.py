"""How trials are chosen: each search over one space, and what it learns from how trials end."""

import math
import random
from collections import Counter

import pytest

from dltrain.config.composer import Composer
from dltrain.errors import ConfigError
from dltrain.sweeps.search import Trials, search
from dltrain.sweeps.settings import settings
from dltrain.sweeps.space import Space

NODE = {"method": "grid", "trials": None, "seed": 0, "sampler": None, "options": {}, "workers": "auto"}
NODE |= {"engine": "local", "verbose": False, "params": {}}
AXES = ("optimizer=sgd,adamw", "optimizer.momentum=interval(0,0.95)", "optimizer.lr=tag(log,interval(1e-4,1e-1))")
AXES = (*AXES, "model.widths=[8],[16],[32]", "data.batch_size=int(interval(1,4))", "trainer.epochs=3")


@pytest.fixture(scope="module")
def composer():
    return Composer()


@pytest.fixture
def made(composer):
    def make(*axes, **knobs):
        return search(Space(axes or AXES, None, composer), settings({**NODE, **knobs}))

    return make


def values(trial):
    return {text.partition("=")[0]: text.partition("=")[2] for text in trial}


@pytest.mark.parametrize("method", ["random", "sobol", "optuna"])
def test_a_search_stays_in_the_space_and_leaves_out_what_does_not_exist(made, method):
    found = made(method=method, trials=40, sampler="TPESampler" if method == "optuna" else None)
    trials = []
    for number, trial in enumerate(found.trials(0)):
        trials.append(trial)
        found.tell(number, trial, float(number), "done")
    assert len(trials) == 40
    for trial in map(values, trials):
        assert ("optimizer.momentum" in trial) == (trial["optimizer"] == "sgd")
        assert 1e-4 <= float(trial["optimizer.lr"]) <= 1e-1
        assert trial["model.widths"] in ("[8]", "[16]", "[32]")
        assert trial["data.batch_size"] in ("1", "2", "3", "4")
        assert trial["trainer.epochs"] == "3"
    if method != "optuna":
        assert {trial["optimizer"] for trial in map(values, trials)} == {"sgd", "adamw"}
        assert len({values(trial)["data.batch_size"] for trial in trials}) == 4
        assert len(set(trials)) == 40


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_what_is_drawn_depends_on_the_seed_alone(made, method):
    trials = [*made(method=method, trials=12).trials(0)]
    assert [*made(method=method, trials=12).trials(5)] == trials[5:]
    assert [*made(method=method, trials=12, seed=1).trials(0)] != trials


def test_a_grid_has_every_combination_once_and_the_later_word_counts(made):
    found = made("seed=1,2", "optimizer=sgd", "optimizer.lr=0.1,0.2,0.1", "seed=8,7", "~name")
    assert [*found.trials(0)] == [
        (f"seed={seed}", "optimizer=sgd", f"optimizer.lr={lr}", "~name=null") for seed in (8, 7) for lr in (0.1, 0.2)
    ]
    assert found.total == 4


def test_what_a_seed_draws_stays_what_it_was(made):
    found = [*made("optimizer.lr=interval(0,1)", "seed=range(1000)", method="random", trials=3).trials(0)]
    draw = random.Random("dltrain sweep 0")
    for trial in map(values, found):
        first, second, *_ = [draw.random() for _ in range(1000)]
        assert float(trial["optimizer.lr"]) == pytest.approx(first, rel=1e-4)
        assert int(trial["seed"]) == int(second * 1000)


def test_a_small_space_is_drawn_out(made):
    found = [*made("seed=range(3)", "optimizer=sgd,adamw", method="random", trials=50).trials(0)]
    assert len(found) == len(set(found)) == 6


def test_a_logarithmic_interval_has_as_many_small_numbers_as_large_ones(made):
    found = [float(values(trial)["optimizer.lr"]) for trial in made(method="sobol", trials=64).trials(0)]
    decades = Counter(math.floor(math.log10(rate)) for rate in found)
    assert all(15 <= decades[decade] <= 27 for decade in (-4, -3, -2))


def loss(trial):
    """Best near lr = 0.01, and with the widest net."""
    trial = values(trial)
    return abs(math.log10(float(trial["optimizer.lr"])) + 2) + {"[8]": 1, "[16]": 0.5, "[32]": 0}[trial["model.widths"]]


def run(found, start=0, told=()):
    trials = [*told]
    for number, (trial, value) in enumerate(told):
        found.tell(number, trial, value, "done")
    for number, trial in enumerate(found.trials(start), start=start):
        trials.append((trial, loss(trial)))
        found.tell(number, trial, trials[-1][1], "done")
    return trials


def test_tpe_finds_what_is_good_also_in_two_goes(made):
    pytest.importorskip("optuna")
    knobs = {"method": "optuna", "sampler": "TPESampler"}
    drawn = sum(value for _, value in run(made(method="random", trials=60))[30:])
    whole = sum(value for _, value in run(made(**knobs, trials=60))[30:])
    first = run(made(**knobs, trials=30))
    second = run(made(**knobs, trials=60), start=30, told=first)
    assert whole < 0.75 * drawn
    assert sum(value for _, value in second[30:]) < 0.75 * drawn


SMALL = (
    "optimizer.lr=0.1,0.2,0.3,0.4",
    "model.widths=[8],[16]",
    "optimizer=adamw,sgd",
    "optimizer.momentum=0,0.9",
)


def drawn(found, start=0, told=()):
    """All trials, the best of which are those of a high rate."""
    trials = [*told]
    for number, trial in enumerate(trials):
        found.tell(number, trial, -float(values(trial)["optimizer.lr"]), "done")
    for number, trial in enumerate(found.trials(start), start=start):
        trials.append(trial)
        found.tell(number, trial, -float(values(trial)["optimizer.lr"]), "done")
    return trials


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler", "QMCSampler", "NSGAIISampler", "BruteForceSampler"])
def test_no_trial_of_optunas_comes_twice_until_the_space_is_drawn_out(made, sampler):
    pytest.importorskip("optuna")
    knobs = {"method": "optuna", "sampler": sampler}
    assert len(set(drawn(made(*SMALL, **knobs, trials=20)))) == 20
    trials = drawn(made(*SMALL, **knobs, trials=30))
    assert len(trials) == len(set(trials)) == 24
    assert drawn(made(*SMALL, **knobs, trials=30), start=24, told=trials) == trials
    assert made(*SMALL, **knobs, trials=30).total == 24
    whole = drawn(made("optimizer.lr=0.1", "data.batch_size=int(interval(1,3))", **knobs, trials=5))
    assert len(whole) == len(set(whole)) == 3  # which are not counted before


@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler"])
def test_a_small_space_is_drawn_in_the_same_order_after_a_resume(made, sampler):
    pytest.importorskip("optuna")
    knobs = {"method": "optuna", "sampler": sampler, "trials": 30}
    whole = drawn(made(*SMALL, **knobs))
    assert drawn(made(*SMALL, **knobs), start=15, told=whole[:15]) == whole


def test_a_diverged_trial_tells_optuna_where_not_to_look(made):
    pytest.importorskip("optuna")
    found = made("optimizer.lr=tag(log,interval(1e-4,1))", method="optuna", sampler="TPESampler", trials=80)
    rates = []
    for number, trial in enumerate(found.trials(0)):
        rates.append(float(values(trial)["optimizer.lr"]))
        bad = rates[-1] > 1e-2
        found.tell(number, trial, None if bad else -math.log10(rates[-1]), "diverged" if bad else "done")
    assert sum(rate > 1e-2 for rate in rates[40:]) < 20


@pytest.mark.parametrize("good", [False, True])
def test_a_paused_trial_tells_optuna_where_not_to_look_unless_it_comes_to_more(made, good):
    """Fast rates are the worse ones at the first rung, where they stay, or go on from and are the best at their end."""
    pytest.importorskip("optuna")
    found = made("optimizer.lr=tag(log,interval(1e-4,1))", method="optuna", sampler="TPESampler", trials=80)
    fast = []
    for number, trial in enumerate(found.trials(0)):
        rate = math.log10(float(values(trial)["optimizer.lr"]))
        fast.append(rate > -2)
        found.tell(number, trial, rate, "pruned", 0)
        if good or not fast[-1]:
            found.tell(number, trial, abs(rate + 1) if fast[-1] else 2.0, "done")
    assert sum(fast[40:]) > 30 if good else sum(fast[40:]) < 20


def test_a_ledger_of_another_space_is_refused(made):
    pytest.importorskip("optuna")
    found = made("optimizer.lr=interval(0,1)", method="optuna", sampler="TPESampler", trials=3)
    with pytest.raises(ConfigError, match=r"jobs\.jsonl: trial 7 is none of this space; the file is damaged"):
        found.tell(7, ("optimizer.lr=much",), None, "queued")


def test_several_seeds_pause_and_go_on_together():
    told = []

    class Told:
        total = 1

        def trials(self, start):
            return iter([("optimizer.lr=1",)])

        def tell(self, number, trial, value, state, rung=None):
            told.append((value, state, rung))

    trials = Trials(Told(), [("seed=0",), ("seed=1",)])
    jobs = [*trials.jobs(0)]
    for number, value, rung in [(1, 3.0, 0), (0, 1.0, 0), (0, 0.5, 1), (1, 0.7, None), (0, 0.3, None)]:
        trials.ended(number, jobs[number], value, "done" if rung is None else "pruned", larger=False, rung=rung)
    assert told == [(2.0, "pruned", 0), (0.6, "done", 1), (0.5, "done", None)]


@pytest.mark.parametrize(
    ("axes", "knobs", "said"),
    [
        (["optimizer.lr=interval(0,1)"], {}, "an interval has no end of values; give them, as choice"),
        (["seed=range(2000)", "data.batch_size=range(1,2000)"], {}, "jobs: a sweep may have 1,000,000"),
        (["seed=0,1"], {"method": "random"}, "sweep.trials: None: want a number"),
        (["seed=0,1"], {"trials": 3}, "a grid trains every combination; sweep=random draws some of them"),
        (["seed=0,1"], {"workers": 0}, "sweep.workers: 0: want auto"),
        (["seed=0,1"], {"engine": "yarn"}, "sweep.engine: want one of local"),
        (["seed=0,1"], {"method": "optuna", "trials": 3, "sampler": "TPSampler"}, "did you mean `TPESampler`?"),
        (
            ["optimizer.lr=interval(0,1)"],
            {"method": "optuna", "trials": 3, "sampler": "BruteForceSampler"},
            "sweep.sampler: BruteForceSampler: FloatDistribution.step must be given",
        ),
        (
            ["seed=0,1"],
            {"method": "optuna", "trials": 3, "sampler": "GridSampler"},
            "sweep.sampler: GridSampler: sweep=grid trains every combination",
        ),
        (
            ["seed=0,1"],
            {"method": "optuna", "trials": 3, "sampler": "PartialFixedSampler"},
            "sweep.sampler: PartialFixedSampler: leave it out: a key that has one value is fixed",
        ),
        (
            ["seed=0,1"],
            {"method": "optuna", "trials": 3, "sampler": "BaseSampler"},
            "sweep.sampler: Optuna has no sampler `BaseSampler`",
        ),
        (
            ["seed=0,1"],
            {"method": "optuna", "trials": 3, "sampler": "TPESampler", "options": {"startups": 2}},
            "sweep.options.startups: TPESampler has no `startups`",
        ),
    ],
)
def test_what_can_not_be_searched_is_refused(made, axes, knobs, said):
    if knobs.get("method") == "optuna":
        pytest.importorskip("optuna")
    with pytest.raises(ConfigError) as error:
        made(*axes, **knobs)
    assert said in str(error.value)


def test_without_optuna_a_sentence_says_what_to_install(made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"needs Optuna: pip install 'dltrain\[sweep\]' \(or sweep=random, sobol\)"):
        made(method="optuna", trials=3, sampler="TPESampler")


def test_the_mean_of_several_seeds_is_the_value_of_a_trial():
    class Told:
        total = 2

        def trials(self, start):
            return ((f"optimizer.lr={n}",) for n in range(start, 2))

        def tell(self, *what):
            told.append(what)

    told = []
    trials = Trials(Told(), [("seed=0",), ("seed=1",), ("seed=2",)])
    jobs = [*trials.jobs(0)]
    assert (trials.total, len(jobs)) == (6, 6)
    for number in (1, 0, 2):
        trials.ended(number, jobs[number], 0.5 + 0.1 * number, "done", larger=True)
    trials.ended(3, jobs[3], 0.5, "done", larger=True)
    trials.ended(4, jobs[4], None, "diverged", larger=True)
    trials.ended(5, jobs[5], 0.5, "done", larger=True)
    assert told[0] == (0, ("optimizer.lr=0",), pytest.approx(-0.6), "done", None)
    assert told[1][2] is None
