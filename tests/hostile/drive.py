"""Tries cases, each in a fork of this one warm process, and judges what they did.

`python -m hostile.drive FIRST COUNT FOLDER` (with tests/ on PYTHONPATH) tries COUNT cases from FIRST on; it prints some
lines for each bad one as it comes, and a last line of JSON. COUNT 1 shows all of one case, and leaves its files. A
fourth word, `alone`, tries each command as a process of its own, which is not watched from within.
"""

import gc
import json
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import torch
from PIL import Image

import dltrain
from dltrain.commands import cli
from hostile import typing, watch, words
from hostile.case import Case, plant

SECONDS, WALL = 30, 90  # of the processor, of a busy machine
KINDS = ["runs", "typing", "runs", "files"]
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
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
}


def files_of_the_user(folder: Path) -> None:
    """A table and pictures, on which runs are trained and which are predicted."""
    rows = "".join(f"{i % 7},{'red' if i % 3 else 'blue'},{'ab'[i % 2]}\n" for i in range(60))
    (folder / "rows.csv").write_text("c0,c1,y\n" + rows)
    for label, colour in (("cat", 40), ("dog", 200)):
        (folder / "pictures" / label).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (9, 7), (colour, i, 0)).save(folder / "pictures" / label / f"{i}.png")


def forked(work: Callable[[], object]) -> tuple[int, float]:
    """Status and seconds of a child that does this and ends; by a signal where it takes too long."""
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
    status = os.waitpid(number, 0)[1]
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)  # its workers
    return status, time.perf_counter() - begin


def command(argv: list[str]) -> object:
    """The exit code of `dltrain ARGV`, or what it raised."""
    try:
        cli.main(argv)
    except SystemExit as end:
        return end.code
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "no exit"


def process(argv: list[str]) -> int:
    """The exit code of `dltrain ARGV` as a process of its own."""
    return subprocess.run([sys.executable, "-m", "dltrain.commands.cli", *map(os.fsencode, argv)]).returncode


def warm(folder: Path) -> Path:
    """Imports what the commands import, and makes the sound runs. Returns the folder of the runs."""
    torch.set_num_threads(1)
    for found in pkgutil.walk_packages(dltrain.__path__, "dltrain."):
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
        ended = forked(lambda typed=typed: train([*typed, *CALM], folder / "said"))
        made = sorted(p.parent for p in (folder / "made").rglob("*") if p.name in ("config.yaml", "sweep.json"))
        assert (len(made) > 0, ended[0]) == (True, 0), (name, (folder / "said").read_text())
        shutil.move(made[0], bases / name)
        shutil.rmtree(folder / "made")
    return bases


def train(argv: list[str], said: Path) -> None:
    quiet(said)
    before = {*sys.modules}
    code = command(argv)
    if os.environ.get("SHOW"):
        os.write(1, f"{argv} {sorted({*sys.modules} - before)}\n".encode())
    if code:
        os._exit(9)


def quiet(path: Path, streams: str = "ppp") -> None:
    """Standard input, output and error as `streams` has them: to a file (p), full (f), closed (x), nobody reads (g)."""
    said = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null, full = os.open(os.devnull, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY)
    for number, kind in enumerate(streams):
        if kind == "x":
            os.close(number)
        elif kind == "g":
            reads, writes = os.pipe()
            os.close(reads)
            os.dup2(writes, number)
        else:
            os.dup2(full if kind == "f" else null if number == 0 else said, number)


def one(number: int, bases: Path, work: Path, *, keep: bool = False, alone: bool = False) -> dict:
    """Draws a case, tries it, and says what was wrong."""
    kind = KINDS[number % len(KINDS)]
    root = work / f"{kind}-{number}"
    report, said = work / "report.json", work / "said"
    for file in (report, said):
        file.unlink(missing_ok=True)

    def trial() -> None:
        rng = random.Random(f"{kind} {number}")
        random.seed(number)
        at = number // len(KINDS) * KINDS.count(kind) + KINDS[: number % len(KINDS)].count(kind)
        case = Case(root, number=at, in_turn=alone)
        case.inside.mkdir(parents=True)
        os.chdir(case.inside)
        files_of_the_user(case.inside)
        plant(case)
        typing.KINDS[kind](rng, case, bases)
        limit = int(sum(os.times()[:2])) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        found = {"argv": case.argv, "done": case.done, "code": "it ended by itself", "wrong": []}
        report.write_text(json.dumps(found))
        quiet(said, case.streams)
        watched = watch.Watch(case, bases.parent, report.with_suffix(".log"), listens=not alone)
        found["code"] = (process if alone else command)(case.argv)
        found |= watched.end()
        text = said.read_bytes().decode("utf-8", "replace")
        found["wrong"] += verdict(case, found["code"], text)
        with open(report, "w") as file:
            json.dump(found, file)

    status, seconds = forked(trial)
    found = (
        json.loads(report.read_text())
        if report.exists()
        else {"wrong": ["no case"], "argv": [], "done": [], "code": ""}
    )
    if status:
        found["wrong"].append(f"killed by signal {status & 127}" if status & 127 else f"ended with {status >> 8}")
    if not status and found["code"] == "it ended by itself":
        found["wrong"].append("it ended before its end, or could not be judged")
    text = said.read_bytes().decode("utf-8", "replace") if said.exists() else ""
    if not keep:
        shutil.rmtree(root, ignore_errors=True)
    return found | {"seconds": seconds, "said": text}


def verdict(case: Case, code: object, text: str) -> list[str]:
    """What is wrong with an exit code and what was said."""
    wrong = []
    if not isinstance(code, int) or code not in (0, 2, 3, 4, 5, 6, 7, 8, 138):
        wrong.append(f"exit code {code}")
    if "Traceback" in text or "--debug shows" in text:
        wrong.append("a traceback")
    if not case.may_ask and (words.SECRET in text or (words.HEARD in text and not case.may_read)):
        wrong.append("a secret")
    if found := OBEYED.search(text):
        wrong.append(f"the sign {found[0]!r}, {text[max(0, found.start() - 80) : found.start()]!r} before it")
    if code not in (0, None) and not text.strip() and case.streams[2] == "p":
        wrong.append("silence")
    if "MemoryError" in text or "Unable to allocate" in text or "can't allocate memory" in text:
        wrong.append("what would take all memory was tried")
    if len(text) > 4_000_000:
        wrong.append(f"{len(text):,} letters")
    if "Error: " in text and re.search(r"^\w*(Error|Exception|Panic\w*): ", text, re.MULTILINE):
        wrong.append("a raw error")
    return wrong


def main(first: int, count: int, work: Path, *, alone: bool) -> None:
    os.environ |= {
        "TOKEN": words.SECRET,
        "HOME": str(work / "home"),
        "TMPDIR": str(work / "tmp"),
        "TORCH_HOME": str(work / "home"),
    }
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
