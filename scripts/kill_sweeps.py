"""Kills processes of sweeps, any of them at any moment, has each sweep go on until it has ended, and counts what was
lost, what was done twice, and whose weights are others than those of the undisturbed sweep.

    python scripts/kill_sweeps.py 300 --seed 0
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

WORDS = ["data=iris", "trainer.epochs=300", "trainer.save_every=0.02", "trainer.tensorboard=false", "name=killed"]
AXES = ["optimizer=adamw,sgd", "optimizer.momentum=0,0.9", "seed=0,1"]
JOBS = 6  # adamw has no momentum
DLTRAIN = [sys.executable, "-m", "dltrain"]


def weights(sweep: Path) -> dict[str, str]:
    """The last and the best weights of each job, as hashes, by what was typed."""
    found = {}
    for job in sweep.glob("[0-9]*"):
        kinds = (sorted(job.glob(f"checkpoints/{kind}-*/model.safetensors"))[-1:] for kind in ("step", "best"))
        files = [file for of_kind in kinds for file in of_kind]
        text = "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        found[(job / "overrides.txt").read_text()] = f"{[file.parent.name for file in files]} {text}"
    return found


def processes(root: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        below.setdefault(parent, []).append(int(stat.parent.name))
    found = [root]
    for process in found:
        found += below.get(process, [])
    return found


def run(words: list[str], folder: Path, draw: random.Random, *, longest: float) -> tuple[str, bool]:
    """Starts a command and kills one of its processes after a while; which, and whether the command itself died."""
    command = subprocess.Popen(
        [*DLTRAIN, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(draw.uniform(0.3, longest))
    found = processes(command.pid)
    if command.poll() is not None:
        return "none", False
    which = draw.randrange(min(3, len(found)))  # the driver, the server, or one of the jobs
    victim = found[which] if which < 2 else draw.choice(found[2:])
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return "none", False
    kind = ("driver", "server", "job")[which]
    if which == 0:
        command.wait()
        return kind, True
    try:
        command.wait(120)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        raise
    return kind, False


def ended(folder: Path) -> int:
    """How many jobs of the sweep below a folder have."""
    lines = [line for file in folder.glob("runs/killed/*/jobs.jsonl") for line in file.read_bytes().splitlines()]
    return len({line.split(b",")[0] for line in lines if b'"done"' in line or b'"early_stopped"' in line})


def campaign(number: int, whole: dict[str, str], draw: random.Random, longest: float) -> Counter[str]:
    """One sweep, killed up to three times; what was found."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = ["-m", *WORDS, *AXES, "sweep.workers=2"]
        for _ in range(draw.randint(1, 3)):
            share = (JOBS - ended(folder) + 1) / (JOBS + 1)  # of the time that is still to come
            kind, _ = run(words, folder, draw, longest=0.5 + share * longest)
            found[f"killed: {kind}"] += 1
            made = [*folder.glob("runs/killed/*/sweep.json")]
            if made:
                words = ["resume", str(made[0].parent), "sweep.workers=2"]
        for _ in range(3):
            done = subprocess.run([*DLTRAIN, *words], cwd=folder, capture_output=True, text=True)
            if done.returncode == 0:
                break
        found["exit code not 0"] += done.returncode != 0
        if done.returncode:
            print(number, done.returncode, done.stderr[-500:], file=sys.stderr)
        sweeps = [*folder.glob("runs/killed/*/sweep.json")]
        for sweep in (path.parent for path in sweeps[:1]):
            now = weights(sweep)
            found["jobs"] += len(now)
            found["lost"] += sum(typed not in now for typed in whole)
            found["other weights"] += sum(now[typed] != whole[typed] for typed in now if typed in whole)
            lines = [json.loads(line) for line in (sweep / "jobs.jsonl").read_text().splitlines()]
            ends = Counter(line["job"] for line in lines if line["state"] in ("done", "early_stopped"))
            found["done twice"] += sum(count > 1 for count in ends.values())
            found["without an end"] += sum(ends[n] == 0 for n in range(JOBS))
            if any(found[bad] for bad in ("lost", "other weights", "done twice", "without an end")):
                shutil.copytree(sweep, f"/tmp/kill_sweeps_{number}", dirs_exist_ok=True)
    return found


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, total = random.Random(given.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        for _ in range(2):  # the first one also warms up
            shutil.rmtree(Path(name, "runs"), ignore_errors=True)
            start = time.monotonic()
            subprocess.run([*DLTRAIN, "-m", *WORDS, *AXES], cwd=name, check=True, capture_output=True)
            longest = time.monotonic() - start
        whole = weights(next(Path(name).glob("runs/killed/*")))
    assert len(whole) == JOBS, whole
    for number in range(given.sweeps):
        total += campaign(number, whole, draw, longest)
        print(number + 1, dict(sorted(total.items())), flush=True)
    bad = ("lost", "other weights", "done twice", "without an end", "exit code not 0")
    raise SystemExit(any(total[name] for name in bad))


if __name__ == "__main__":
    main()
