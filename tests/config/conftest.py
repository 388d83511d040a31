"""Hydra composes each configuration of these tests."""

import pytest
from quick_compose import HYDRAS, HYDRAS_COMPOSER

from dltrain.config import compose, hydra


@pytest.fixture(autouse=True, scope="module")
def _composed_by_hydra():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "compose", HYDRAS)
        patch.setattr(hydra, "composer", HYDRAS_COMPOSER)
        yield
