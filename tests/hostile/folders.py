"""Run folders, spoilt: files of another kind in the place of files, strange names, and what `contents` changes."""

import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from hostile import words
from hostile.case import Case
from hostile.contents import configuration, json_file, sweep, tensors, text_file, whole

Spoil = Callable[[random.Random, Case, Path], str]
WRITTEN = [".lock", ".lock", "metrics.jsonl", "metrics.jsonl", "summary.json", "checkpoints", "plots", "error.txt"]
WRITTEN += ["events.out.tfevents.1.host.1", "diagnosis.jsonl", "eval-test.json", "environment.json", "report.html"]
WRITTEN += [f"plots/{name}.png" for name in ("curves", "eval-test")]
WRITTEN += [f"checkpoints/{name}" for name in ("step-00000001", "best-99999999")]
HIDDEN = [".tmp-x", ".tmp-summary.json-1", ".del-1", ".old-checkpoints", "0", "profile", "sweep.json", "stray"]
HIDDEN += [
    "lr=0.1",
    "lr=0.1/events.out.tfevents.1.host.1",
    "multirun.yaml",
    "checkpoints/.tmp-3-1",
    "checkpoints/.del-3-1",
    "checkpoints/diverged-00000003",
]


def paths(rng: random.Random, run: Path) -> Path:
    """A file or folder of a run: one that commands write, one that is there, or one that could be."""
    if rng.random() < 0.7:
        return run / rng.choice(WRITTEN)
    there = sorted(p for p in run.rglob("*") if not p.is_symlink())
    return rng.choice(there) if there and rng.random() < 0.7 else run / rng.choice(HIDDEN)


def replaced_by(kind: str) -> Spoil:
    """Puts this in the place of a file or a folder."""

    def replace(rng: random.Random, case: Case, run: Path) -> str:
        path = paths(rng, run)
        kept = path.read_bytes() if path.is_file() and not path.is_symlink() else b"{}"
        copy = case.outside / "same" / path.name
        if path.exists() and not path.is_symlink():
            copy.parent.mkdir(exist_ok=True)
            if not copy.exists():
                (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(kind, rng, case, path, kept, copy)
        return f"{kind} as {path.relative_to(run)}"

    return replace


def _put(kind: str, rng: random.Random, case: Case, path: Path, kept: bytes, copy: Path) -> None:
    """Makes `path` something of that kind, of what was there or of what lies outside."""
    away = [case.marker, case.outside / "precious.txt", case.outside, case.outside / "folder"]
    match kind:
        case "link to the same":
            path.symlink_to(copy)
        case "link":
            path.symlink_to(rng.choice([*away, *away, path, Path(rng.choice(words.DEVICES)), Path("..")]))
        case "hard link":
            other = case.outside / "precious.txt"
            if rng.random() < 0.7:
                other = case.outside / f"like-{len(case.done)}"
                other.write_bytes(kept)
            os.link(other, path)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
            (path / "inner").write_text("x")
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                here = os.getcwd()
                os.chdir(path.parent)  # its name has a limit
                made.bind(path.name[:90])
                os.chdir(here)
        case "hole":
            path.write_bytes(kept[:100])
            os.truncate(path, rng.choice([3 << 30, 300 << 20, 64 << 20]))
        case "empty":
            path.write_bytes(b"")


def stray(rng: random.Random, case: Case, run: Path) -> str:
    """A file or folder that nobody expects, or many."""
    name = rng.choice([*words.NAMES, *words.SIGNS, "step-99999999", "best-x", "٣"]).replace("\x00", "").replace("/", "")
    name = name.replace("\ud800", "\udcff")[:90] or "x"
    folder = rng.choice([run, run / "checkpoints", run.parent])
    try:
        match rng.randrange(4):
            case 0:
                (folder / name).mkdir(parents=True, exist_ok=True)
            case 1:
                (folder / name).symlink_to(case.outside / "folder")
            case 2:
                deep = folder / "/".join(["d"] * rng.choice([9, 60]))
                deep.mkdir(parents=True, exist_ok=True)
            case _:
                (folder / name).write_text(words.HEARD[:3])
    except OSError:
        return "nothing"
    return f"{name!r} in {folder.name}"


OTHER = ["link to the same", "link", "link", "hard link", "pipe", "folder", "socket", "hole", "empty", "nothing"]
SPOILS = [
    *map(replaced_by, OTHER),
    *[configuration, json_file] * 4,
    *[tensors] * 2,
    *(text_file, stray, whole),
]


def spoil(rng: random.Random, case: Case, run: Path, *, of_sweep: bool) -> None:
    """Does one to three of these things to a run: one after the other of them as the cases are counted, and others."""
    first = SPOILS[case.number % len(SPOILS)]
    kinds = [first, *rng.sample(SPOILS, rng.choice([0, 0, 0, 1, 2]))]
    for kind in [sweep, *kinds] if of_sweep and rng.random() < 0.6 else kinds:
        try:
            case.done.append(kind(rng, case, run))
        except (OSError, RecursionError, shutil.SameFileError) as error:  # one stands in the way of the other
            case.done.append(f"nothing: {type(error).__name__}")
