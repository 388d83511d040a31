"""Every command and program of the README runs as it stands there, shortened to a few steps."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from dltrain.commands import cli
from dltrain.config import choices
from dltrain.config.command_line import NAMES

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("dltrain")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def local_files_only(command: list[str]) -> bool:
    return not any(word.startswith(("data.root=", "experiment=mnist", "experiment=california")) for word in command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the README tells a user to have: a table, a net, an experiment and a data set."""
    root = tmp_path_factory.mktemp("readme")
    rows = [f"{i},{50 + i % 40},{'north' if i % 3 else 'south'},{1000 + 13 * (i % 40)}" for i in range(80)]
    (root / "houses.csv").write_text("id,area,side,price\n" + "\n".join(rows) + "\n")
    net = next(block for block in blocks("python") if "class Net" in block)
    (root / "my_net.py").write_text(net)
    (root / "my_data.py").write_text(
        "import torch\n"
        "class MySet(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 60\n"
        "    def __getitem__(self, i): return torch.tensor([float(i % 7), 1.0]), int(i % 7 > 3)\n"
    )
    (root / "mine" / "experiment").mkdir(parents=True)
    (root / "mine" / "experiment" / "wide.yaml").write_text(blocks("yaml")[0])
    return root


@pytest.mark.parametrize("command", [c for c in commands() if local_files_only(c)], ids=" ".join)
def test_command_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    if not command or command[0] == "lr" or command[0] not in NAMES:  # it trains
        command = [*command, "trainer.max_steps=2"]
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        cli.main(command)
    for module in ("my_net", "my_data"):
        sys.modules.pop(module, None)
    assert stop.value.code == 0, capsys.readouterr().err


def test_the_notebook_program_runs():
    program = next(block for block in blocks("python") if "trainer.fit" in block)
    exec(program.replace("epochs=20", "epochs=2"), {})


def test_the_tables_name_every_choice_and_no_other():
    for group, names in choices.groups().items():
        row = re.search(rf"^\| `{group}` \| (.*?) \|$", README, flags=re.MULTILINE)
        if group != "trainer":
            assert row, group
            assert {n for n in re.findall(r"`([a-z0-9_]+)`", row[1])} == set(names), group
