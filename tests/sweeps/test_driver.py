"""The loop of a sweep over an engine that trains nothing: what is started, what comes again, what the ledger keeps."""

import gc
import json
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest

from dltrain.config.composer import Composer
from dltrain.errors import ConfigError, StorageError
from dltrain.runs import jobs as how_far
from dltrain.runs import storage
from dltrain.sweeps.driver import Driver, recall
from dltrain.sweeps.engines import Ended
from dltrain.sweeps.ledger import Ledger, lines
from dltrain.sweeps.search import Drawn, Trials, search
from dltrain.sweeps.settings import settings
from dltrain.sweeps.slots import Slots
from dltrain.sweeps.space import Space
from dltrain.training.stop import Stop

DONE = {"state": "done", "monitor": "val/accuracy", "value": 0.5, "loss": 1.0, "seconds": 0.1}


class Counted:
    """So many trials; what was told of each."""

    def __init__(self, total):
        self.total, self.told = total, {}

    def trials(self, start):
        return ((f"seed={n}",) for n in range(start, self.total))

    def tell(self, number, trial, value, state, rung=None):
        self.told[number] = (trial, value, state)


class Engine:
    """Ends each job as `ends` says, the last one that was started first."""

    def __init__(self, ends=lambda number, attempt: Ended(number, DONE)):
        self.ends, self.running, self.started, self.signals, self.most = ends, [], [], [], 0

    def start(self, number, overrides, *, gpu=None, until=None):
        self.started.append(number)
        self.running.append((number, self.started.count(number)))
        self.most = max(self.most, len(self.running))

    def wait(self, seconds):
        if not self.running:
            return []
        number, attempt = self.running.pop()
        return [self.ends(number, attempt)]

    def signal(self, number, job=None):
        self.signals.append(number)


class Silent:
    total = None

    def __init__(self):
        self.lines = []

    def recall(self, lines):
        pass

    def ended(self, number, overrides, told):
        self.lines.append((number, told["state"], told.get("reason", "")))

    def tick(self, counts, running):
        pass


@dataclass
class Made:
    values: dict
    mistakes: tuple = ()


def compose(typed):
    return Made({"typed": [t for t in typed if not t.startswith("name=")]})


def drive(folder, engine, *, total=8, workers=2, trials=None, stop=None):
    ledger = Ledger(folder)
    told = Silent()
    trials = trials or Trials(Counted(total))
    Driver(ledger, engine, compose, Slots(workers, by_memory=False), trials, told, stop or Stop()).run()
    return ledger, told


def states(folder):
    found = {}
    for line in (folder / "jobs.jsonl").read_text().splitlines():
        line = json.loads(line)
        found.setdefault(line["job"], []).append(line["state"])
    return found


def test_every_job_is_trained_once_and_the_search_is_told(tmp_path):
    engine, trials = Engine(), Trials(Counted(8))
    ledger, _ = drive(tmp_path, engine, workers=3, trials=trials)
    assert (sorted(engine.started), engine.most) == ([*range(8)], 3)
    assert states(tmp_path) == {n: ["queued", "running", "done"] for n in range(8)}
    assert trials.search.told == {n: ((f"seed={n}",), -0.5, "done") for n in range(8)}
    assert (ledger.counts["done"], ledger.open) == (8, {})


@pytest.mark.parametrize("cut", range(0, 26, 5))
def test_a_sweep_that_was_killed_goes_on_where_its_ledger_ends(tmp_path, cut):
    drive(tmp_path, Engine())
    lines = (tmp_path / "jobs.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "jobs.jsonl").write_bytes(b"".join(lines[:cut]) + b'{"job": 3, "sta')
    done = {json.loads(line)["job"] for line in lines[:cut] if json.loads(line)["state"] == "done"}
    engine = Engine()
    ledger, _ = drive(tmp_path, engine)
    assert sorted(engine.started) == sorted({*range(8)} - done)
    assert ledger.counts["done"] == 8
    assert all(found.count("done") == 1 for found in states(tmp_path).values())


def test_a_job_whose_folder_is_there_without_a_line_is_that_job(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "overrides.txt").write_text("seed=0\n")
    engine = Engine()
    drive(tmp_path, engine, total=2)
    assert sorted(engine.started) == [0, 1]
    assert json.loads((tmp_path / "jobs.jsonl").read_text().splitlines()[0])["overrides"] == ["seed=0"]


def test_a_number_that_no_job_of_a_sweep_has_is_passed_over(tmp_path):
    lines = [{"job": 0, "state": "done", "overrides": ["seed=0"]}, {"job": 999_999_998, "state": "failed"}]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "0").mkdir()
    (tmp_path / "999999999").mkdir()
    engine = Engine()
    ledger, _ = drive(tmp_path, engine, total=3)
    assert (sorted(engine.started), +ledger.counts) == ([1, 2], {"done": 3})


def test_nothing_is_drawn_for_a_sweep_that_has_more_jobs_than_it_may():
    def points():
        yield from ([n / 9] for n in range(9))
        raise AssertionError

    space = Space(["optimizer.lr=interval(0.1,0.2)"], None, Composer(None))
    assert [*Drawn(space, 5, points).trials(10**12)] == []


def test_of_folders_without_a_line_only_those_that_are_the_next_jobs_count(tmp_path):
    for number, words in ((0, "seed=0\n"), (1, ""), (2, "seed=7\n")):  # one had not begun, one is another job's
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "overrides.txt").write_text(words)
    ledger, _ = drive(tmp_path, Engine(), total=4)
    assert ledger.counts["done"] == 4
    whole = [json.loads(line) for line in (tmp_path / "jobs.jsonl").read_text().splitlines()]
    assert [line["overrides"] for line in whole if line["state"] == "queued"] == [[f"seed={n}"] for n in range(1, 4)]
    assert [(tmp_path / str(n)).exists() for n in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("ends", "found", "said"),
    [
        (lambda n, a: Ended(n, code=-9) if a == 1 else Ended(n, DONE), "done", ""),
        (lambda n, a: Ended(n, code=-9), "failed", "killed by SIGKILL"),
        (lambda n, a: Ended(n, code=None) if a < 3 else Ended(n, DONE), "done", ""),
        (lambda n, a: Ended(n, code=-11), "failed", "killed by SIGSEGV"),
        (lambda n, a: Ended(n, code=-40), "failed", "killed by "),  # a signal that has no name
        (lambda n, a: Ended(n, code=3), "failed", "its process ended with exit code 3"),
        (lambda n, a: Ended(n, {"state": "failed", "reason": "bad"}), "failed", "bad"),
        (lambda n, a: Ended(n, {"state": "diverged", "reason": "nan"}), "diverged", "nan"),
        (lambda n, a: Ended(n, {"state": "stopped", "reason": "SIGTERM"}) if a == 1 else Ended(n, DONE), "done", ""),
        (lambda n, a: Ended(n, {"state": "stopped", "reason": "SIGTERM"}, -15), "stopped", "SIGTERM"),  # by scancel
    ],
)
def test_what_becomes_of_a_job_that_does_not_end_well(tmp_path, ends, found, said):
    ledger, told = drive(tmp_path, Engine(ends), total=1)
    assert ledger.counts[found] == 1
    assert said in told.lines[-1][2]


def test_failed_jobs_that_are_tried_again_count_as_what_they_become(tmp_path):
    bad = {"state": "failed", "reason": "bad"}
    ledger, _ = drive(tmp_path, Engine(lambda n, a: Ended(n, bad if n % 2 else DONE)), total=6)
    assert +ledger.counts == {"done": 3, "failed": 3}
    ledger = Ledger(tmp_path)
    assert +ledger.counts == {"done": 3, "failed": 3}
    for n in range(6):  # as they are where jobs have trained
        (tmp_path / str(n)).mkdir()
        (tmp_path / str(n) / "summary.json").write_text(json.dumps({"status": "done", "steps": 1}))
    ledger.reopen("failed", "diverged")
    assert (+ledger.counts, [*ledger.open]) == ({"done": 3, "queued": 3}, [1, 3, 5])
    ledger, _ = drive(tmp_path, Engine(), total=6)
    assert +ledger.counts == {"done": 6}
    assert +Ledger(tmp_path).counts == {"done": 6}


def test_of_failed_jobs_those_count_that_still_are(tmp_path):
    bad = {"state": "failed", "reason": "bad"}
    drive(tmp_path, Engine(lambda n, a: Ended(n, bad)), total=2)
    assert Ledger(tmp_path).failed() == {0: (("seed=0",), "bad"), 1: (("seed=1",), "bad")}
    Ledger(tmp_path).reopen("failed")
    worse = {"state": "failed", "reason": "worse"}
    ledger, _ = drive(tmp_path, Engine(lambda n, a: Ended(n, worse if n else DONE)), total=2)
    assert ledger.failed() == {1: (("seed=1",), "worse")}


def test_a_job_that_was_stopped_by_its_own_time_waits_for_a_resume(tmp_path):
    ledger, _ = drive(tmp_path, Engine(lambda n, a: Ended(n, {"state": "stopped", "reason": "max_time"})), total=3)
    assert (ledger.counts["stopped"], len(ledger.open)) == (3, 3)
    ledger, _ = drive(tmp_path, engine := Engine(), total=3)
    assert (sorted(engine.started), ledger.counts["done"]) == ([0, 1, 2], 3)


def test_a_full_disk_stops_the_sweep_and_loses_nothing(tmp_path):
    full = {"state": "failed", "reason": "0/summary.json can't be written: No space left on device"}
    with pytest.raises(StorageError, match="No space left"):
        drive(tmp_path, Engine(lambda n, a: Ended(n, full, code=StorageError.exit_code)))
    ledger, _ = drive(tmp_path, Engine())
    assert ledger.counts["done"] == 8


def test_a_ledger_that_the_disk_refuses_is_said(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.disk, "write", refused)
    with pytest.raises(StorageError, match=r"jobs\.jsonl can't be written: No space left"):
        drive(tmp_path, Engine())


def test_a_stop_reaches_the_jobs_and_nothing_more_is_started(tmp_path):
    stop = Stop()

    def ends(number, attempt):
        stop.reason = "SIGINT"
        return Ended(number, {"state": "stopped", "reason": "SIGINT"})

    engine = Engine(ends)
    ledger, _ = drive(tmp_path, engine, workers=2, stop=stop)
    assert (engine.signals, len(engine.started)) == ([signal.SIGINT], 2)
    assert ledger.counts["stopped"] == 2


@pytest.mark.parametrize("code", [-15, -2, 0, 1])
def test_a_job_that_dies_of_a_stop_without_a_word_goes_on_with_the_sweep(tmp_path, code):
    stop = Stop()

    def ends(number, attempt):
        stop.reason = "SIGTERM"
        return Ended(number, code=code)

    ledger, _ = drive(tmp_path, Engine(ends), stop=stop)
    assert +ledger.counts == {"stopped": 2}
    ledger, _ = drive(tmp_path, Engine())
    assert +ledger.counts == {"done": 8}


def test_jobs_that_can_not_be_composed_are_each_a_job(tmp_path, monkeypatch):
    def refuses(typed):
        raise ConfigError("there is no variable X")

    monkeypatch.setattr(sys.modules[__name__], "compose", refuses)
    engine = Engine(lambda n, a: Ended(n, {"state": "failed", "reason": "there is no variable X"}))
    ledger, _ = drive(tmp_path, engine, total=4)
    assert (sorted(engine.started), +ledger.counts) == ([0, 1, 2, 3], {"failed": 4})
    ledger = Ledger(tmp_path)
    ledger.reopen("failed")
    assert +ledger.counts == {"queued": 4}


def test_the_same_configuration_twice_is_one_job(tmp_path):
    class Twice(Counted):
        def trials(self, start):
            return ((f"seed={n // 2}", f"name=n{n}") for n in range(start, self.total))

    engine = Engine()
    ledger, told = drive(tmp_path, engine, trials=Trials(Twice(6)))
    assert (sorted(engine.started), ledger.counts["same"]) == ([0, 2, 4], 3)
    assert (1, "same", "the same configuration as [0]") in told.lines


@pytest.mark.parametrize("sampler", ["TPESampler", "BruteForceSampler"])
def test_a_search_that_learns_ends_when_its_space_is_drawn_out(tmp_path, sampler):
    pytest.importorskip("optuna")
    node = {"method": "optuna", "trials": 9, "seed": 0, "sampler": sampler, "options": {}, "workers": "auto"}
    node |= {"engine": "local", "verbose": False, "params": {}}

    def trials():
        return Trials(search(Space(["optimizer.lr=0.1,0.2", "seed=0,1"], None, Composer()), settings(node)))

    ledger, _ = drive(tmp_path, engine := Engine(), trials=trials())
    assert ([*engine.started], +ledger.counts) == ([0, 1, 2, 3], {"done": 4})
    recall(again := trials(), lines(tmp_path))
    ledger, _ = drive(tmp_path, engine := Engine(), trials=again)
    assert (engine.started, +ledger.counts) == ([], {"done": 4})


def test_what_follows_a_sweep_is_told_how_many_jobs_there_are(tmp_path):
    """Fewer than were asked for where the space is drawn out, more where more are wanted as it goes on."""

    class Few(Counted):
        def trials(self, start):
            return ((f"seed={n}",) for n in range(start, min(self.total, 5)))

    record = {"format": 2, "jobs": 3}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    for wanted, found in [(3, 3), (4, 4), (9, 5), (9, 5)]:
        _, told = drive(tmp_path, Engine(), trials=Trials(Few(wanted)))
        assert json.loads((tmp_path / "sweep.json").read_text()) == record | {"jobs": found}
        assert told.total == how_far.read(tmp_path, []).total == found


@pytest.mark.parametrize("begun", range(5))
def test_several_seeds_are_one_trial(tmp_path, begun):
    """Also where the command ended between two of them."""
    seeds = [("seed=0",), ("seed=1",)]

    class Rates(Counted):
        def trials(self, start):
            return ((f"optimizer.lr={n}",) for n in range(start, self.total))

    trials = Trials(Rates(2), seeds)
    drive(tmp_path, Engine(), trials=trials)
    lines = (tmp_path / "jobs.jsonl").read_text().splitlines(keepends=True)
    whole = [json.loads(line)["overrides"] for line in lines if '"queued"' in line]
    assert whole == [[f"optimizer.lr={n}", *seed] for n in (0, 1) for seed in seeds]
    assert trials.search.told == {n: ((f"optimizer.lr={n}",), -0.5, "done") for n in (0, 1)}
    (tmp_path / "jobs.jsonl").write_text("".join(line for line in lines if json.loads(line)["job"] < begun))
    drive(tmp_path, Engine(), trials=Trials(Rates(2), seeds))
    lines = (tmp_path / "jobs.jsonl").read_text().splitlines()
    assert [json.loads(line)["overrides"] for line in lines if '"queued"' in line] == whole


def test_memory_does_not_grow_with_the_number_of_jobs(tmp_path):
    """In a process of its own: what other tests have left there would be counted."""
    taken = []
    for jobs in (500, 4000):
        (tmp_path / str(jobs)).mkdir()
        words = [sys.executable, "-c", "import test_driver; test_driver.count()", str(tmp_path / str(jobs)), str(jobs)]
        done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent)
        assert done.returncode == 0, done.stderr
        taken.append(int(done.stdout))
    assert taken[1] - taken[0] < 3500 * 700  # an identity, and what the engine and the words of this test keep


def count():
    """Prints the bytes that are kept after so many jobs."""
    folder, jobs = Path(sys.argv[1]), int(sys.argv[2])
    tracemalloc.start()
    kept = drive(folder, Engine(), total=jobs, trials=Trials(Unheard(jobs)))
    gc.collect()
    print(tracemalloc.get_traced_memory()[0])
    del kept


class Unheard(Counted):
    def tell(self, *_):
        pass
