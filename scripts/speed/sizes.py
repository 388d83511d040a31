"""The axes of `benchmark_sizes.py`: of what there are many, the work with so many of it, and what each may cost."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_FULL = (10, 1_000, 100_000)
_TO_TEN_THOUSAND = (10, 1_000, 10_000)
_SHORT = ["trainer.max_steps=3", "trainer.threads=1", "model.widths=[4]", "runs_dir=runs", "data.batch_size=16"]
_PAGE = 10_000_000  # bytes
_WORDS = 100_000  # letters to a terminal


@dataclass(frozen=True)
class Step:
    """A command line, what it is called in the table, the file that it writes, and the exit code that is right."""

    name: str
    words: Sequence[str]
    page: str = ""
    code: int = 0
    share: float = 1.0  # of what the axis allows: more where a command does the work several times


@dataclass(frozen=True)
class Axis:
    """make(size, folder) puts the work into a folder and gives its commands, to be run there in order. milliseconds of
    processor time, kibibytes and letters on the terminal for each further one, and the largest page, in bytes.
    """

    name: str
    about: str
    make: Callable[[int, Path], list[Step]]
    milliseconds: float
    kibibytes: float
    sizes: Sequence[int] = _FULL
    page: int = _PAGE
    words: int = _WORDS
    words_each: int = 0
    square: bool = False  # whether there are as many numbers as the square of the size, by nature


def _looks(data: str = "", *, page: str = "page.html") -> list[Step]:
    """The commands that look at a run."""
    steps = [
        Step("resume", ["resume", "last", "trainer.max_steps=5", "trainer.schedule_steps=3"]),
        Step("runs", ["runs"]),
        Step("show", ["show", "last"]),
        Step("eval", ["eval", "last"]),
        Step("doctor", ["doctor", "last"], share=2.5),  # trains the net, and copies of it, anew
        Step("report", ["report", "last", "-o", page], page=page),
        Step("export", ["export", "last", "--format", "safetensors", "-o", "net.safetensors"]),
    ]
    if data:
        steps.append(Step("predict", ["predict", "last", data, "--allow-unknown", "-o", "answers.csv"]))
    return steps


def _write(path: Path, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(titles)
        table.writerows(rows)


def _columns(n: int, folder: Path) -> list[Step]:
    draw = random.Random(0)
    titles = [f"c{i}" for i in range(n)] + ["y"]
    _write(folder / "t.csv", titles, ([f"{draw.random():.3f}" for _ in range(n)] + ["ab"[r % 2]] for r in range(40)))
    words = ["data=table", "data.path=t.csv", "data.target=y", *_SHORT]
    compared = Step("compare", ["compare", "runs", "-o", "compare.png"])
    if n > 10_000:  # a minute each
        return [Step("train", words), *(step for step in _looks("t.csv") if step.name in ("runs", "show", "predict"))]
    return [
        Step("train", words),
        *_looks("t.csv"),
        Step("train again", words),
        compared,
        Step("trace", ["trace", *words]),
        Step("lr", ["lr", *words], share=2.5),  # trains on many batches
        Step("dream", ["dream", "last", "--class", "a"]),
    ]


def _classes(n: int, folder: Path) -> list[Step]:
    draw = random.Random(0)
    rows = ((f"{draw.random():.3f}", f"{draw.random():.3f}", f"k{i % n}") for i in range(max(4 * n, 100)))
    _write(folder / "t.csv", ("a", "b", "y"), rows)
    _write(folder / "new.csv", ("a", "b"), ((f"{draw.random():.3f}", f"{draw.random():.3f}") for _ in range(100)))
    words = ["data=table", "data.path=t.csv", "data.target=y", "data.task=classification", *_SHORT]
    dream = Step("dream", ["dream", "last", "--class", "k1"])
    return [
        Step("train", words),
        *_looks("new.csv"),
        Step("trace", ["trace", *words]),
        Step("lr", ["lr", *words]),
        dream,
    ]


def _labels(n: int, folder: Path) -> list[Step]:
    draw = random.Random(0)
    names = [f"y{i}" for i in range(n)]
    rows = ([f"{draw.random():.3f}", f"{draw.random():.3f}", *(draw.randrange(2) for _ in names)] for _ in range(60))
    _write(folder / "t.csv", ("a", "b", *names), rows)
    _yaml(folder, "targets", f"data:\n  path: t.csv\n  task: multilabel\n  target: [{', '.join(names)}]\n", "table")
    words = ["--config-dir", "own", "experiment=targets", *_SHORT]
    return [Step("train", words), *_looks("t.csv"), Step("trace", ["trace", *words])]


def _yaml(folder: Path, name: str, text: str, data: str) -> None:
    """An experiment of the user's own."""
    file = folder / "own" / "experiment" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"# @package _global_\ndefaults:\n  - override /data: {data}\n{text}")


def _reports(n: int, folder: Path) -> list[Step]:
    words = ["data=blobs", "data.n=100", *_SHORT, "data.batch_size=full", f"trainer.max_steps={n}"]
    go_on = ["resume", "last", f"trainer.max_steps={n + 5}", f"trainer.schedule_steps={n}"]
    looks = [step for step in _looks() if step.name not in ("resume", "export")]
    return [
        Step("train", words),
        Step("resume", go_on),
        *looks,
        Step("train again", [*words, "seed=1"]),
        Step("compare", ["compare", "runs", "-o", "c.png"]),
    ]


SWEEP = ["-m", "data=iris", "trainer.epochs=3", "optimizer.lr=0.01,0.02", "trainer.threads=1", "runs_dir=runs"]


def _runs(n: int, folder: Path) -> list[Step]:
    code = "from dltrain.commands.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *SWEEP], cwd=folder, check=True, capture_output=True)
    sweep = str(multiply(folder, n))
    return [
        Step("runs", ["runs"]),
        Step("runs --csv", ["runs", "--csv"]),
        Step("runs --json", ["runs", "--json"]),
        Step("runs --where --sort", ["runs", "--where", "optimizer.lr>0.005", "--sort", "val/accuracy"]),
        Step("show best", ["show", "runs/best"]),
        Step("report", ["report", sweep, "-o", "page.html"], page="page.html"),
        Step("compare", ["compare", sweep, "-o", "compare.png"]),
        Step("resume (the table)", ["resume", sweep]),
        Step("clean", ["clean"]),
        Step("rm", ["rm", "--yes", sweep]),
    ]


def multiply(folder: Path, n: int) -> Path:
    """The sweep of `SWEEP` in a folder, of two real runs, whose folders are copied with numbers of their own."""
    sweep = next(p.parent for p in folder.glob("runs/*/*/sweep.json"))
    rates = [f"{0.03 + 0.001 * k:.6f}" for k in range(n)]
    for k in range(2, n):
        _copied(sweep / str(k % 2), sweep / str(k), "0.02" if k % 2 else "0.01", rates[k], k)
    record = json.loads((sweep / "sweep.json").read_text())
    record["overrides"] = [
        f"optimizer.lr=0.01,0.02,{','.join(rates[2:])}" if text.startswith("optimizer.lr=") else text
        for text in record["overrides"]
    ]
    (sweep / "sweep.json").write_text(json.dumps(record))
    return sweep


def _copied(source: Path, target: Path, old: str, new: str, k: int) -> None:
    """A run folder again with another rate and other numbers; large files are links to the first's."""
    shutil.copytree(source, target, copy_function=os.link)
    for name in ("config.yaml", "overrides.txt", "summary.json", "metrics.jsonl", "environment.json"):
        text = (source / name).read_text().replace(old, new)
        if name == "summary.json":
            content = json.loads(text)
            content["best"]["loss"] = content["test"]["loss"] = 0.1 + (k * 7919 % 1000) / 1000
            text = json.dumps(content)
        (target / name).unlink()
        (target / name).write_text(text)


def _files(n: int, folder: Path) -> list[Step]:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    words = ["data=image_folder", "data.root=images", "data.image_size=8", *_SHORT, "data.val=0.2", "data.test=0.2"]
    return [Step("train", words), *_looks("images")]


def _layers(n: int, folder: Path) -> list[Step]:
    widths = f"model.widths=[{','.join(['4'] * n)}]"
    words = ["data=blobs", "data.n=100", *_SHORT, widths]
    looks = _looks()
    return [
        Step("train", words),
        *looks,
        Step("plain step", [*words, "trainer.step=plain"]),
        Step("trace", ["trace", *words]),
    ]


def _table(n: int, folder: Path) -> list[str]:
    """Writes t.csv of 20 rows: n columns, whose names are returned, a further one, and the target."""
    names = [f"c{i}" for i in range(n)]
    draw = random.Random(0)
    _write(
        folder / "t.csv",
        (*names, "a", "y"),
        ([draw.randrange(9) for _ in range(n + 1)] + ["ab"[r % 2]] for r in range(20)),
    )
    return names


def _options(n: int, folder: Path) -> list[Step]:
    names = _table(n, folder)
    words = ["data=table", "data.path=t.csv", "data.target=y", f"data.drop=[{','.join(names)}]", *_SHORT]
    return [Step("train", words), *_looks(), Step("--cfg", [*words, "--cfg"])]


def _keys(n: int, folder: Path) -> list[Step]:
    names = _table(n, folder)
    listed = "".join(f"  - {name}\n" for name in names)
    _yaml(folder, "dropped", f"data:\n  path: t.csv\n  target: y\n  drop:\n{listed}", "table")
    words = ["--config-dir", "own", "experiment=dropped", *_SHORT]
    return [Step("train", words), *_looks("t.csv"), Step("--cfg", [*words, "--cfg"])]


def _categories(n: int, folder: Path) -> list[Step]:
    _write(folder / "t.csv", ("word", "y"), ((f"w{i % n}", "ab"[i % 2]) for i in range(max(2 * n, 100))))
    words = ["data=table", "data.path=t.csv", "data.target=y", f"data.max_categories={n}", *_SHORT]
    return [Step("train", words), *_looks("t.csv")]


def _letters(n: int, folder: Path) -> list[Step]:
    """A category, a class and a column's name of so many letters."""
    long = ["x" * (n - 1) + letter for letter in "pqr"]
    _write(folder / "t.csv", ("word", long[2], "y"), ((long[i % 2], i % 7, long[i % 2]) for i in range(100)))
    words = ["data=table", "data.path=t.csv", "data.target=y", *_SHORT]
    return [Step("train", words), *_looks("t.csv"), Step("trace", ["trace", *words])]


def _parameters(n: int, folder: Path) -> list[Step]:
    wide = round(n**0.5)
    words = [
        "data=blobs",
        "data.n=300",
        *_SHORT,
        f"model.widths=[{wide},{wide}]",
        "optimizer=adamw",
        "data.batch_size=32",
    ]
    words += ["trainer.report_every=0.5", "trainer.save_every=0"]
    plain, ema = [*words, "trainer.step=plain"], [*words, "regularisation=[ema]"]
    looks = [step for step in _looks() if step.name in ("resume", "eval", "doctor", "export")]
    return [Step("train", words), *looks, Step("plain step", plain), Step("with ema", ema)]


AXES = (
    Axis("columns", "A table of 40 rows.", _columns, milliseconds=1.0, kibibytes=24),
    Axis("classes", "A table of 2 columns, 4 rows a class.", _classes, 3.0, 150, _TO_TEN_THOUSAND),
    Axis("labels", "A table of 2 columns and 60 rows.", _labels, 3.0, 48, _TO_TEN_THOUSAND),
    Axis("reports", "A run that reports and validates after each step.", _reports, 5.0, 2, _TO_TEN_THOUSAND),
    Axis("runs", "A sweep.", _runs, 8.0, 24, _TO_TEN_THOUSAND, words_each=1_500),
    Axis("files", "A folder of images of 8 x 8.", _files, 2.0, 6, _TO_TEN_THOUSAND),
    Axis("layers", "An MLP whose layers have 4 units.", _layers, 100.0, 200, (10, 1_000), words_each=3_500),
    Axis("options", "A list of so many names that is typed.", _options, 2.0, 24, (10, 1_000, 4_000)),
    Axis("keys", "A list of so many names in a YAML file.", _keys, 2.0, 24, _TO_TEN_THOUSAND, words_each=12),
    Axis(
        "categories",
        "A column of words, 2 rows for each, which is a number in all.",
        _categories,
        3.0,
        300,
        _TO_TEN_THOUSAND,
        square=True,
    ),
    Axis("letters", "A name, a class and a category that long.", _letters, 0.1, 1),
    Axis("parameters", "An MLP with AdamW.", _parameters, 0.0012, 26 / 1024, (10**5, 10**6, 10**7, 10**8)),
)
