"""Training and sweeps are signalled at random moments, and stop; resumed, each ends with the same bits and log.

With DLTRAIN_SOAK=1 the counts are those of scripts/soak.sh.
"""

import json
import os
import random
import signal
import time
from contextlib import chdir
from pathlib import Path

import pytest
from killed import Case, Child
from nursery import NOWHERE, SAVING, STEPPING, SWEEP, VALIDATING
from outcomes import outcome

from dltrain.commands import cli

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))


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
    random.Random(f"{how} {number}").shuffle(names)
    most, codes = (50 if SOAK else 2), []
    while len(codes) < most and (SOAK or code not in codes):
        codes.append(
            stopped(
                case(names[len(codes) % 3]),
                number,
                group=how == "to the group",
                twice=how == "twice",
                moment=moments.get(how),
                dice=dice,
            )
        )
    print(f"\nT9 {signal.Signals(number).name} {how}: {len(codes)} runs, {codes.count(code)} stopped, all identical")
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
    dice, (expected, seconds), most, codes = random.Random(number), sweep, (50 if SOAK else 2), []
    first = (143, 130, 138).index(code)  # each signal begins with another moment and receiver
    while len(codes) < most and (SOAK or code not in codes):
        trial = first + len(codes)
        root = tmp_path / str(trial)
        root.mkdir()
        child = Child(SWEEP, root)
        while not [*root.glob("runs/sweep/*/0/summary.json")] and not child.over():  # a job trains
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.3 * seconds) if trial % 2 else 0)
        child.signal(number, group=trial % 4 < 2)
        codes.append(child.ended())
        if codes[-1]:
            (folder,) = root.glob("runs/sweep/*-*")
            with chdir(root):
                assert cli._run(["resume", str(folder)]) == 0
        assert jobs_of(root) == expected
    print(f"\nT9 {signal.Signals(number).name}: {len(codes)} sweeps, {codes.count(code)} stopped, all identical")
    assert set(codes) <= {0, code}
    assert code in codes


def test_of_two_processes_in_one_folder_exactly_one_runs(case):
    case, trials, busy = case("plateau"), 0, 0
    while trials < 50 if SOAK else busy < 2 and trials < 6:
        folder = case.new()
        codes = sorted(child.ended() for child in [Child(case, folder) for _ in range(2)])
        assert codes in ([0, 0], [0, 6])  # the second may come when the first has ended
        trials, busy = trials + 1, busy + (codes == [0, 6])
        assert outcome(folder) == case.expected
    print(f"\nT10: {trials} pairs, {busy} refused with 6, all identical")
    assert busy
