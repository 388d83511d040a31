"""The core of dltrain where names that only Linux has are missing; `other_system` imitates such a system."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from other_system import EVERYWHERE, POSIX_ALONE

HERE = Path(__file__).parent
SRC = HERE.parents[1] / "src" / "dltrain"
OWN = [SRC / "errors" / f"{name}.py" for name in ("system", "running")]
# The server is started on Linux alone; a cluster is refused where a system is not like it.
OWN += [SRC / "sweeps" / "engines" / f"{name}.py" for name in ("server", "apart", "cluster", "ray_server")]
FILES = sorted(path for path in SRC.rglob("*.py") if path not in OWN)
OF_PATHS = {"chmod", "lchmod", "owner", "symlink_to", "hardlink_to", "is_mount"}


def foreign(text: str) -> list[str]:
    """What a module names that one of the systems lacks, or has in another way."""
    found = []
    for node in ast.walk(ast.parse(text)):
        words = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Call)) else ""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [f"{node.module}"]
            found += [name for name in names if name in (*POSIX_ALONE, "msvcrt", "winreg", "ctypes")]
            if isinstance(node, ast.ImportFrom) and node.module in EVERYWHERE:
                found += [f"{node.module}.{a.name}" for a in node.names if a.name not in EVERYWHERE[node.module]]
        elif isinstance(node, ast.Attribute):
            module = "os" if ast.unparse(node.value) in ("os", "disk", "storage.disk") else ast.unparse(node.value)
            found += [words] * (module in EVERYWHERE and node.attr not in EVERYWHERE[module])
            found += [words] * (node.attr in OF_PATHS)
        elif isinstance(node, ast.Call) and words.startswith(("getattr(os", "getattr(signal")):
            found.append(words)
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            mode = [a.value for a in node.args if isinstance(a, ast.Constant)]
            binary = any("b" in m for m in mode if isinstance(m, str))
            of_a_file = called in ("read_text", "write_text") and words.startswith("Path(")
            named = any(k.arg == "encoding" for k in node.keywords)
            opens = called == "open" and not words.startswith(
                ("os.", "disk.", "storage.", "tarfile.", "archive.", "Image.")
            )
            found += [words] * ((opens or of_a_file) and not binary and not named)
        elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            found += [w for w in ("%F", "%T", "%s", "%-", "%e") if w in ast.unparse(node.format_spec)]
    return found


def test_one_module_alone_knows_what_systems_have_of_their_own():
    found = {str(path.relative_to(SRC)): foreign(path.read_text(encoding="utf-8")) for path in FILES}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    "line",
    [
        "import fcntl",
        "from resource import getrlimit",
        "import os\nos.fork()",
        "import os\nos.open(p, os.O_RDONLY | os.O_NOFOLLOW)",
        "import signal\nsignal.signal(signal.SIGUSR1, f)",
        "from os import getuid",
        "storage.disk.rename(a, b)",  # over a file that is there Windows does not
        "getattr(os, 'O_DIRECTORY', 0)",
        "path.symlink_to(other)",
        "path.open()",
        "open('f', 'w')",
        "Path('f').read_text()",
        "f'{now:%F %T}'",
    ],
)
def test_the_check_sees_each_kind(line):
    assert foreign(line)


def test_the_core_works_where_names_of_linux_are_missing(tmp_path):
    """Commands one after another, and the locks, in a process where `other_system` hides and imitates."""
    tests = [HERE / "test_core.py", HERE.parent / "errors" / "test_system.py"]
    options = ["-q", "-n0", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=120"]
    command = [sys.executable, "-m", "pytest", "-p", "other_system", *options]
    environment = {
        **os.environ,
        "DLTRAIN_TEST_SYSTEM": "other",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'base'}", *map(str, tests)],
        env=environment, cwd=HERE.parents[1], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
