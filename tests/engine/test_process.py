"""A run sets what it wants of the process; a program that goes on finds it as it was."""

import gc
import random
import sys

import numpy as np
import pytest
import torch

import dltrain
from dltrain.commands import cli
from dltrain.engine import products

KERNELS = "mkl" if products.why_not() else "onednn"
OTHER = (
    "data=iris",
    "trainer.max_steps=2",
    "trainer.deterministic=true",
    "trainer.threads=3",
    f"trainer.matmul={KERNELS}",
)


def state() -> dict[str, object]:
    numpy = np.random.get_state(legacy=False)
    return {
        "threads": torch.get_num_threads(),
        "tiny numbers": (torch.tensor([1e-39]) * 1).tolist(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": (numpy["state"]["key"].tolist(), numpy["state"]["pos"]),
        "python": random.getstate(),
        "products": products.used(),
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "optimizers": [vars(c).get("step") for c in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)],
        "gc": (gc.isenabled(), gc.get_freeze_count() > 0),  # of those kept, some may die meanwhile
        "path": [*sys.path],
        "streams": (sys.stdout, sys.stderr),
    }


@pytest.fixture
def own_settings():
    threads, kernels = torch.get_num_threads(), products.used()
    for optimizer in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        optimizer([torch.zeros(1)])  # torch itself wraps `step` when the first is made
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    products.use(kernels)


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("way", ["train", "main", "error", "interrupt", "evaluate"])
def test_the_process_is_left_as_it_was(way, flushed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.set_flush_denormal(flushed)
    try:
        run = dltrain.train(*OTHER) if way == "evaluate" else None
        before = state()
        match way:
            case "train":
                dltrain.train(*OTHER, allow=["a_package_of_mine"])
            case "main":
                with pytest.raises(SystemExit):
                    cli.main(OTHER)
            case "evaluate":
                run.evaluate("val")
            case "error":
                with pytest.raises(dltrain.errors.DivergedError):
                    dltrain.train(*OTHER[2:], "optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant")
            case "interrupt":
                monkeypatch.setattr("dltrain.training.experiment._loop", _interrupt)
                with pytest.raises(KeyboardInterrupt):
                    dltrain.train(*OTHER)
        assert state() == before
    finally:
        torch.set_flush_denormal(False)


def _interrupt(_session):
    raise KeyboardInterrupt
