"""What a run sets for the whole process, and how it is put back for a program that goes on after it."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dltrain.engine import devices, products

_alone = threading.RLock()


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """Inside, autograd works and numbers are float32, whatever was set; afterwards the process has what it had before:
    the generators of Python, NumPy and torch, how many threads torch has, whether it keeps to deterministic kernels and
    counts tiny numbers as 0, its type of numbers, whose products are used, and sys.path. They are the process's: of
    several threads of Python one is inside at a time, and others wait.
    """
    with _alone, torch.inference_mode(False), torch.enable_grad(), _restored():
        yield


@contextmanager
def _restored() -> Iterator[None]:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    others = [(device, state) for device in devices.in_use() if (state := devices.random_state(device)) is not None]
    threads, kernels, flushed = torch.get_num_threads(), products.used(), _flushed()
    deterministic, numbers = _deterministic(), torch.get_default_dtype()
    paths = [*sys.path]
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for device, state in others:
            devices.set_random_state(state, device)
        torch.set_default_dtype(numbers)
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
