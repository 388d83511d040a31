"""Processes that share a run are killed, signalled, stopped and starved at random moments: the others end with one
error, and the run goes on to the same bits and log. They are forked, and meet as those of torchrun do.

With DLTRAIN_SOAK=1 the counts are those of scripts/soak.sh; scripts/kill_ranks.py does it to whole commands.
"""

import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from nursery import COMMON, SAVING, STEPPING, VALIDATING
from outcomes import outcome
from together import Group

from dltrain.runs import run_folder

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
HOW = {"direct": "trainer.step=direct", "DDP": "trainer.step=plain"}
SMALL = "data=digits data.batch_size=256 model.widths=[16] model.dropout=0.2 model.norm=batch trainer.epochs=2"
STEPS = 10
ENDLESS = ["trainer.epochs=10000"]
RAISING = """
import os
from torch import nn

class Raising(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.steps = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 0

    def forward(self, x):
        self.steps += self.training
        if self.steps == 3 and os.environ["RANK"] == "1":
            raise ValueError("no such animal")
        return self.net(x)
"""


class Shared:
    """A run of two processes below a folder, and what it gives undisturbed."""

    def __init__(self, root: Path, how: str) -> None:
        self.root, self.how = root, how
        self.words = shlex.split(f"{COMMON} {SMALL} {HOW[how]} name=shared")
        folder = self.new()
        assert Group(self.words, folder).ended() == [0, 0]
        self.expected = self.outcome(folder)

    def new(self) -> Path:
        folder = self.root / f"{len([*self.root.iterdir()])}"
        folder.mkdir()
        return folder

    def run(self, folder: Path) -> Path:
        (found,) = folder.glob("runs/shared/*")
        return found

    def outcome(self, folder: Path):
        summary = json.loads((self.run(folder) / "summary.json").read_text())
        del summary["seconds"]
        return outcome(self.run(folder)), summary

    def summary(self, folder: Path):
        return json.loads((self.run(folder) / "summary.json").read_text())

    def begun(self, folder: Path) -> bool:
        return bool([*folder.glob("runs/shared/*/checkpoints/step-*")])

    def disturbed(self, disturb: Callable[[Group], object], rank: int, place: int, dice: random.Random):
        """A run to which something was done while a process was at a place: its folder, exit codes, and all it said."""
        while True:
            folder = self.new()
            group = Group(self.words, folder)
            for _ in range(dice.randint(1, 6)):
                group.wait_for(place, rank)
                if place == STEPPING:
                    time.sleep(dice.uniform(0, 0.01))
            group.wait_for(place, rank)
            disturb(group)
            codes = group.ended()
            if codes != [0, 0]:  # else it had come to its end before
                return folder, codes, group.words()

    def goes_on(self, folder: Path) -> None:
        """It ends with the same bits."""
        words = ["resume", str(self.run(folder))] if self.begun(folder) else [*self.words, "resume=auto"]
        group = Group(words, folder)
        assert group.ended() == [0, 0], group.words()
        assert self.outcome(folder) == self.expected


@pytest.fixture(scope="module")
def shared(tmp_path_factory, case):
    """Makes a run that is to be disturbed, by how its gradients are averaged, once. It starts the server, too."""
    made: dict[str, Shared] = {}

    def make(how: str) -> Shared:
        if how not in made:
            made[how] = Shared(tmp_path_factory.mktemp("ranks"), how)
        return made[how]

    return make


def kill(group: Group, *ranks: int) -> None:
    for rank in ranks:
        group.children[rank].signal(signal.SIGKILL)


@pytest.mark.parametrize("place", [STEPPING, SAVING, VALIDATING], ids=["step", "save", "validation"])
def test_one_is_killed_and_the_run_goes_on_to_the_same_bits(shared, place):
    dice, trials = random.Random(place), 20 if SOAK else 1
    for trial in range(trials):
        run, rank = shared(["direct", "DDP"][(trial + place) % 2]), (trial // 2 + place) % 2
        folder, codes, said = run.disturbed(lambda group, rank=rank: kill(group, rank), rank, place, dice)
        assert sorted(codes) == [-9, 9], (codes, said)
        assert said.count("error:") == 1, said
        assert f"error: process {rank} of 2 has ended; all end, and `dltrain resume last` goes on" in said
        run.goes_on(folder)
    print(f"\nT14 {place}: {trials} runs, one process killed in each, {trials} identical")


def test_all_are_killed_and_the_run_goes_on_to_the_same_bits(shared):
    dice, trials = random.Random(0), 40 if SOAK else 1
    for trial in range(trials):
        run, place = shared(["direct", "DDP"][trial % 2]), dice.choice([STEPPING, SAVING, VALIDATING])
        folder, codes, _ = run.disturbed(lambda group: kill(group, 0, 1), trial % 2, place, dice)
        assert -9 in codes
        run.goes_on(folder)
    print(f"\nT14 all: {trials} runs, both processes killed in each, {trials} identical")


@pytest.mark.parametrize("whom", [(1,), (0, 1)], ids=["second", "all"])
def test_a_signal_stops_all_after_the_same_step(shared, whom):
    dice, trials = random.Random(str(whom)), 15 if SOAK else 1

    def ask(group: Group) -> None:
        for rank in whom:
            group.children[rank].signal(signal.SIGTERM)

    for trial in range(trials):
        run = shared(["direct", "DDP"][trial % 2])
        folder, codes, said = run.disturbed(ask, 0, [STEPPING, SAVING, VALIDATING][trial % 3], dice)
        assert codes == [143, 143], said
        summary = run.summary(folder)
        assert (summary["status"], summary["reason"]) == ("stopped", "SIGTERM")
        assert (run.run(folder) / f"checkpoints/step-{summary['steps']:08}").is_dir()
        assert said.count("; resume: ") == 1
        run.goes_on(folder)
    print(f"\nT14 SIGTERM to {whom}: {trials} runs, {trials} identical")


def test_one_raises_and_all_end_with_its_words(tmp_path, case):
    (tmp_path / "raising.py").write_text(RAISING)
    (tmp_path / "mine/model").mkdir(parents=True)
    (tmp_path / "mine/model/raising.yaml").write_text("_target_: raising.Raising\n")
    words = f"{COMMON} data=digits trainer.epochs=1 name=shared model=raising --allow raising --config-dir mine"
    group = Group(shlex.split(words), tmp_path)
    assert group.ended() == [1, 1]
    said = group.words()
    assert said.count("error") == 1
    assert "error: process 1 of 2: ValueError: no such animal\n" in said
    (summary,) = tmp_path.glob("runs/shared/*/summary.json")
    found = json.loads(summary.read_text())
    assert (found["status"], found["error"]) == ("failed", "process 1 of 2: ValueError: no such animal")


def test_one_hangs_and_is_named(shared):
    run = shared("direct")
    group = Group([*run.words, *ENDLESS, "trainer.rank_timeout=10"], run.new())
    group.wait_for(STEPPING, 1)
    group.children[1].signal(signal.SIGSTOP)
    begin = time.monotonic()
    try:
        assert group.ended() == [9, -9]  # the one that hangs is not left to a launcher, which would wait for it
    finally:
        kill(group, 1)
    assert time.monotonic() - begin < 20
    said = group.words()
    assert "error: process 1 of 2 has not answered for 10 s: it hangs, or is slow; all end" in said
    assert said.count("error:") == 1


def test_a_full_disk_ends_all_with_one_error(shared):
    def fill(group: Group) -> None:
        with suppress(ProcessLookupError):
            resource.prlimit(group.children[0].pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

    run = shared("direct")
    folder, codes, said = run.disturbed(fill, 0, STEPPING, random.Random(0))
    assert codes == [7, 7], said
    assert said.count("error:") == 1
    run.goes_on(folder)


def test_a_folder_in_use_is_refused_in_one_sentence_and_another_number_of_processes_goes_on(shared):
    run = shared("direct")
    folder, _, _ = run.disturbed(lambda group: group.children[0].signal(signal.SIGTERM), 0, STEPPING, random.Random(0))
    with run_folder.Lock(run.run(folder)):
        second = Group(["resume", str(run.run(folder))], folder)
        assert second.ended() == [6, 6]
    (said,) = second.words().split("error:")[1:]
    assert f"is in use by process {os.getpid()}" in said
    assert said.count("\n") == 1
    many = Group(["resume", str(run.run(folder))], folder, 3)
    assert many.ended() == [0, 0, 0]
    assert many.words().count("processes 2 then, 3 now") == 1
    assert run.summary(folder)["steps"] == STEPS


def test_started_anew_by_their_launcher_they_go_on(shared):
    run = shared("DDP")
    folder, _, _ = run.disturbed(lambda group: kill(group, 0, 1), 0, STEPPING, random.Random(1))
    again = Group(run.words, folder, restarts=1)
    assert again.ended() == [0, 0], again.words()
    assert run.outcome(folder) == run.expected


def test_the_launcher_says_who_was_killed_and_ends(shared):
    run = shared("direct")
    folder = run.new()
    words = [sys.executable, "-m", "dltrain", "--nproc", "2", *run.words, *ENDLESS]
    launcher = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not run.begun(folder) and launcher.poll() is None:
        time.sleep(0.01)
    os.kill(second_of(launcher.pid), signal.SIGKILL)
    _, said = launcher.communicate(timeout=120)
    assert launcher.returncode == 137
    assert "error: process 1 of 2 was ended by SIGKILL; `dltrain resume last` goes on\n" in said
    assert said.count("error:") == 1


def second_of(launcher: int) -> int:
    """The process of rank 1 that a launcher has started."""
    for children in Path(f"/proc/{launcher}/task").glob("*/children"):
        for child in children.read_text().split():
            if b"\0RANK=1\0" in Path(f"/proc/{child}/environ").read_bytes():
                return int(child)
    raise AssertionError("it has started none")
