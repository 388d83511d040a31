"""How much memory a piece of work takes, by the operating system's count: torch's own memory is no Python object."""

import gc
import os
from pathlib import Path

import pytest


def peak_of(work):
    """How many bytes this process had more than before, at the most, while `work()` ran."""
    clear = Path("/proc/self/clear_refs")
    if not os.access(clear, os.W_OK):
        pytest.skip("needs a kernel that can forget the highest memory")
    gc.collect()
    clear.write_text("5")
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
