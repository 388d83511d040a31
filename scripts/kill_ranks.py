"""Disturbs runs that several processes share, at any moment, and has each go on: kills one process, all, or what has
started them, asks them to stop, has one raise, hang or meet a full disk, and starts a second command in one folder.
Counts those whose weights, log or summary are others than the undisturbed run's, and those that did not end as they
should.

    python scripts/kill_ranks.py --trials 50 --seed 0
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partialmethod
from pathlib import Path

COMMON = shlex.split(
    "data=digits data.batch_size=128 trainer.epochs=4 trainer.save_every=0 trainer.threads=1 trainer.tensorboard=false "
    "trainer.progress=false name=killed --allow raising --config-dir configs"
)
NETS = {"direct": ["model.dropout=0.2", "model.norm=batch"], "DDP": ["model=raising"]}
STEPS, RESUME = 40, ["resume", "last", "--allow", "raising"]
SHARED = [sys.executable, "-m", "dltrain", "--nproc", "2"]
TORCHRUN = shlex.split("-m torch.distributed.run --nproc-per-node=2 --max-restarts=1 --standalone")
RAISING = '''
import os, time
from torch import nn

class Raising(nn.Module):
    """A net of a user's own: one process raises at a step, as RAISES="RANK STEP" says."""

    def __init__(self):
        super().__init__()
        self.net, self.steps = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.2), nn.Linear(32, 10)), 0

    def forward(self, x):
        self.steps += self.training
        if self.training and os.environ.get("RAISES") == f"{os.environ.get('RANK')} {self.steps}":
            with open("raised", "w") as file:
                file.write(str(time.time()))
            raise ValueError("no such animal")
        return self.net(x)
'''


class Failed(Exception):  # noqa: N818 - what a trial has found
    """A promise that was not kept."""


def check(kept: object, what: str, said: str = "") -> None:
    """Raises Failed, with the end of what was said, unless it was kept."""
    if not kept:
        raise Failed(f"{what}\n{said[-1500:]}".strip())


class Command:
    """A command in a folder; what it says goes to files."""

    def __init__(self, words: list[str], folder: Path, **environ: str) -> None:
        self.folder, self.said = folder, folder / f"said-{len([*folder.glob('said-*')])}"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                words, cwd=folder, stdout=said, stderr=said, start_new_session=True, env=os.environ | environ
            )

    def ranks(self) -> list[int]:
        """The processes that share the run, in their order."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError, ValueError, IndexError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    environ = dict(w.split("=", 1) for w in (stat.parent / "environ").read_text().split("\0") if w)
                    if "RANK" in environ:
                        found.append((int(environ["RANK"]), int(stat.parent.name)))
        return [pid for _, pid in sorted(found)]

    def over(self) -> bool:
        return self.process.poll() is not None

    def wait_for(self, step: int) -> bool:
        """Until there is a checkpoint of this step or a later one; whether that came."""
        while not self.over():
            if reached(self.folder) >= step:
                return True
            time.sleep(0.001)
        return False

    def ended(self, *codes: int, seconds: float = 300) -> str:
        """Waits for it, and all that it has started; returns what was said."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"did not end within {seconds:g} s") from None
        text = self.said.read_text()
        check(code in codes or not codes, f"exit code {code}, not {codes}:", text)
        return text

    def kill(self) -> None:
        """All of it."""
        for pid in [*self.ranks(), self.process.pid]:
            send(pid, signal.SIGKILL)
        self.process.wait()


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def gone(pids: list[int], seconds: float = 60) -> None:
    """Waits until none of these processes runs any more."""
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if _runs(pid)]:
        if time.monotonic() > end:
            for pid in left:
                send(pid, signal.SIGKILL)
            raise Failed(f"{len(left)} processes still ran after {seconds:g} s")
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def reached(folder: Path) -> int:
    """The step of the newest checkpoint."""
    return max((int(p.name[5:]) for p in folder.glob("runs/killed/*/checkpoints/step-*")), default=0)


def outcome(folder: Path) -> dict[str, object]:
    """All that must not depend on a disturbance."""
    runs = [*folder.glob("runs/killed/*")]
    check(len(runs) == 1, f"{len(runs)} run folders")
    run = runs[0]
    kept = {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run.glob("checkpoints/*/*.safetensors"))
    }
    last, best = (max((n for n in kept if n.startswith(kind)), default="") for kind in ("step", "best"))
    here = {name: kept[name] for name in kept if name.startswith((last[:14], best[:14]))}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    del summary["seconds"]
    return {
        "weights and state": here,
        "metrics": [{k: v for k, v in line.items() if k != "train/samples_per_s"} for line in lines],
        "summary": summary,
    }


@contextmanager
def place() -> Iterator[Path]:
    """An empty folder with the net that raises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "raising.py").write_text(RAISING)
        (folder / "configs/model").mkdir(parents=True)
        (folder / "configs/model/raising.yaml").write_text("_target_: raising.Raising\n")
        yield folder


class Campaign:
    """Trials of all kinds, and what came of them."""

    def __init__(self, draw: random.Random, together: float) -> None:
        """together: seconds within which all end with the one that raises."""
        self.together = together
        self.draw, self.counts, self.slowest = draw, Counter[str](), dict[str, float]()
        self._undisturbed: dict[str, dict[str, object]] = {}

    def undisturbed(self, net: str) -> dict[str, object]:
        if net not in self._undisturbed:
            with place() as folder:
                Command([*SHARED, *COMMON, *NETS[net]], folder).ended(0)
                self._undisturbed[net] = outcome(folder)
        return self._undisturbed[net]

    def trial(self, kind: str) -> None:
        """One run of a kind, and its count."""
        net = self.draw.choice(["direct", "DDP"])
        with place() as folder:
            begun = [*COMMON, *NETS["DDP" if kind == "raises" else net]]
            try:
                getattr(self, kind.replace(" ", "_"))(folder, begun)
                if kind != "another number":
                    self.same(folder, "DDP" if kind == "raises" else net)
                self.counts[kind] += 1
            except Failed as failed:
                self.counts[f"{kind}: FAILED"] += 1
                print(f"{kind}, {net}: {failed}", file=sys.stderr, flush=True)

    def same(self, folder: Path, net: str) -> None:
        now, whole = outcome(folder), self.undisturbed(net)
        other = [name for name in whole if now[name] != whole[name]]
        check(not other, f"other {', '.join(other)}: {[(now[n], whole[n]) for n in other[:1]]}"[:3000])

    def begin(self, folder: Path, words: list[str], start: list[str] = SHARED) -> tuple[Command, list[int]]:
        """A run that has come to some step, and its processes."""
        command = Command([*start, *words], folder)
        if not command.wait_for(self.draw.randrange(1, STEPS)):
            raise Failed(f"it ended before it could be disturbed:\n{command.ended()[-1500:]}")
        ranks = command.ranks()
        time.sleep(self.draw.uniform(0, 0.03))
        return command, ranks

    def go_on(self, folder: Path, count: int = 2) -> str:
        return Command([*SHARED[:-1], str(count), *RESUME], folder).ended(0)

    def slow(self, kind: str, took: float) -> None:
        """Keeps the longest time that they took to end, in seconds."""
        self.slowest[kind] = max(self.slowest.get(kind, 0), round(took, 1))

    # -- kinds -----------------------------------------------------------------------------------------------------

    def kill_one(self, folder: Path, words: list[str]) -> None:
        """Of both, any; up to three times."""
        for n in range(self.draw.randint(1, 3)):
            command = Command([*SHARED, *(words if n == 0 else RESUME)], folder)
            came = command.wait_for(self.draw.randint(min(reached(folder) + 1, STEPS), STEPS))
            if not came or len(ranks := command.ranks()) < 2:
                command.ended(0)
                break
            time.sleep(self.draw.uniform(0, 0.03))
            which, since = self.draw.randrange(2), time.monotonic()
            send(ranks[which], signal.SIGKILL)
            said = command.ended(137, 0)  # the run may have come to its end
            gone(ranks)
            self.slow("kill one", time.monotonic() - since)
            once = said.count("error:") == 1 and f"process {which} of 2 was ended by SIGKILL" in said
            check(once or not command.process.returncode, "it is not said once who was killed:", said)
            self.counts[f"kills of process {which}"] += 1
        self.go_on(folder)

    def kill_all(self, folder: Path, words: list[str], *, launcher: bool = False) -> None:
        command, ranks = self.begin(folder, words)
        for pid in [*([command.process.pid] if launcher else []), *ranks]:
            send(pid, signal.SIGKILL)
        command.ended(-9 if launcher else 137, 0)
        gone(ranks)
        self.go_on(folder)

    def kill_launcher(self, folder: Path, words: list[str]) -> None:
        command, ranks = self.begin(folder, words)
        send(command.process.pid, signal.SIGKILL)
        command.ended(-9, 0)
        since = time.monotonic()
        gone(ranks)
        self.slow("kill launcher", time.monotonic() - since)
        self.go_on(folder)

    kill_everything = partialmethod(kill_all, launcher=True)

    def ask(self, folder: Path, words: list[str], whom: str, number: int = signal.SIGTERM, code: int = 143) -> None:
        command, ranks = self.begin(folder, words)
        since, all_of_them = time.monotonic(), [command.process.pid, *ranks]
        chosen = {"one": [self.draw.choice(ranks)], "launcher": all_of_them[:1], "all": all_of_them}[whom]
        for pid in chosen:
            send(pid, number)
        said = command.ended(code, 0)
        gone(ranks)
        self.slow(f"{signal.Signals(number).name} to {whom}", time.monotonic() - since)
        if command.process.returncode:
            summary = json.loads(next(folder.glob("runs/killed/*/summary.json")).read_text())
            saved = summary["status"] == "stopped" and summary["steps"] == reached(folder)
            check(saved, f"{summary['status']} at {summary['steps']}, and saved is {reached(folder)}")
            check("error" not in said and said.count("; resume: ") == 1, "not one word of the stop:", said)
        self.go_on(folder)

    term_to_one = partialmethod(ask, whom="one")
    term_to_launcher = partialmethod(ask, whom="launcher")
    term_to_all = partialmethod(ask, whom="all")
    usr1_to_launcher = partialmethod(ask, whom="launcher", number=signal.SIGUSR1, code=138)

    def raises(self, folder: Path, words: list[str]) -> None:
        rank, step = self.draw.randrange(2), self.draw.randrange(1, STEPS)
        command = Command([*SHARED, *words], folder, RAISES=f"{rank} {step}")
        while not ((ranks := command.ranks()) or command.over()):
            time.sleep(0.01)
        said = command.ended(1)
        gone(ranks)
        took = time.time() - float((folder / "raised").read_text())
        self.slow("raises", took)
        check(took <= self.together, f"all ended {took:.1f} s after it was raised")
        summary = json.loads(next(folder.glob("runs/killed/*/summary.json")).read_text())
        told, noted = f"error: process {rank} of 2: ValueError: no such animal\n", "ValueError: no such animal"
        once = all(said.count(words) == 1 for words in (told, "error", "no such animal"))
        check(once, f"not one error of process {rank}:", said)
        found = summary["status"], summary["error"]
        check(found == ("failed", f"process 1 of 2: {noted}" if rank else noted), f"noted is {found}")
        self.go_on(folder)

    def full_disk(self, folder: Path, words: list[str]) -> None:
        command, ranks = self.begin(folder, words)
        since = time.monotonic()
        with suppress(ProcessLookupError):
            resource.prlimit(ranks[0], resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        said = command.ended(7, 0)
        gone(ranks)
        self.slow("full disk", time.monotonic() - since)
        check(said.count("error:") == 1 or not command.process.returncode, "not one error:", said)
        self.go_on(folder)

    def two_at_once(self, folder: Path, words: list[str]) -> None:
        first, ranks = self.begin(folder, words)
        send(first.process.pid, signal.SIGSTOP)  # so that it is still there
        for pid in ranks:
            send(pid, signal.SIGSTOP)
        second = Command([*SHARED, *RESUME], folder)
        try:
            said = second.ended(6)
        finally:
            for pid in [*ranks, first.process.pid]:
                send(pid, signal.SIGCONT)
        _, *errors = said.split("error:")
        check(len(errors) == 1 and errors[0].count("\n") == 1 and "is in use by" in said, "not one sentence:", said)
        first.ended(0)

    def hangs(self, folder: Path, words: list[str]) -> None:
        command, ranks = self.begin(folder, [*words, "trainer.rank_timeout=10"])
        which, since = self.draw.randrange(2), time.monotonic()
        send(ranks[which], signal.SIGSTOP)
        said = command.ended(9, 0)
        gone(ranks)
        self.slow("hangs", time.monotonic() - since)
        once = said.count("error:") == 1 and f"process {which} of 2 has not answered for 10 s" in said
        check(once or not command.process.returncode, "it is not named once:", said)
        self.go_on(folder)

    def max_restarts(self, folder: Path, words: list[str]) -> None:
        command, ranks = self.begin(folder, words, [sys.executable, *TORCHRUN, "-m", "dltrain"])
        send(self.draw.choice(ranks), signal.SIGKILL)
        command.ended(0)

    def another_number(self, folder: Path, words: list[str]) -> None:
        command, _ = self.begin(folder, words)
        send(command.process.pid, signal.SIGTERM)
        command.ended(143, 0)
        if command.process.returncode:
            count = self.draw.choice([1, 3])
            said = self.go_on(folder, count)
            check(said.count(f"processes 2 then, {count} now") == 1, "no note:", said)
        check(reached(folder) == STEPS, f"it ended at step {reached(folder)}")


KINDS = {
    "kill one": 6,
    "kill all": 2,
    "kill launcher": 4,
    "kill everything": 2,
    "term to one": 2,
    "term to launcher": 2,
    "term to all": 2,
    "usr1 to launcher": 1,
    "raises": 3,
    "full disk": 2,
    "two at once": 1,
    "hangs": 1,
    "max restarts": 2,
    "another number": 2,
}  # and how often they are drawn


def main() -> None:
    """Prints the counts after each trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*KINDS], action="append", help="one kind of disturbance; several times")
    parser.add_argument("--together", type=float, default=10.0, help="seconds within which all end where one raises")
    given = parser.parse_args()
    campaign = Campaign(random.Random(given.seed), given.together)
    kinds = {kind: share for kind, share in KINDS.items() if not given.only or kind in given.only}
    for number in range(given.trials):
        campaign.trial(campaign.draw.choices([*kinds], [*kinds.values()])[0])
        print(number + 1, dict(sorted(campaign.counts.items())), "slowest:", campaign.slowest, flush=True)
    raise SystemExit(any("FAILED" in name for name in campaign.counts))


if __name__ == "__main__":
    main()
