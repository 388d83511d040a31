"""The files of the data sets inside scikit-learn, read without importing it, which takes half a second."""

from __future__ import annotations

import csv
import gzip
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


def numbers(name: str, *, delimiter: str | None = None) -> np.ndarray:
    """A compressed text file of numbers only: float64 [N, K], or [N] for a single column."""
    with gzip.open(_file(name), "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=delimiter)


def _file(name: str) -> Path:
    package = find_spec("sklearn")
    folders = [Path(p) / "datasets" / "data" for p in package.submodule_search_locations or []] if package else []
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise DataError(f"scikit-learn's file {name} is missing: pip install --force-reinstall scikit-learn")
    return found
