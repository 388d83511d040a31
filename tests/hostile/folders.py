"""Run folders, spoilt: files of another kind in the place of files, strange names, and what `contents` changes."""

import os
import random
import shutil
import socket
from pathlib import Path

from hostile import words
from hostile.case import Case
from hostile.contents import configuration, json_file, sweep, tensors, text_file, whole

HIDDEN = [".lock", ".tmp-x", ".tmp-summary.json-1", ".del-1", ".old-checkpoints", "plots", "plots/x.png", "profile"]
HIDDEN += ["events.out.tfevents.1.host.1", "diagnosis.jsonl", "eval-test.json", "plots/eval-test.png", "error.txt"]
HIDDEN += [
    "report.html",
    "model.safetensors",
    "0",
    "checkpoints/step-00000001",
    "checkpoints/best-99999999",
    "sweep.json",
]
HIDDEN += ["checkpoints/.tmp-3-1", "checkpoints/.del-3-1", "checkpoints/diverged-00000003", "multirun.yaml", "stray"]


def paths(rng: random.Random, run: Path) -> Path:
    """A file or folder of a run, which is there or which could be."""
    there = sorted(p for p in run.rglob("*") if not p.is_symlink())
    return rng.choice(there) if there and rng.random() < 0.7 else run / rng.choice(HIDDEN)


def replace(rng: random.Random, case: Case, run: Path) -> str:
    """Puts something else in the place of a file or a folder."""
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
    kind = rng.choice(
        [
            "link to the same",
            "link",
            "link",
            "hard link",
            "hard link",
            "pipe",
            "folder",
            "socket",
            "hole",
            "empty",
            "nothing",
        ]
    )
    match kind:
        case "link to the same":
            path.symlink_to(copy)
        case "link":
            to = [
                case.marker,
                case.outside / "precious.txt",
                case.outside,
                case.outside / "folder",
                path,
                Path("/dev/zero"),
            ]
            path.symlink_to(rng.choice([*to, Path(rng.choice(words.DEVICES)), Path("..")]))
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
    return f"{kind} as {path.relative_to(run)}"


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


SPOILS = [replace] * 5 + [configuration] * 8 + [json_file] * 5 + [tensors] * 2 + [text_file, stray, whole]


def spoil(rng: random.Random, case: Case, run: Path, *, of_sweep: bool) -> None:
    """Does one to three of these things to a run."""
    if of_sweep and rng.random() < 0.6:
        case.done.append(sweep(rng, case, run))
    for _ in range(rng.choice([1, 1, 1, 2, 3]) - bool(case.done)):
        try:
            case.done.append(rng.choice(SPOILS)(rng, case, run))
        except (OSError, shutil.SameFileError) as error:  # one stands in the way of the other
            case.done.append(f"nothing: {type(error).__name__}")
