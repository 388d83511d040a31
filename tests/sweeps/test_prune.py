"""Halving on top of pause and resume: who goes on, what a kill leaves, and that the bits are those of a whole run."""

import random
from contextlib import suppress

import pytest
from outcomes import outcome
from test_driver import Counted, Silent, compose, states

from dltrain.config.composer import Composer
from dltrain.runs import reading
from dltrain.sweeps.driver import Driver, recall
from dltrain.sweeps.engines import Ended
from dltrain.sweeps.halving import Halving
from dltrain.sweeps.ledger import Ledger, lines
from dltrain.sweeps.optuna_search import Optuna
from dltrain.sweeps.search import Trials
from dltrain.sweeps.slots import Slots
from dltrain.sweeps.space import Space
from dltrain.training.stop import Stop

THIRDS = (1 / 9, 1 / 3)
MEDIAN = {"factor": 2, "at_once": True, "startup": 5}


class Engine:
    """A job's value is its number over 100, whatever it has done; those of `ends` end by themselves at once."""

    def __init__(self, ends=(), value=lambda number: number / 100):
        self.ends, self.value, self.running, self.started, self.stop = dict(ends), value, [], [], None

    def start(self, number, overrides, *, gpu=None, until=None):
        self.started.append((number, until))
        self.running.append((number, until))

    def wait(self, seconds):
        if not self.running:
            return []
        number, until = self.running.pop(0)
        if self.stop is not None and len(self.started) > self.stop:
            raise KeyboardInterrupt  # the driver dies with what runs
        told = {"monitor": "val/accuracy", "value": self.value(number), "loss": 1.0, "seconds": 0.1}
        state = self.ends.get(number) or ("done" if until is None else "pruned")
        return [Ended(number, told | {"state": state})]

    def signal(self, number, job=None):
        pass


def drive(folder, engine, *, trials=None, workers=2, **knobs):
    ledger, trials = Ledger(folder), trials or Trials(Counted(9))
    pruning = Halving(THIRDS, each=max(1, len(trials.repeats)), **knobs)
    for line in lines(folder):
        pruning.take(line)
    recall(trials, lines(folder))
    room = Slots(workers, by_memory=False)
    Driver(ledger, engine, compose, room, trials, Silent(), Stop(), pruning=pruning).run()
    return ledger


def heights(folder):
    """The rung at which each job is paused, or its end."""
    return {line["job"]: line.get("rung", line["state"]) for line in lines(folder)}


def typed(folder):
    return {line["job"]: line["overrides"] for line in lines(folder) if line["state"] == "queued"}


@pytest.fixture(scope="module")
def tpe():
    """Makes a search that draws two trials, and learns from then on."""
    composer = Composer()

    def make(trials):
        pytest.importorskip("optuna")
        space = Space(["optimizer.lr=tag(log,interval(1e-4,1))", "model.widths=[8],[16]"], None, composer)
        return Optuna(space, trials, sampler="TPESampler", options={"n_startup_trials": 2}, seed=0, drawn=iter(()))

    return make


def test_the_best_third_goes_on_from_each_rung(tmp_path):
    ledger = drive(tmp_path, engine := Engine())
    first, second = THIRDS
    assert engine.started == [*((n, first) for n in range(9)), (6, second), (7, second), (8, second), (8, None)]
    assert states(tmp_path)[8] == [*["queued", "running", "pruned"] * 2, "queued", "running", "done"]
    assert (ledger.counts["pruned"], ledger.counts["done"], ledger.open) == (8, 1, {})
    again = Engine()
    drive(tmp_path, again)
    assert again.started == []


@pytest.mark.parametrize("knobs", [{}, {"at_once": True}, MEDIAN | {"startup": 2}], ids=["halving", "asha", "median"])
@pytest.mark.parametrize(
    ("stop", "searched"), [*((n, False) for n in range(1, 13)), *((n, True) for n in (3, 6, 9, 12))]
)
def test_a_sweep_that_is_killed_goes_on_as_if_nothing_had_happened(tmp_path, stop, knobs, searched, tpe):
    """Also where the last line was cut, or is lost, and with a search that learns from what is paused."""
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()

    def trials():
        return Trials(tpe(9)) if searched else None

    drive(tmp_path / "whole", Engine(), workers=1, trials=trials(), **knobs)
    engine = Engine()
    engine.stop = stop
    with suppress(KeyboardInterrupt):
        drive(tmp_path / "killed", engine, workers=1, trials=trials(), **knobs)
    log = tmp_path / "killed" / "jobs.jsonl"
    log.write_bytes(log.read_bytes()[: -30 if stop % 2 else None])
    engine.stop = None
    drive(tmp_path / "killed", engine, workers=1, trials=trials(), **knobs)
    assert typed(tmp_path / "killed") == typed(tmp_path / "whole")
    assert heights(tmp_path / "killed") == heights(tmp_path / "whole")
    kept = [line["job"] for line in lines(tmp_path / "killed") if line["state"] == "done"]
    assert len(kept) == len({*kept})


def test_without_waiting_a_job_goes_on_as_soon_as_it_is_among_the_best_so_far(tmp_path):
    drive(tmp_path, engine := Engine(value=lambda n: 1 - n / 100), workers=1, at_once=True)
    first, second = THIRDS
    assert engine.started[:4] == [(0, first), (1, first), (2, first), (0, second)]
    assert engine.started[-1] == (0, None)
    assert len([n for n, until in engine.started if until == second]) == 3


def test_the_median_pauses_who_is_worse_but_for_the_first_five(tmp_path):
    values = [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.6, 0.45, 0.35]
    ledger = drive(tmp_path, engine := Engine(value=lambda n: values[n]), workers=1, **MEDIAN)
    first, second = THIRDS
    begun = [(n, until) for n in range(5) for until in (first, second, None)]
    assert engine.started[: len(begun)] == begun
    rest = [(5, first), (6, first), (6, second), (6, None), (7, first), (7, second), (7, None), (8, first), (8, second)]
    assert engine.started[len(begun) :] == [*rest, (8, None)]
    assert (ledger.counts["pruned"], ledger.counts["done"]) == (1, 8)


@pytest.mark.parametrize("knobs", [{"at_once": True}, MEDIAN], ids=["asha", "median"])
def test_who_goes_on_is_who_a_look_at_all_would_find(knobs):
    """Whatever arrives when: seeds one by one, doubles, failures that are tried again."""
    draw = random.Random(0)
    pruning = Halving(THIRDS, each=2, **knobs)
    at, rung = {}, {}
    for job in range(200):
        pruning.take({"job": job, "state": "queued", "overrides": [f"seed={job}"], "rung": 0})
        rung[job] = 0
    for _ in range(600):
        job = draw.choice([*rung])
        if rung[job] > 1 or (job, rung[job]) in at:
            continue
        at[job, rung[job]] = value = draw.randrange(100) / 100
        told = {"monitor": "val/accuracy", "value": value, "loss": draw.random()}
        pruning.take({"job": job, "state": "pruned", "rung": rung[job], **told})
        while gone := pruning.promoted():
            for other, to in gone:
                here = [mean(at, n, to - 1) for n in range(100) if mean(at, n, to - 1) is not None]
                better = sum(value > mean(at, other // 2, to - 1) for value in here)
                few = max(pruning.startup, (len(here) + bool(pruning.startup)) // pruning.factor)
                assert better < few
                pruning.take({"job": other, "state": "queued", "rung": to})
                rung[other] = to
    for to in (1, 2):
        here = sorted((mean(at, n, to - 1), n) for n in range(100) if mean(at, n, to - 1) is not None)
        few = max(pruning.startup, (len(here) + bool(pruning.startup)) // pruning.factor)
        limit = here[-few][0]
        assert all(rung[2 * n] >= to and rung[2 * n + 1] >= to for value, n in here if value > limit)


def mean(at, trial, rung):
    values = [at.get((2 * trial + i, rung)) for i in (0, 1)]
    return None if None in values else sum(values) / 2


@pytest.mark.parametrize("at_once", [False, True])
def test_what_ends_by_itself_counts_and_what_fails_does_not(tmp_path, at_once):
    engine = Engine({8: "early_stopped", 7: "diverged", 6: "failed"})
    drive(tmp_path, engine, at_once=at_once)
    best = {5, 4}  # with 8 the best third; without waiting others were among the best of those before them
    assert best <= {n for n, until in engine.started if until == THIRDS[1]} <= (best | {2, 3} if at_once else best)
    found = heights(tmp_path)
    assert [found[n] for n in (6, 7, 8)] == ["failed", "diverged", "early_stopped"]


def test_several_seeds_go_on_together_by_their_mean(tmp_path):
    values = [0.9, 0.1, 0.6, 0.6, 0.2, 0.7]  # means 0.5, 0.6, 0.45
    drive(tmp_path, engine := Engine(value=lambda n: values[n]), trials=Trials(Counted(3), [("seed=0",), ("seed=1",)]))
    assert engine.started[6:] == [(2, THIRDS[1]), (3, THIRDS[1]), (2, None), (3, None)]


def test_equal_values_are_told_apart_by_the_loss():
    pruning = Halving((0.5,), factor=2)
    for job, loss in enumerate((0.5, 0.4, None, 0.6)):
        line = {"job": job, "state": "pruned", "rung": 0, "monitor": "val/accuracy", "value": 1.0, "loss": loss}
        pruning.take(line | {"overrides": [f"seed={job}"]})
    assert pruning.due({}) == [(0, 1), (1, 1)]
    pruning.take({"job": 4, "state": "queued", "overrides": ["seed=4"]})
    assert pruning.due({4}) == []


QUICK = ("data=iris", "trainer.epochs=4", "trainer.tensorboard=false", "trainer.save_every=0", "trainer.threads=1")
RATES = "optimizer.lr=1e-5,1e-2"
HALF = ("sweep.prune=halving", "sweep.factor=2", "sweep.rungs=1")


def test_a_job_that_was_paused_has_the_bits_of_one_that_was_not(dltrain, tmp_path):
    words = (*QUICK, "regularisation=[dropout]", "scheduler=cosine")
    code, out, err = dltrain("-m", *words, RATES, *HALF, "name=halved")
    assert code == 0, err
    assert "1 of 2 jobs were trained to their end (75% of all steps were made)" in out
    assert out.count(" pruned ") == 1
    assert dltrain("-m", *words, RATES, "name=whole")[0] == 0
    (halved,), (whole,) = tmp_path.glob("runs/halved/*"), tmp_path.glob("runs/whole/*")
    best, paused = sorted(range(2), key=lambda n: reading.read(halved / str(n)).paused)
    assert reading.read(halved / str(paused)).paused
    assert outcome(halved / str(best))[0] == outcome(whole / str(best))[0]
    code, out, err = dltrain("resume", str(halved))
    assert (code, "2 of 2 jobs had ended" in out) == (0, True)
    assert reading.read(halved / str(paused)).paused
    code, _, err = dltrain("resume", str(halved / str(paused)))
    assert code == 0, err
    one, other = outcome(halved / str(paused)), outcome(whole / str(paused))
    for found in (one, other):
        found[1]["config"].pop("name")
    assert one == other
    code, out, _ = dltrain("show", str(halved))
    assert "2 of 2 jobs ended (2 done)" in out


def test_a_search_learns_from_what_is_paused_and_goes_on(dltrain, tmp_path):
    pytest.importorskip("optuna")
    words = ("data=iris", "trainer.epochs=2", "trainer.tensorboard=false", "trainer.threads=1", "name=searched")
    words = (*words, "optimizer.lr=tag(log,interval(1e-5,1e-1))", "sweep=tpe", "sweep.options.n_startup_trials=3")
    code, out, err = dltrain("-m", *words, "sweep.trials=7", "sweep.prune=median", "sweep.rungs=1", "sweep.factor=2")
    assert code == 0, err
    (folder,) = tmp_path.glob("runs/searched/*")
    before = typed(folder)
    found = heights(folder)
    assert (len(found), [*found.values()].count("done") >= 5) == (7, True)
    code, out, err = dltrain("resume", str(folder), "sweep.trials=9")
    assert (code, "7 of 9 jobs had ended" in out) == (0, True), err
    assert (len(heights(folder)), {n: typed(folder)[n] for n in before}) == (9, before)


def test_what_does_not_go_with_pruning_is_said(dltrain):
    for words, said in [
        (["sweep.prune=mean"], "sweep.prune: want"),
        (["sweep.factor=1"], "sweep.factor: 1: want a number from 2 to 100"),
        (["sweep.rungs=0"], "sweep.rungs: 0: want a number from 1 to 10"),
    ]:
        code, out, err = dltrain("-m", "data=iris", "seed=0,1", *words)
        assert (code, out) == (2, "")
        assert said in err
