"""The files of the data sets inside scikit-learn, read without importing it, which takes half a second."""

from __future__ import annotations

import csv
import gzip
import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dltrain.errors import DataError


def labelled(name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A CSV file of a classification: values float64 [N, K], class numbers int64 [N] and the names of the classes.

    Its first line holds N, K and the names; a row's last cell is its class.
    """
    header, *rows = csv.reader(_file(name).read_text(encoding="utf-8").splitlines())
    values = np.array([row[:-1] for row in rows], dtype=np.float64)
    return values, np.array([row[-1] for row in rows], dtype=np.int64), header[2:]


@cache
def numbers(name: str, *, delimiter: str | None = None) -> np.ndarray:
    """A compressed text file of numbers only: float64 [N, K], or [N] for a single column; read once, and not to be
    written to.
    """
    with gzip.open(_file(name), "rb") as file:
        text = file.read()
    found = _whole_numbers(text)
    made = np.loadtxt(io.StringIO(text.decode()), delimiter=delimiter) if found is None else found
    made.setflags(write=False)
    return made


def _whole_numbers(text: bytes) -> np.ndarray | None:
    """Lines of whole numbers with commas between them, as float64 [N, K], looked at all together: `np.loadtxt` takes
    15 ms for the digits. None for any other text.
    """
    digits = np.frombuffer(text, np.uint8) - ord("0")  # what lies below them is large then
    ends = np.flatnonzero(digits > 9)
    widths = np.diff(ends, prepend=-1) - 1
    lines = text.count(b"\n")
    if not text.endswith(b"\n") or lines + text.count(b",") != len(ends) or widths.min() < 1 or widths.max() > 15:
        return None  # of more than 15 digits float64 has not all
    values = digits[ends - 1].astype(np.float64)
    for k in range(1, widths.max()):
        longer = np.flatnonzero(widths > k)
        values[longer] += digits[ends[longer] - 1 - k] * 10.0**k
    return values.reshape(lines, -1)


def _file(name: str) -> Path:
    package = find_spec("sklearn")
    folders = [Path(p) / "datasets" / "data" for p in package.submodule_search_locations or []] if package else []
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise DataError(f"scikit-learn's file {name} is missing: pip install --force-reinstall scikit-learn")
    return found
