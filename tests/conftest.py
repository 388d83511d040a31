"""Fixtures that several test files share."""

from pathlib import Path

import pytest
import torch

from dltrain import cli

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real MNIST and California housing files; they stand beside the project in CI, not in a user's clone."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data files that CI keeps in {SHARED}")
    return SHARED


@pytest.fixture
def dltrain(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture(autouse=True)
def _same_random_state():
    torch.manual_seed(0)
