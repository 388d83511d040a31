"""The built wheel carries its configs: installed into an empty folder, `dltrain` trains and lists."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
    source = {str(p.relative_to(ROOT / "src")) for p in (ROOT / "src").rglob("*.py")}
    configs = {f"dltrain/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.yaml")}
    assert names == source | configs


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
