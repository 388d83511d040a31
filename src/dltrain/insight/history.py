"""The reports of a run as curves: what is no finite number there is left out."""

from __future__ import annotations

from collections.abc import Sequence

from dltrain.runs import reading
from dltrain.runs.reading import Report, Run


def logged(run: Run) -> list[Report]:
    """The reports of a run that say where they stand."""
    return [report for report in reading.read_log(run.folder) if reading.is_number(report.get("epoch"))]


def values(reports: Sequence[Report], name: str) -> list[float]:
    """A number of each report that has it."""
    return [value for report in reports if reading.is_number(value := report.get(name))]


def points(reports: Sequence[Report], name: str, *, over: str = "epoch") -> list[tuple[float, float]]:
    """The curve of a number over the epochs, or over another number, in the order of the reports."""
    pairs = ((report.get(over), report.get(name)) for report in reports)
    return [(x, y) for x, y in pairs if reading.is_number(x) and reading.is_number(y)]
