"""Halving on top of pause and resume: who goes on, what a kill leaves, and that the bits are those of a whole run."""

from contextlib import suppress

import pytest
from outcomes import outcome
from test_driver import Counted, Silent, compose, states

from dltrain.runs import reading
from dltrain.sweeps.driver import Driver
from dltrain.sweeps.engines import Ended
from dltrain.sweeps.halving import Halving
from dltrain.sweeps.ledger import Ledger, lines
from dltrain.sweeps.search import Trials
from dltrain.sweeps.slots import Slots
from dltrain.training.stop import Stop

THIRDS = (1 / 9, 1 / 3)


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
    pruning = Halving(THIRDS, seeds=max(1, len(trials.seeds)), **knobs)
    for line in lines(folder):
        pruning.take(line)
    room = Slots(workers, by_memory=False)
    Driver(ledger, engine, compose, room, trials, Silent(), Stop(), pruning=pruning).run()
    return ledger


def heights(folder):
    """The rung at which each job is paused, or its end."""
    return {line["job"]: line.get("rung", line["state"]) for line in lines(folder)}


def test_the_best_third_goes_on_from_each_rung(tmp_path):
    ledger = drive(tmp_path, engine := Engine())
    first, second = THIRDS
    assert engine.started == [*((n, first) for n in range(9)), (6, second), (7, second), (8, second), (8, None)]
    assert states(tmp_path)[8] == [*["queued", "running", "pruned"] * 2, "queued", "running", "done"]
    assert (ledger.counts["pruned"], ledger.counts["done"], ledger.open) == (8, 1, {})
    again = Engine()
    drive(tmp_path, again)
    assert again.started == []


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("stop", range(1, 13))
def test_a_sweep_that_is_killed_goes_on_as_if_nothing_had_happened(tmp_path, stop, at_once):
    """Also where the last line was cut, or is lost."""
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    drive(tmp_path / "whole", Engine(), workers=1, at_once=at_once)
    engine = Engine()
    engine.stop = stop
    with suppress(KeyboardInterrupt):
        drive(tmp_path / "killed", engine, workers=1, at_once=at_once)
    log = tmp_path / "killed" / "jobs.jsonl"
    log.write_bytes(log.read_bytes()[: -30 if stop % 2 else None])
    engine.stop = None
    drive(tmp_path / "killed", engine, workers=1, at_once=at_once)
    assert heights(tmp_path / "killed") == heights(tmp_path / "whole")
    kept = [line["job"] for line in lines(tmp_path / "killed") if line["state"] == "done"]
    assert len(kept) == len({*kept})


def test_without_waiting_a_job_goes_on_as_soon_as_it_is_among_the_best_so_far(tmp_path):
    drive(tmp_path, engine := Engine(value=lambda n: 1 - n / 100), workers=1, at_once=True)
    first, second = THIRDS
    assert engine.started[:4] == [(0, first), (1, first), (2, first), (0, second)]
    assert engine.started[-1] == (0, None)
    assert len([n for n, until in engine.started if until == second]) == 3


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
    drive(tmp_path, engine := Engine(value=lambda n: values[n]), trials=Trials(Counted(3), ["seed=0", "seed=1"]))
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


def test_what_does_not_go_with_pruning_is_said(dltrain):
    for words, said in [
        (["sweep=tpe", "sweep.prune=halving"], "sweep.prune: Optuna learns from jobs that end"),
        (["sweep.prune=median"], "sweep.prune: want"),
        (["sweep.factor=1"], "sweep.factor: 1: want a number from 2 to 100"),
        (["sweep.rungs=0"], "sweep.rungs: 0: want a number from 1 to 10"),
    ]:
        code, out, err = dltrain("-m", "data=iris", "seed=0,1", *words)
        assert (code, out) == (2, "")
        assert said in err
