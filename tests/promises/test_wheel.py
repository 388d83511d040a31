"""The built wheel carries its configs: installed into an empty folder, `dltrain` trains and lists."""

import ast
import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRA = ("onnx", "onnxruntime", "onnxscript", "optuna", "ray", "submitit")  # asked for by who wants it


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    # --no-isolation: hatchling is in the dev extra, so no network is needed
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    (built,) = out.glob("*.whl")
    return built


def test_it_holds_the_package_and_every_config_and_nothing_else(wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    kinds = (".py", ".pyi", ".typed", ".js", ".css", ".png")
    source = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src").rglob("*") if p.suffix in kinds}
    assert "dltrain/py.typed" in source
    configs = {f"dltrain/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.yaml")}
    configs |= {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src" / "dltrain" / "course").rglob("*.yaml")}
    assert names == source | configs


def test_it_says_what_it_is_and_needs(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    found = email.message_from_bytes(archive.read(name))
    assert found["Author"] == "The dltrain authors"
    assert "Operating System :: POSIX :: Linux" in found.get_all("Classifier")
    assert found["License-Expression"] == "MIT"
    needed = {re.split(r"[<>=!;\[ ]", n)[0].lower() for n in found.get_all("Requires-Dist") if "extra ==" not in n}
    owners, free = metadata.packages_distributions(), {*sys.stdlib_module_names, "dltrain", "_typeshed", *EXTRA}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {n.split(".")[0] for n in names} - free:
                assert {o.lower() for o in owners[top]} & needed, f"{path.name} imports {top}, which is not declared"


def test_the_source_archive_has_what_a_reader_needs(wheel):
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {n.partition("/")[2] for n in opened.getnames()}
    wanted = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "constraints.txt", "scripts/test.sh"}
    assert wanted <= names
    assert {str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")} <= names
    assert not {n for n in names if n.startswith((".venv", "runs/"))}


def test_it_runs_from_an_empty_folder(wheel, tmp_path):
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    work = tmp_path / "work"
    work.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def dltrain(*arguments):
        return subprocess.run(
            [sys.executable, str(site / "bin" / "dltrain"), *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
        )

    where = subprocess.run(
        [sys.executable, "-c", "import dltrain.config.choices as c; print(c.CONFIGS)"],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert where.stdout.strip() == str(site / "dltrain" / "configs")
    done = dltrain("trainer.epochs=1")
    assert done.returncode == 0, done.stderr
    assert "run folder" in done.stdout
    assert "mnist_mlp" in dltrain("list").stdout
