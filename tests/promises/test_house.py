"""Who may import whom: a file knows its own room and those further left; Hydra, matplotlib and exits have one place."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "dltrain"
ROOMS = (
    "errors",
    "data",
    "parts",
    "engine",
    "runs",
    "config",
    "training",
    "trained",
    "sweeps",
    "insight",
    "course",
    "commands",
)
FILES = sorted(SRC.rglob("*.py"))
HYDRA = ("hydra",)


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    """Everything that stands in a file, at any depth of it."""
    return [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


@functools.cache
def imports(path: Path) -> set[str]:
    """Dotted names of everything that a file imports."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0]


def test_the_house_has_these_rooms():
    assert {room(path) for path in FILES} == {"__init__.py", "__main__.py", "sklearn.py", *ROOMS}


def test_a_file_knows_its_own_room_and_those_further_left():
    wrong = []
    for path in (path for path in FILES if room(path) in ROOMS):
        known = {name.split(".")[1] for name in imports(path) if name.startswith("dltrain.")} & {*ROOMS}
        wrong += [(str(path.relative_to(SRC)), name) for name in known - {*ROOMS[: ROOMS.index(room(path)) + 1]}]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others():
    """Also not where an import stands in a function, or is for type hints alone."""
    names = {".".join(p.relative_to(SRC.parent).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}
    known = {name: imports(path) & names.keys() - {name} for name, path in names.items()}
    while free := {name for name, others in known.items() if not others}:
        known = {name: others - free for name, others in known.items() if name not in free}
    assert not known


def foreign(path: Path) -> set[str]:
    """What a file uses that others are there for."""
    text, names = path.read_text(encoding="utf-8"), imports(path)
    libraries = {name.split(".")[0] for name in names}
    found = libraries & {"pickle", "joblib", "dill", "cloudpickle"}
    found |= libraries & {"hydra", "omegaconf"} if path.stem not in HYDRA else set()
    found |= {"sys.exit"} if path.stem != "cli" and "sys.exit" in text else set()
    found |= libraries & {"matplotlib"} if path.parent.name != "plots" else set()
    found |= {name for name in names if "pyplot" in name}  # it keeps state for the whole process
    if path.stem not in ("output", "streams"):  # no text from a file reaches a terminal as it stands
        attributes = [node for node in nodes(path) if isinstance(node, ast.Attribute)]
        written = {ast.unparse(node) for node in attributes if node.attr in ("write", "buffer", "__stdout__")}
        found |= {node.id for node in nodes(path) if isinstance(node, ast.Name)} & {"print"}
        found |= written & {"sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.__stdout__"}
    return found


def test_libraries_that_decide_much_are_known_to_few():
    assert not {str(path.relative_to(SRC)): found for path in FILES if (found := foreign(path))}


def test_files_and_functions_are_no_longer_than_a_reader_takes_in():
    long = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef)]
        begins = {f: f.body[ast.get_docstring(f) is not None :] for f in functions}  # below signature and docstring
        long += [f"{path.name}: {f.name}" for f, body in begins.items() if body and f.end_lineno - body[0].lineno >= 50]
        long += [path.name] * (text.count("\n") > 400)
    assert not long


def test_what_is_known_is_said():
    """`Any` stays where torch, a parser or Python's own protocols leave nothing better."""
    words = sum(len(re.findall(r"\bAny\b", path.read_text(encoding="utf-8"))) for path in FILES)
    assert words < 80


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["runs"], ["list", "optimizer"], ["--version"]])
def test_help_and_listing_need_neither_torch_nor_hydra(arguments):
    code = (
        "import sys; sys.argv = ['dltrain', *sys.argv[1:]]\n"
        "from dltrain.commands.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'hydra', 'omegaconf', 'numpy', 'sklearn', 'rich', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
