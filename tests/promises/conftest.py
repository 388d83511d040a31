"""Fixtures of the promises."""

import multiprocessing.forkserver
from pathlib import Path

import killed
import pytest


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Makes a kind of run that is to be killed, by its name, once."""
    made: dict[str, killed.Case] = {}

    def make(name: str) -> killed.Case:
        if name not in made:
            made[name] = killed.Case(tmp_path_factory.mktemp("kill"), name)
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where the server finds `nursery_warm`
        multiprocessing.forkserver.ensure_running()
    return make
