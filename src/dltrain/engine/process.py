"""What a run sets for the whole process, and how it is put back for a program that goes on after it."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dltrain.engine import devices, products


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Afterwards the process has what it had before: the generators of Python, NumPy and torch, how many threads torch
    has, whether it keeps to deterministic kernels and counts tiny numbers as 0, whose products are used, sys.path.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    others = [(device, state) for device in devices.in_use() if (state := devices.random_state(device)) is not None]
    threads, kernels, flushed = torch.get_num_threads(), products.used(), _flushed()
    deterministic = _deterministic()
    paths = [*sys.path]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for device, state in others:
            devices.set_random_state(state, device)
        torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)
        products.use(kernels)
        if _deterministic() != deterministic:  # setting it imports torch's compiler
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        sys.path[:] = paths


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _flushed() -> bool:
    """Whether numbers too small for float32's exponent count as 0 in this thread: torch has no way to ask."""
    return not torch.tensor([1e-39]).mul_(1.0).item()
