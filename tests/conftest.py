"""Fixtures that several test files share."""

from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real MNIST and California housing files; they stand beside the project in CI, not in a user's clone."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data files that CI keeps in {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def _same_random_state():
    torch.manual_seed(0)
