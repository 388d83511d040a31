"""What is typed for a sweep: which of it are axes, and which seeds."""

import json

import pytest
from sweep_records import NODE, write_record

from dltrain.errors import ConfigError
from dltrain.sweeps import request
from dltrain.sweeps.orders import Orders
from dltrain.sweeps.request import Options

RANDOM = ("sweep=random", "sweep.trials=4", "optimizer.lr=tag(log,interval(1e-4,1e-1))")
PRUNED = ("sweep.prune=asha", "optimizer.lr=1e-4,1e-3,1e-2,1e-1")


def trials(*words):
    return request.read(["data=iris", *words], Options()).trials


@pytest.mark.parametrize(
    ("how", "typed", "seeds"),
    [
        (RANDOM, ["seed=range(3)"], "012"),
        (PRUNED, ["seed=range(3)"], "012"),
        (RANDOM, ["++seed=choice(1,2,1)"], "12"),
        (PRUNED, ["seed=1,1"], "1"),
        (RANDOM, ["seed=0,1", "seed=2,3"], "23"),
        (RANDOM, ["seed=7", "seeds=3"], "789"),
        (RANDOM, ["seed=0,1", "seed=5"], ""),
    ],
)
def test_seeds_make_one_trial_together_however_they_are_typed(how, typed, seeds):
    found = trials(*how, *typed)
    assert [text.removeprefix("++") for (text,) in found.repeats] == [f"seed={seed}" for seed in seeds]
    assert found.total == 4 * max(1, len(seeds))
    jobs = [*found.jobs(0)]
    assert len(set(jobs)) == found.total
    assert all(sum("seed=" in text for text in job) == 1 for job in jobs)
    assert {job[-1].rpartition("=")[2] for job in jobs} == ({*seeds} or {"5"})


@pytest.mark.parametrize("how", [(), RANDOM, PRUNED])
def test_folds_go_with_seeds_and_make_one_trial_with_them_where_trials_are_compared(how):
    found = trials(*how, "folds=3", "seeds=2")
    pairs = [(f"seed={seed}", f"data.test={number}/3") for seed in (0, 1) for number in (1, 2, 3)]
    assert found.repeats == (pairs if how else [])
    assert [job[-2:] for job in found.jobs(0)][:6] == pairs
    assert found.total == (24 if how else 6)


def test_folds_without_validation_are_told_before_they_are_trained():
    (note,) = request.notes(request.read(["data=iris", "data.val=0", "folds=3"], Options()), None)
    assert note.startswith("data.val=0: no rows are set aside for validation")
    assert request.notes(request.read(["data=iris", "folds=3"], Options()), None) == []


def test_seeds_of_an_interval_are_drawn():
    found = trials(*RANDOM[:2], "seed=int(interval(0,99))")
    assert (found.repeats, found.total) == ([], 4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_ei_candidates": 2 * 10**9}, "2000000000"),
        ({"n_ei_candidates": 10**400}, "an endless number"),
        ({"search_space": {f"k{n}": [*range(3_000)] for n in range(9)}}, "more than 10,000 values"),
    ],
)
def test_what_would_fill_the_memory_is_no_option_of_a_stored_sampler(tmp_path, options, said):
    write_record(
        tmp_path,
        ["data=iris", "optimizer.lr=interval(0.1,0.2)"],
        sweep={**NODE, "method": "optuna", "options": options},
    )
    record = json.loads((tmp_path / "sweep.json").read_text())
    with pytest.raises(ConfigError, match=f"the record of this sweep has {said} in sweep.options"):
        request.stored(record, Orders(str(tmp_path)), {})


@pytest.mark.parametrize("typed", ["seed=1,x", "seed=0.5,1", "seed='1','2'"])
def test_what_is_no_seed_is_refused_as_any_other_value(typed):
    with pytest.raises(ConfigError, match="seed: "):
        request.read(["data=iris", *RANDOM, typed], Options()).space.check(())
