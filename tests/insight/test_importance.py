"""Which key decides: against formulas whose shares are known, chance, and Optuna."""

import subprocess
import sys

import numpy as np
import pytest

from dltrain.insight import importance
from dltrain.insight.trials import MISSING, Score, Trial

KEYS = ["lr", "kind", "width", "drop"]
JUDGE = Score("accuracy", True)


def drawn(count, formula, *, seed=0):
    """Trials with random values and the scores of a formula."""
    random = np.random.default_rng(seed)
    found = []
    for place in range(count):
        values = {
            "lr": float(10 ** random.uniform(-4, -1)),
            "kind": str(random.choice(["a", "b"])),
            "width": float(random.choice([16, 64, 128])),
            "drop": float(random.uniform(0, 0.5)),
        }
        found.append(Trial(values, float(formula(values, random)), place))
    return found


def additive(values, _random):
    """70 % of the variance over the space by lr (its logarithm is uniform over 3), 25 % by kind, 5 % by width."""
    rate = np.log10(values["lr"]) / np.sqrt(9 / 12)
    width = {16: -1, 64: 0, 128: 1}[values["width"]] / np.sqrt(2 / 3)
    return np.sqrt(0.7) * rate + np.sqrt(0.25) * (1 if values["kind"] == "a" else -1) + np.sqrt(0.05) * width


def shares(found):
    return {share.key: share for share in found.shares}


def test_whole_numbers_that_are_one_as_floats_are_no_axis():
    found = [Trial({"split": 2**53 + place % 2}, place / 12, place) for place in range(12)]
    assert importance.of_trials(found, ["split"]) is None


@pytest.mark.parametrize("count", [50, 200, 1000])
def test_shares_are_those_of_the_formula(count):
    found = importance.of_trials(drawn(count, additive), KEYS)
    assert [share.key for share in found.shares][:2] == ["lr", "kind"]
    for key, truth in {"lr": 0.7, "kind": 0.25, "drop": 0.0}.items():
        share = shares(found)[key]
        assert share.low - 0.01 <= truth <= share.high + 0.01
        assert abs(share.share - truth) < 0.06
    assert found.foretold > 0.8


def test_what_two_keys_make_together_is_of_neither():
    def product(values, _random):
        return (1 if values["kind"] == "a" else -1) * (1 if values["width"] > 100 else -0.5)

    found = importance.of_trials(drawn(200, product), KEYS)
    assert max(shares(found)[key].high for key in ("kind", "width")) < 0.3
    assert "% are made by several together." in importance.sentence(found, JUDGE)


@pytest.mark.parametrize("count", [10, 30, 100])
def test_nothing_is_claimed_of_chance(count):
    for seed in range(3):
        found = importance.of_trials(drawn(count, lambda _, random: random.normal(), seed=seed), KEYS)
        assert not found.told
        assert importance.sentence(found, JUDGE).startswith("What was varied does not foretell")


def test_a_key_that_some_trials_lack_does_not_take_what_the_choice_decides():
    trials = [
        Trial({**t.values, "momentum": t.values["drop"] if t.values["kind"] == "a" else MISSING}, t.score, t.place)
        for t in drawn(200, lambda v, _: v["kind"] == "a")
    ]
    found = shares(importance.of_trials(trials, ["kind", "momentum"]))
    assert found["kind"].share > 0.95
    assert found["momentum"].share < 0.02


def test_too_few_trials_one_value_and_one_score_tell_nothing():
    trials = drawn(30, additive)
    assert importance.of_trials(trials[:9], KEYS) is None
    assert importance.of_trials([Trial(t.values, 1.0, 0) for t in trials], KEYS) is None
    assert importance.of_trials([Trial({"lr": i % 2 or MISSING}, i, i) for i in range(20)], ["lr"]) is None
    assert importance.too_few(1).startswith("1 trial is too few")


@pytest.mark.parametrize("largest", [1e-300, 1.0, 1e299])
def test_numbers_of_any_size_and_kind_are_taken(largest):
    random = np.random.default_rng(0)
    values = [{"x": float(x), "y": [True, "$", largest][i % 3]} for i, x in enumerate(random.uniform(0, largest, 40))]
    trials = [Trial(own, own["x"] * (-1) ** (largest > 1), i) for i, own in enumerate(values)]
    assert importance.of_trials(trials, ["x", "y"]).shares[0].key == "x"


def test_words_name_the_first_and_what_does_little():
    found = importance.of_trials(drawn(200, additive), KEYS)
    words = importance.sentence(found, JUDGE)
    assert words.startswith(f"lr decides {found.shares[0].share:.0%}".removesuffix("%"))
    assert "of the differences in validation accuracy, kind 2" in words
    assert words.endswith("; width next to nothing.")


def test_the_same_trials_give_the_same_numbers_and_neither_torch_nor_matplotlib_is_needed():
    trials = drawn(20, additive)
    assert importance.of_trials(trials, KEYS) == importance.of_trials(trials, KEYS)
    code = (
        "import sys, dltrain.insight.importance; print({'torch', 'matplotlib', 'sklearn', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_optuna_finds_the_same():
    optuna = pytest.importorskip("optuna")
    from optuna.distributions import CategoricalDistribution as Choice
    from optuna.distributions import FloatDistribution as Float
    from optuna.importance import FanovaImportanceEvaluator

    def curved(v, _random):
        bent = -((np.log10(v["lr"]) + 2.5) ** 2)
        return bent + (0.8 if v["kind"] == "a" else 0) + 0.003 * v["width"] + 0.5 * v["drop"]

    trials = drawn(150, curved)
    axes = {"lr": Float(1e-4, 1e-1, log=True), "kind": Choice(["a", "b"]), "width": Choice([16.0, 64.0, 128.0])}
    axes["drop"] = Float(0, 0.5)
    study = optuna.create_study(direction="maximize")
    study.add_trials([optuna.trial.create_trial(params=t.values, distributions=axes, value=t.score) for t in trials])
    theirs = FanovaImportanceEvaluator(seed=0).evaluate(study)
    ours = shares(importance.of_trials(trials, KEYS))
    for key, share in theirs.items():
        assert ours[key].share == pytest.approx(share, abs=0.06)
