"""How much memory there is, asked before something is made that would not fit."""

from __future__ import annotations

import math
import re
from pathlib import Path


def free_memory() -> float:
    """Bytes that this machine could give now; infinite where it doesn't say."""
    try:
        found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else math.inf
