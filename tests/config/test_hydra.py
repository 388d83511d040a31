"""Hydra alone composes: nothing that lies about is run by it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", [["--cfg", "data=iris"], ["-sc", "query=bash"]])
def test_nothing_below_hydra_plugins_is_run(tmp_path, words):
    """Hydra would import each module there, also of the folder that one works in, where Python looks for modules."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    environment = {**os.environ, "COMP_LINE": "dltrain data=", "COMP_POINT": "13"}
    command = [sys.executable, "-m", "dltrain.commands.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not (tmp_path / "ran").exists()
