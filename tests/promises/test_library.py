"""What a program sees of dltrain: its public names and nothing else, with types and with words for each."""

import inspect
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import dltrain

ROOT = Path(__file__).parents[2]


def test_the_public_names_are_what_completion_shows():
    assert dir(dltrain) == dltrain.__all__ == sorted(dltrain.__all__)
    for name in dltrain.__all__:
        found = getattr(dltrain, name)
        assert inspect.getdoc(found), name
        if inspect.isclass(found):
            own = [m for m in vars(found).values() if inspect.isfunction(m) and not m.__name__.startswith("_")]
            assert all(map(inspect.getdoc, own)), name
    scope = {}
    exec("from dltrain import *", scope)
    assert {*scope} - {"__builtins__"} == {*dltrain.__all__}


@pytest.mark.parametrize(("typed", "meant"), [("Trianer", "Trainer"), ("laod", "load"), ("MPL", "MLP"), ("fit", None)])
def test_a_name_that_is_nearly_right_is_named(typed, meant):
    with pytest.raises(AttributeError, match=f"did you mean `{meant}`" if meant else f"no attribute '{typed}'$"):
        getattr(dltrain, typed)


def test_what_a_type_checker_reads_is_what_there_is():
    scope: dict[str, object] = {}
    exec((resources.files("dltrain") / "__init__.pyi").read_text(encoding="utf-8"), scope)
    assert sorted(scope["__all__"]) == dltrain.__all__
    for name in {*dltrain.__all__} - {"runs"}:  # which is a room as well
        assert scope[name] is getattr(dltrain, name), name
    assert callable(scope["runs"])
    assert (resources.files("dltrain") / "py.typed").is_file()


def test_the_sources_of_data_are_what_completion_shows():
    names = dir(dltrain.data)
    assert {"digits", "iris", "mnist", "table", "Tensors", "make_loader"} <= {*names}
    assert all(inspect.getdoc(getattr(dltrain.data, name)) for name in names)


def test_the_package_is_the_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "dltrain", "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{dltrain.__version__}\n")


def test_importing_it_takes_neither_torch_nor_polars():
    code = "import sys, dltrain; dir(dltrain); print({'torch', 'polars', 'numpy', 'sklearn'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_a_type_checker_finds_nothing_in_the_examples(tmp_path):
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        assert len([line for line in program.splitlines() if line.strip()]) <= 15
        (tmp_path / f"program{number}.py").write_text(program)
    (tmp_path / "program99.py").write_text(
        "import dltrain\ndltrain.train(3)\ndltrain.load('last').metric\n"
    )  # to see it
    command = [sys.executable, "-m", "pyrefly", "check", "--preset", "default", "--output-format", "json"]
    where = ["--search-path", ROOT / "src", "--python-interpreter-path", sys.executable]
    done = subprocess.run([*command, *where, tmp_path], capture_output=True)
    errors = json.loads(done.stdout)["errors"]
    theirs = re.compile(r"class `tuple`|function `sklearn")  # by scikit-learn's stubs load_digits() is a tuple
    found = [(Path(e["path"]).stem, e["description"]) for e in errors if not theirs.search(e["description"])]
    assert [name for name, _ in found] == ["program99"] * 2, found
