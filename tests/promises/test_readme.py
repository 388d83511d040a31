"""The README and docs/ tell the truth: each page is followed from top to bottom in a folder of its own.

A block of commands or a program runs as it stands there, shortened to a few steps; a block that follows the name of a
file becomes that file. A command within a sentence or a table is composed, or has its options looked up. What starts
several processes starts two: machines and srun are imitated.
"""

import io
import os
import re
import shlex
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from dltrain.commands import cli
from dltrain.config import choices
from dltrain.config.command_line import FACES, NAMES

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
PAGES = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in FILES}
BLOCK = re.compile(r"(?:`([\w/]+\.(?:py|yaml|sh))`[^`\n]*:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)  # file, language, text
LAUNCHERS = ("torchrun", "sbatch")
SRUN = """#!/bin/sh
for task in 0 1; do SLURM_STEP_NUM_TASKS=2 SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & own="$own $!"; done
for process in $own; do wait $process || code=$?; done; exit ${code:-0}
"""


def steps() -> list[tuple[str, str]]:
    """Page and command or program, in the order in which they are read."""
    found = []
    for page, text in PAGES.items():
        for file, language, block in BLOCK.findall(text):
            if page == "docs/library.md":
                continue  # runs as a notebook: tests/promises/test_notebook.py
            if language == "bash":
                found += [(page, line) for line in block.splitlines() if line.startswith(("dltrain", *LAUNCHERS))]
            elif not file and language == "python":
                found.append((page, block))
    return found


def mentioned() -> list[str]:
    """Commands within sentences and tables, each once."""
    texts = [BLOCK.sub("", text).replace("\n", " ") for text in PAGES.values()]
    return sorted({command for text in texts for command in re.findall(r"`(dltrain [^`]+)`", text)})


def name(step: str) -> str:
    return step.partition("#")[0].strip() if step.startswith(("dltrain", *LAUNCHERS)) else "program"


def succeeds(command: list[str], capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    printed = capsys.readouterr()
    assert stop.value.code == 0, printed.err
    return printed.out


def launched(words: list[str], folder: Path) -> None:
    """Two processes by torchrun, of two machines that are this one, or by a script of SLURM's."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    if words[0] == "sbatch":
        commands = [["bash", *words[1:]]]
    else:
        here = {"--nproc-per-node": "1", "--rdzv-endpoint": f"localhost:{port}"}
        options = [f"{w.partition('=')[0]}={here.get(w.partition('=')[0], w.partition('=')[2])}" for w in words[1:]]
        options = [o if "=" in w else w for o, w in zip(options, words[1:], strict=True)]
        commands = [[sys.executable, "-m", "torch.distributed.run", *options]] * 2
    for name, text in (("srun", SRUN), ("dltrain", f'#!/bin/sh\nexec {sys.executable} -m dltrain "$@"\n')):
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
    more = {"PATH": path, "OMP_NUM_THREADS": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_JOB_ID": str(port)}
    started = [subprocess.Popen(command, env=os.environ | more) for command in commands]
    assert [process.wait(120) for process in started] == [0] * len(started)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each page a folder with what its reader is told to have, and the files that the page itself writes."""

    @cache
    def folder(page: str) -> Path:
        root = tmp_path_factory.mktemp("page")
        rows = [f"{i},{50 + i % 40},{'north' if i % 3 else 'south'},{1000 + 13 * (i % 40)}" for i in range(80)]
        (root / "houses.csv").write_text("\n".join(["id,area,side,price", *rows]))
        (root / "new.csv").write_text("\n".join(["id,area,side,price", *rows[:9]]))
        for i in range(24):
            image = root / "pictures" / ("cat", "dog")[i % 2] / f"{i}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (10 * i, 99 * (i % 2), 50)).save(image)
        for file, _, text in BLOCK.findall(PAGES[page]):
            if file:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(text)
        return root

    return folder


@pytest.fixture
def _reader(monkeypatch):
    """Says yes when asked; what a page imports from its folder is forgotten after it."""
    answers = io.StringIO("y\n")
    answers.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", answers)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for module in ("my_net", "my_data", "my_loss"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(("page", "step"), [pytest.param(*s, id=f"{s[0]}: {name(s[1])}") for s in steps()])
@pytest.mark.usefixtures("_reader")
def test_each_page_can_be_followed(page, step, folders, monkeypatch, capsys):
    monkeypatch.chdir(folders(page))
    if step.startswith(LAUNCHERS):
        words = shlex.split(step, comments=True)
        (more,) = (shlex.split(other) for _, other in steps() if "--nnodes=2" in other)
        if words[0] == "torchrun" and "--nnodes=2" not in words:  # those of two machines are started by the same words
            assert {word.partition("=")[0] for word in words} <= {word.partition("=")[0] for word in more}
            return
        launched([*words, "trainer.max_steps=2"], folders(page))
        return
    if not step.startswith("dltrain"):
        exec(re.sub(r"epochs=\d+", "epochs=2", step), {})
        return
    command = shlex.split(step, comments=True)[1:]
    if not command or command[0] == "lr" or command[0] not in NAMES:  # it trains
        command = [*command, "trainer.max_steps=2"]
    succeeds(command, capsys)


@pytest.mark.parametrize("command", mentioned())
def test_each_command_in_a_sentence_is_one(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    if words[0] in FACES:
        options = re.findall(r"(?<!\w)--?\w+", succeeds([words[0], "--help"], capsys))
        assert {word for word in words if word.startswith("-")} <= set(options)
    elif words[0] not in NAMES and "..." not in words:
        succeeds([*words, "--cfg"], capsys)


def test_every_link_leads_somewhere_and_to_every_page():
    linked = set()
    for page, text in PAGES.items():
        for file, anchor in re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", text):
            there = (ROOT / page).parent.joinpath(file).resolve()
            assert there.is_file(), f"{page}: {file}"
            linked.add(str(there.relative_to(ROOT)))
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), flags=re.MULTILINE) if anchor else [""]
            assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
        assert all((ROOT / script).is_file() for script in re.findall(r"scripts/\w+\.\w+", text))
    assert set(PAGES) - {"README.md"} <= linked


def test_the_tables_name_every_choice_and_no_other():
    for group, names in choices.groups().items():
        row = re.search(rf"^\| `{group}` \| (.*?) \|$", PAGES["README.md"], flags=re.MULTILINE)
        if group != "trainer":
            assert row, group
            assert {n for n in re.findall(r"`([a-z0-9_]+)`", row[1])} == set(names), group
