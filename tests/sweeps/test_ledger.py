"""Lines that no sweep writes, drawn: whatever stands in a ledger, a sweep goes on, or says what is wrong."""

import json
import random

import pytest
from inline_engine import Inline

from dltrain.errors import DltrainError
from dltrain.sweeps.driver import Driver, recall
from dltrain.sweeps.engines import Ended
from dltrain.sweeps.halving import Halving
from dltrain.sweeps.ledger import Ledger, lines
from dltrain.sweeps.search import Trials
from dltrain.sweeps.slots import Slots
from dltrain.sweeps.told import Told
from dltrain.training.stop import Stop

STATES = ("queued", "running", "done", "failed", "pruned", "same", "diverged", "stopped", "early_stopped", "odd")
ODD = {
    "rung": (-99_999, -1, 0, 1, 2, 10**30, True, "1", None),
    "attempts": (-(10**9), 0, 1, 10**20, "1"),
    "value": (0.5, 1, -1, 10**299, -(10**299), 10**400, None, "a", True, [1]),
    "loss": (0.5, -1e299, 1e299, {}, None),
    "monitor": ("val/accuracy", "val/loss", 3, None, "odd"),
    "overrides": (["seed=1"], ["seed=2"], ["odd"], [], [[]], "seed=1", None, [10**400]),
    "identity": ("a", "b", "", 3),
    "reason": ("max_time", "odd\nerror: odd", 5, None, []),
}
PRUNED = (None, {"rungs": (1 / 9, 1 / 3)}, {"rungs": (0.1, 0.3), "at_once": True}, {"rungs": (0.5,), "startup": 2})


class Listed:
    total = 5

    def trials(self, start):
        return ((f"seed={n}",) for n in range(start, self.total))

    def tell(self, number, trial, value, state, rung=None):
        assert rung is None or type(rung) is int


class Trains(Inline):
    """Ends each job as it is drawn."""

    def __init__(self, rng, *, pruned):
        super().__init__()
        self.rng, self.states, self.started = rng, ("done", "failed", *["pruned"] * pruned), 0

    def start(self, number, overrides, *, gpu=None, until=None):
        self.started += 1
        assert self.started < 200, "it never ends"
        state = self.rng.choice(self.states)
        told = {"state": state, "value": self.rng.random(), "monitor": "val/loss"} if self.rng.random() < 0.8 else {}
        self.ended.append(Ended(number, told, code=self.rng.choice([0, 3, None, -9, -40])))


class Made:
    values, mistakes = {}, ()


@pytest.mark.parametrize("seed", range(4))
def test_no_line_of_a_ledger_ends_in_a_traceback_or_in_a_sweep_without_end(tmp_path, capsys, seed):
    rng = random.Random(seed)
    for case in range(25):
        folder = tmp_path / str(case)
        folder.mkdir()
        drawn = [{"job": rng.choice([*range(7), -1, 10**9, "1"]), "state": rng.choice(STATES)} for _ in range(20)]
        drawn = [line | {key: rng.choice(odd) for key, odd in ODD.items() if rng.random() < 0.5} for line in drawn]
        (folder / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in drawn))
        seeds, pruned = rng.choice([(), (("seed=0",), ("seed=1",))]), rng.choice(PRUNED)
        try:
            kept, trials = Ledger(folder), Trials(Listed(), seeds)
            kept.reopen(*rng.choice([(), ("failed", "diverged")]))
            recall(trials, lines(folder))
            pruning = Halving(**pruned, each=max(1, len(seeds))) if pruned else None
            for line in lines(folder) if pruning else ():
                pruning.take(line)
            told = Told(None, kept.counts, moving=False, lines=True)
            engine = Trains(rng, pruned=pruning is not None)
            room = Slots(2, by_memory=False)
            Driver(kept, engine, lambda typed: Made, room, trials, told, Stop(), pruning=pruning).run()
        except DltrainError:
            continue
        assert (kept.open, kept.next < 20) == ({}, True), case
    said = capsys.readouterr()
    assert not any(line.startswith("error: odd") for line in (said.out + said.err).splitlines())
