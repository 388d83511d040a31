"""Training processes are killed and signalled at random moments; resumed, each ends with the same bits and log.

`nursery` starts each within milliseconds, so that hundreds of trials take minutes. With DLTRAIN_SOAK=1 the counts are
those of scripts/soak.sh.
"""

import json
import mmap
import multiprocessing.forkserver
import os
import random
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from nursery import COMMON, NOWHERE, RUNS, SAVING, STEPPING, SWEEP, VALIDATING, command, go_on, new_folder, plan_of
from outcomes import outcome

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.engine.trainer import Trainer
from dltrain.runs import checkpoint, run_folder
from dltrain.training import experiment

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["nursery_warm"])


class Case:
    """A kind of run, and what it gives undisturbed."""

    def __init__(self, root: Path, name: str) -> None:
        self.name, self.root, self.plan = name, root, plan_of(name)
        outcomes = []
        for _ in range(2):  # the first one also warms up
            folder, begin = self.new(), time.perf_counter()
            experiment.train(self.plan, folder)
            self.seconds = time.perf_counter() - begin
            outcomes.append(outcome(folder))
        self.expected = outcomes[0]
        assert outcomes[1] == self.expected

    def new(self) -> Path:
        return new_folder(self.plan, self.root)


class Child:
    """A process that goes on with the run of a case, or does a command in a folder; `place` is what it is doing."""

    def __init__(self, first: Case | list[str], folder: Path) -> None:
        file = folder.with_suffix(".place")
        file.write_bytes(bytes([NOWHERE]))
        with file.open("r+b") as opened:
            self._shown = mmap.mmap(opened.fileno(), 1)
        target, what = (go_on, first.name) if isinstance(first, Case) else (command, first)
        self._process = SERVER.Process(target=target, args=(what, str(folder), str(file)))
        self._process.start()
        self.pid = self._process.pid

    @property
    def place(self) -> int:
        return self._shown[0]

    def over(self) -> bool:
        return not self._process.is_alive()

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the process, unless it has ended, or to it and its workers."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def ended(self, seconds: float = 60) -> int:
        """Waits; gives the exit code, negative for a signal."""
        self._process.join(seconds)
        if (code := self._process.exitcode) is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"the run did not end within {seconds} seconds")
        self._process.close()
        return code


_made: dict[str, Case] = {}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    def make(name: str) -> Case:
        if name not in _made:
            _made[name] = Case(tmp_path_factory.mktemp("kill"), name)
        return _made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the server finds `nursery_warm`
        multiprocessing.forkserver.ensure_running()
    yield make
    _made.clear()


def lost(folder: Path) -> int:
    """Reports that a kill cost: lines of the log beyond the newest checkpoint."""
    found = checkpoint.latest(folder / "checkpoints")
    file = folder / "metrics.jsonl"
    whole = [line for line in file.read_text().splitlines(True) if line.endswith("\n")] if file.exists() else []
    return sum(json.loads(line)["step"] > (found[2]["trainer"]["steps"] if found else 0) for line in whole)


@pytest.mark.parametrize("name", RUNS)
def test_killed_at_random_it_ends_with_the_same_bits(case, name):
    case, dice = case(name), random.Random(name)
    trials, kills, inside, most = (167 if SOAK else 17), 0, 0, 0
    for _ in range(trials):
        folder = case.new()
        while True:
            child = Child(case, folder)
            time.sleep(dice.uniform(0, 1.1 * case.seconds))
            if dice.random() < 0.5:  # saves are short: wait for one
                while child.place != SAVING and not child.over():
                    time.sleep(0.0001)
                time.sleep(dice.uniform(0, 0.004))
            where = child.place
            child.signal(signal.SIGKILL)
            if child.ended() == 0:
                break
            kills, inside, most = kills + 1, inside + (where == SAVING), max(most, lost(folder))
            if dice.random() < 0.5:
                assert Child(case, folder).ended() == 0
                break
        assert outcome(folder) == case.expected
        assert not [p for p in folder.rglob(".*") if p.name != ".lock"]
    print(f"\nT1 {name}: {trials} runs, {kills} kills, {inside} inside a save, {trials} identical; {most} report lost")
    assert most <= 1
    _kills["all"] += kills
    _kills["inside a save"] += inside


_kills = {"all": 0, "inside a save": 0}


def test_a_fifth_of_the_kills_came_inside_a_save():
    if _kills["all"] < 50:
        pytest.skip("needs the kills of the tests above")
    print(f"\nT1: {_kills['all']} kills, {_kills['inside a save']} inside a save")
    assert _kills["inside a save"] >= 0.2 * _kills["all"]


def stopped(case: Case, number: int, *, group: bool, twice: bool, moment: int | None, dice: random.Random) -> int:
    """One run, signalled, then resumed; returns the exit code of the signalled one."""
    folder = case.new()
    child = Child(case, folder)
    deadline = time.monotonic() + 30
    while (child.place == NOWHERE if moment is None else child.place != moment) and time.monotonic() < deadline:
        if child.over():
            break
        time.sleep(0.0001)
    if moment is None:
        time.sleep(dice.uniform(0, 0.5 * case.seconds))
    for _ in range(1 + twice):
        child.signal(number, group=group)
        time.sleep(dice.uniform(0, 0.01))
    code = child.ended()
    if code:
        summary = json.loads((folder / "summary.json").read_text())
        if summary["status"] != "running" or not (twice and number == signal.SIGINT):  # which leaves at once
            assert (summary["status"], summary["reason"]) == ("stopped", signal.Signals(number).name)
        assert Child(case, folder).ended() == 0
    assert outcome(folder) == case.expected
    return code


@pytest.mark.parametrize("how", ["to main", "to the group", "twice", "in a save", "in validation", "in a step"])
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)],
    ids=["TERM", "INT", "USR1"],
)
def test_a_signal_saves_and_the_rest_follows(case, number, code, how):
    dice, moments = random.Random(how), {"in a save": SAVING, "in validation": VALIDATING, "in a step": STEPPING}
    names = ["dropout and BatchNorm", "plateau", "streamed images, two workers"]
    trials, codes = (50 if SOAK else 3), []
    for trial in range(trials):
        codes.append(
            stopped(
                case(names[trial % 3]),
                number,
                group=how == "to the group",
                twice=how == "twice",
                moment=moments.get(how),
                dice=dice,
            )
        )
    print(f"\nT9 {signal.Signals(number).name} {how}: {trials} runs, {codes.count(code)} stopped, {trials} identical")
    assert set(codes) <= {0, code}  # a run may have ended before the signal came
    assert code in codes or how not in moments


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, case):
    """What each job of `SWEEP` gives undisturbed, and how long both take."""
    root, begin = tmp_path_factory.mktemp("sweep"), time.perf_counter()
    assert Child(SWEEP, root).ended() == 0
    return jobs_of(root), time.perf_counter() - begin


def jobs_of(root: Path):
    return [outcome(folder) for folder in sorted(root.glob("runs/sweep/*/[01]"))]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)],
    ids=["TERM", "INT", "USR1"],
)
def test_a_signal_stops_a_sweep_and_the_rest_follows(sweep, tmp_path, number, code):
    dice, (expected, seconds), trials, codes = random.Random(number), sweep, (50 if SOAK else 3), []
    for trial in range(trials):
        root = tmp_path / str(trial)
        root.mkdir()
        child = Child(SWEEP, root)
        while child.place != STEPPING and not child.over():
            time.sleep(0.0001)
        time.sleep(dice.uniform(0, 0.6 * seconds) if trial % 3 else 0)
        child.signal(number, group=trial % 2 == 0)
        codes.append(child.ended())
        if codes[-1]:
            (folder,) = root.glob("runs/sweep/*-*")
            assert Child(["resume", str(folder)], root).ended() == 0
        assert jobs_of(root) == expected
    print(f"\nT9 {signal.Signals(number).name} to a sweep: {trials} sweeps, {codes.count(code)} stopped, all identical")
    assert set(codes) <= {0, code}
    assert code in codes


def test_of_two_processes_in_one_folder_exactly_one_runs(case):
    case, trials, busy = case("plateau"), (50 if SOAK else 10), 0
    for _ in range(trials):
        folder = case.new()
        codes = sorted(child.ended() for child in [Child(case, folder) for _ in range(2)])
        assert codes in ([0, 0], [0, 6])  # the second may come when the first has ended
        busy += codes == [0, 6]
        assert outcome(folder) == case.expected
    print(f"\nT10: {trials} pairs, {busy} refused with 6, all identical")
    assert busy


def test_stopped_at_every_step_of_thirty_it_ends_with_the_same_bits(case):
    case = case("accumulation")
    total = case.plan.total_steps

    class After:
        """Stops after a number of steps."""

        reason = "SIGTERM"

        def __init__(self, steps):
            self.left = steps + 1

        def after(self, seconds):
            pass

        def __call__(self):
            self.left -= 1
            return self.left <= 0

    for step in range(1, min(30, total) + 1):
        folder = case.new()
        experiment.train(case.plan, folder, stop=After(2 * step))  # the loop asks about twice a step
        experiment.train(case.plan, folder, resume=True)
        assert outcome(folder) == case.expected
    print(f"\nT12: stopped and resumed at {min(30, total)} steps, all identical")


def test_no_worker_and_two_workers_give_the_same_bits(tmp_path):
    text = f"{COMMON} {RUNS['streamed images, two workers']} runs_dir={tmp_path}"
    found = []
    for workers in (0, 2, 0):
        plan = make_plan(compose.compose([*shlex.split(text), f"data.workers={workers}"]))
        folder = run_folder.create(plan.runs_dir, plan.name)
        experiment.prepare(plan, folder, ["dltrain"])
        experiment.train(plan, folder)
        weights, state, *rest = outcome(folder)
        state["config"]["data"].pop("workers")
        found.append((weights, state, *rest))
    assert found[0] == found[1] == found[2]


def test_not_a_number_is_met_before_the_update(tmp_path):
    trials = 20
    for trial in range(trials):
        step, kind = 3 + trial, ("loss", "gradient", "data", "weight")[trial % 4]
        how = "plain" if kind in ("loss", "gradient") else "direct"  # those two are hooks, which are autograd's
        words = shlex.split(f"{COMMON} {RUNS['bf16']} trainer.step={how} runs_dir={tmp_path}")
        plan = make_plan(compose.compose(words))
        folder = run_folder.create(plan.runs_dir, plan.name)
        with pytest.MonkeyPatch.context() as patch:
            inner = Trainer._step

            def bad(self, batches, epoch, *, step=step, kind=kind, inner=inner):
                if self.steps == step:
                    _poison(self, batches, kind)
                return inner(self, batches, epoch)

            patch.setattr(Trainer, "_step", bad)
            with pytest.raises(experiment.DivergedError, match=f"step {step + 1}: .*first in .*lr .*gradient norm"):
                experiment.train(plan, folder)
        path, weights, state = checkpoint.latest(folder / "checkpoints")
        assert state["trainer"]["steps"] == step, path
        assert all(t.isfinite().all() for t in weights.values() if t.is_floating_point())
        (kept,) = checkpoint.find(folder / "checkpoints", "diverged")
        _, study = checkpoint.load(kept)
        assert study["step"] == step + 1
        assert 0 < study["samples"][0].numel() <= plan.batch_size
        assert json.loads((folder / "summary.json").read_text())["status"] == "diverged"
    print(f"\nT11: {trials} runs with NaN or infinity, all stopped before the update, last checkpoint finite")


def _poison(trainer, batches, kind):
    if kind == "data":
        batches[0][0][2] = float("inf")
    elif kind == "loss":
        trainer.loss.register_forward_hook(lambda _m, _i, out: out * float("nan"))
    elif kind == "gradient":
        first = trainer.parameters[0]
        first.register_hook(lambda grad: torch.full_like(grad, float("inf")))
    else:
        with torch.no_grad():
            trainer.parameters[0].view(-1)[0] = float("nan")
