"""Tries cases, each in a fork of this one warm process, and judges what they did.

`python -m hostile.drive FIRST COUNT FOLDER` (with tests/ on PYTHONPATH) tries COUNT cases from FIRST on; it prints some
lines for each bad one as it comes, and a last line of JSON. COUNT 1 shows all of one case, and leaves its files. A
fourth word, `alone`, tries each command as a process of its own.
"""

import gc
import json
import os
import pkgutil
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import torch
from inline_engine import Inline
from PIL import Image

import dltrain
from dltrain.commands import cli
from dltrain.sweeps.engines import local
from hostile import judge, streams, surroundings, typing, watch, words
from hostile.case import Case, plant

STARTED = {**os.environ}  # before libraries changed it
SECONDS, WALL = 30, 90  # of the processor, of a busy machine
IDLE = 45  # seconds in which a case may do nothing
KINDS = ["runs", "files", "runs", "typing", "files"]
CALM = ["trainer.epochs=1", "trainer.progress=false", "trainer.threads=1", "runs_dir=made"]
CALM += ["trainer.save_every=0", "data.batch_size=16"]  # so that a step before the last has its checkpoint
LATE = ["torchvision.transforms.v2", "torchvision.models", "sklearn.datasets", "sklearn.model_selection", "rich.table"]
LATE += ["torch.utils.tensorboard", "matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin"]
BASES = {
    "iris": ["data=iris"],
    "table": ["data=table", "data.path=rows.csv", "data.target=y", "trainer.tensorboard=false", "model.widths=[4]"],
    "pictures": ["data=image_folder", "data.root=pictures", "data.image_size=8", "trainer.tensorboard=false"],
    "dataset": [
        *("data=dataset", "data.dataset._target_=torchvision.datasets.FakeData", "+data.dataset.size=40"),
        *("+data.dataset.image_size=[1,8,8]", "+data.dataset.num_classes=3", "trainer.tensorboard=false"),
        "+data.dataset.transform._target_=torchvision.transforms.ToTensor",
    ],
    "digits": ["data=digits", "regularisation=[ema,mixup]", "trainer.tensorboard=false", "model.widths=[8]"],
    "regression": ["data=sine", "trainer.tensorboard=false", "regularisation=[dropout]", "optimizer=sgd"],
    "sweep": ["-m", "data=moons", "seed=1,2", "trainer.tensorboard=false"],
    "average": ["ensemble", "bases/sweep", "runs_dir=made"],
}


def files_of_the_user(folder: Path) -> None:
    """A table and pictures, on which runs are trained and which are predicted."""
    rows = "".join(f"{i % 7},{'red' if i % 3 else 'blue'},{'ab'[i % 2]}\n" for i in range(60))
    (folder / "rows.csv").write_text("c0,c1,y\n" + rows)
    for label, colour in (("cat", 40), ("dog", 200)):
        (folder / "pictures" / label).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (9, 7), (colour, i, 0)).save(folder / "pictures" / label / f"{i}.png")


def forked(work: Callable[[], object]) -> tuple[int, float, float]:
    """Status and seconds of a child that does this and ends, by a signal where it takes too long; and those of them in
    which it and those that it waited for worked.
    """
    begin, number = time.perf_counter(), os.fork()
    if number == 0:
        try:
            os.setsid()
            signal.alarm(WALL)  # no handler: it ends the process
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    _, status, used = os.wait4(number, 0)
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)  # its workers
    return status, time.perf_counter() - begin, used.ru_utime + used.ru_stime


def command(argv: list[str]) -> object:
    """The exit code of `dltrain ARGV`, or what it raised."""
    try:
        cli.main(argv)
    except SystemExit as end:
        return end.code
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "no exit"


def process(case: Case, warm: Path, log: Path) -> int:
    """The exit code of `dltrain ARGV` as a process of its own, which the watch hears from its start on."""
    may = {name: getattr(case, name) for name in ("may_read", "may_ask", "may_fetch")}
    facts = log.with_suffix(".facts")
    facts.write_text(json.dumps({"root": str(case.root), "may": may, "warm": str(warm), "log": str(log)}))
    python = [sys.executable, "-P", "-m", "hostile.within", str(facts)]
    given = {name: value for name, value in {**STARTED, **variables(case)}.items() if value is not None}
    return subprocess.run([*python, *map(os.fsencode, case.argv)], env=given).returncode


def warm(folder: Path) -> Path:
    """Imports what the commands import, and makes the sound runs. Returns the folder of the runs."""
    torch.set_num_threads(1)
    local.local = Inline  # in the process that is watched
    for found in pkgutil.walk_packages(dltrain.__path__, "dltrain."):
        if not found.name.startswith("dltrain.course."):  # whose chapters read tables, and whose listings train
            import_module(found.name)
    for name in LATE:
        import_module(name)
    assert all(map(words.loaded, words.LIVING))
    words.modules()
    threads = len(os.listdir("/proc/self/task"))
    assert (threads, "polars" in sys.modules) == (1, False), "its threads and files do not survive a fork"
    folder.mkdir()
    files_of_the_user(folder)
    bases = folder / "bases"
    bases.mkdir()
    os.chdir(folder)
    for name, typed in BASES.items():
        ended = forked(lambda typed=typed: train([*typed, *CALM * (typed[0] != "ensemble")], folder / "said"))
        made = sorted(p.parent for p in (folder / "made").rglob("*") if p.name in ("config.yaml", "sweep.json"))
        assert (len(made) > 0, ended[0]) == (True, 0), (name, (folder / "said").read_text())
        shutil.move(made[0], bases / name)
        shutil.rmtree(folder / "made")
    return bases


def train(argv: list[str], said: Path) -> None:
    streams.Streams(Case(Path()), said)
    before = {*sys.modules}
    code = command(argv)
    if os.environ.get("SHOW"):
        os.write(1, f"{argv} {sorted({*sys.modules} - before)}\n".encode())
    if code:
        os._exit(9)


def draw(rng: random.Random, case: Case, kind: str, bases: Path, *, alone: bool) -> None:
    """Makes the files of a case, what is typed, and what lies around it."""
    case.inside.mkdir(parents=True)
    os.chdir(case.inside)
    files_of_the_user(case.inside)
    plant(case)
    typing.KINDS[kind](rng, case, bases)
    if rng.random() < (0.7 if alone else 0.15):  # much of it is asked as a process starts
        surroundings.around(rng, case)
    if case.streams == "ppp" and rng.random() < 0.15:
        streams.draw_terminal(rng, case)


def variables(case: Case) -> dict[str, str | None]:
    """The environment of a user, a secret in it, and what the case has of it; None where it has none."""
    home = str(case.root / "home")
    own = {"HOME": home, "TORCH_HOME": home, "TMPDIR": str(case.root / "tmp"), "TOKEN": words.SECRET}
    return {**own, **case.environment}


def set_environment(case: Case) -> None:
    for name, value in variables(case).items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    tempfile.tempdir = None  # it is looked for anew


def one(number: int, bases: Path, work: Path, *, keep: bool = False, alone: bool = False) -> dict:
    """Draws a case, tries it, and says what was wrong."""
    kind = KINDS[number % len(KINDS)]
    root = work / f"{kind}-{number}"
    report, said = work / "report.json", work / "said"
    for file in (report, said, report.with_suffix(".log")):
        file.unlink(missing_ok=True)

    def trial() -> None:
        rng = random.Random(f"{kind} {number}")
        random.seed(number)
        at = number // len(KINDS) * KINDS.count(kind) + KINDS[: number % len(KINDS)].count(kind)
        case = Case(root, number=at, in_turn=alone)
        draw(rng, case, kind, bases, alone=alone)
        limit = int(sum(os.times()[:2])) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        found = {"argv": case.argv, "done": case.done, "code": "it ended by itself", "wrong": []}
        report.write_text(json.dumps(found))
        written, log = judge.Written(case), report.with_suffix(".log")
        spoken = streams.Streams(case, said)
        heard = watch.Watch(case, bases.parent, log, listens=not alone)
        set_environment(case)
        found["code"] = process(case, bases.parent, log) if alone else command(case.argv)
        found |= heard.end()
        spoken.end()
        text = said.read_bytes().decode("utf-8", "replace")
        found["wrong"] += judge.verdict(case, found["code"], text) + written.wrong()
        with open(report, "w") as file:
            json.dump(found, file)

    status, seconds, worked = forked(trial)
    found = (
        json.loads(report.read_text())
        if report.exists()
        else {"wrong": ["no case"], "argv": [], "done": [], "code": ""}
    )
    if status & 127 == signal.SIGALRM or (not status and seconds - worked > IDLE):
        found["wrong"].append(f"{seconds:.0f} s, in {worked:.0f} of which it worked")
    elif status:
        found["wrong"].append(f"killed by signal {status & 127}" if status & 127 else f"ended with {status >> 8}")
    if not status and found["code"] == "it ended by itself":
        found["wrong"].append("it ended before its end, or could not be judged")
    text = said.read_bytes().decode("utf-8", "replace") if said.exists() else ""
    if not keep:
        shutil.rmtree(root, ignore_errors=True)
    return found | {"seconds": seconds, "said": text}


def main(first: int, count: int, work: Path, *, alone: bool) -> None:
    os.environ |= {"HOME": str(work / "home"), "TMPDIR": str(work / "tmp")}
    for name in ("home", "tmp"):
        (work / name).mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    bases = warm(work / "warm")
    warmed = time.perf_counter() - begin
    counts, wrong, slow, large = Counter(), 0, 0.0, 0
    gc.collect()
    gc.freeze()  # a child that collects would copy all of it
    for number in range(first, first + count):
        found = one(number, bases, work, keep=count == 1, alone=alone)
        counts[str(found["code"])[:40]] += 1
        slow, large = max(slow, found["seconds"]), max(large, found.get("memory", 0))
        if count == 1:
            print(json.dumps(found | {"said": found["said"][:5_000]}, indent=1))
        if found["wrong"]:
            wrong += 1
            print(
                f"bad: python -m hostile.drive {number} 1 FOLDER: {'; '.join(found['wrong'])}\n"
                f"     {found['argv']!r:.400}\n     {found['done']!r:.500}\n     {found['said'][-400:]!r}",
                flush=True,
            )
    last = {
        "counts": counts,
        "bad": wrong,
        "slowest": round(slow, 2),
        "most_mb": large >> 20,
        "warmed": round(warmed, 1),
    }
    print(json.dumps(last | {"seconds": round(time.perf_counter() - begin, 1)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).resolve(), alone=sys.argv[4:] == ["alone"])
