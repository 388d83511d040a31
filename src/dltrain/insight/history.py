"""The reports of a run as curves: what is no finite number there is left out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median, pstdev
from typing import NamedTuple

from dltrain.runs import foreign, pulse, reading
from dltrain.runs.foreign import Values
from dltrain.runs.reading import Report, Run


class Look(NamedTuple):
    """What each layer was like at a report."""

    epoch: float
    layers: list[Values]
    step: int | None = None


_MOST_LOOKS = 1_000
_TURNED = 1.1  # a validation loss that has risen by so much from its lowest, while the train loss fell
_EVEN = 1.02  # the same, to the eye


def logged(run: Run) -> list[Report]:
    """The reports of a run that say where they stand."""
    return [report for report in reading.read_log(run.folder) if reading.is_number(report.get("epoch"))]


OVER = ("epochs", "steps", "samples", "seconds")  # what curves may be drawn over


def over(run: Run, reports: Sequence[Report]) -> list[Report]:
    """The same reports with `samples` that were trained on, and the `seconds` that this took, validations apart."""
    rows, told, before = _rows_of_a_step(run, reports), list[Report](), 0.0
    seconds: float | None = 0.0
    for report in reports:
        step, rate = report.get("step"), report.get("train/samples_per_s")
        if not (reading.is_number(step) and rows):
            told.append(report)
            continue
        fast = reading.is_number(rate) and rate > 0
        seconds = seconds + (step - before) * rows / rate if seconds is not None and fast else None
        before = step
        told.append({**report, "samples": step * rows, "seconds": seconds})
    return told


def _rows_of_a_step(run: Run, reports: Sequence[Report]) -> float:
    """How many rows a step takes, as a mean over an epoch; 0 where that is not known."""
    last = reports[-1] if reports else {}
    epoch, step, limit = last.get("epoch"), last.get("step"), run.config.get("trainer.limit_train_batches")
    size, parts = run.config.get("data.batch_size"), reading.read_json(run.folder / "data.json")[0]
    train = reading.node(reading.node(parts).get("rows")).get("train")
    if limit is None and reading.is_number(train) and reading.is_number(epoch) and reading.is_number(step) and step:
        return train * epoch / step
    return float(size) if reading.is_number(size) else 0.0


def looks(folder: Path) -> list[Look]:
    """What `diagnose=true` saw of each layer at each report; of many looks every second, fourth, ..."""
    kept: list[Look] = []
    every = 1
    with suppress(OSError):
        for count, line in enumerate(foreign.lines(folder / "diagnosis.jsonl")):
            if count % every:
                continue
            with suppress(ValueError):
                found = reading.node(foreign.parse_json(line))
                epoch, layers = found.get("epoch"), found.get("layers")
                if reading.is_number(epoch) and isinstance(layers, list):
                    step = found.get("step")
                    own = [reading.node(layer) for layer in layers]
                    kept.append(Look(float(epoch), own, int(step) if reading.is_number(step) else None))
            if len(kept) == _MOST_LOOKS:
                kept, every = kept[::2], 2 * every
    return kept


def values(reports: Sequence[Report], name: str) -> list[float]:
    """A number of each report that has it."""
    return [value for report in reports if reading.is_number(value := report.get(name))]


def points(reports: Sequence[Report], name: str, *, over: str = "epoch") -> list[tuple[float, float]]:
    """The curve of a number over the epochs, or over another number, in the order of the reports."""
    pairs = ((report.get(over), report.get(name)) for report in reports)
    return [(x, y) for x, y in pairs if reading.is_number(x) and reading.is_number(y)]


def overfit(reports: Sequence[Report]) -> float | None:
    """The epoch from which on the validation loss rises while the train loss falls; 0 where it does not, or not by more
    than a tenth and its swings, and None where there are no such losses, or of one validation alone.
    """
    train, val = (points(reports, name) for name in ("train/loss", "val/loss"))
    if not train or len(val) < 2:
        return None
    smooth = _smooth(val)
    epoch, lowest = _turn(val, smooth)
    noise = pstdev(loss - even for (e, loss), (_, even) in zip(val, smooth, strict=True) if e >= epoch)
    turned = smooth[-1][1] > max(_TURNED * lowest, lowest + 1.5 * noise)
    return epoch if turned and lowest > 0 and _falls(train, epoch) else 0.0


def not_overfit(reports: Sequence[Report]) -> str:
    """Where a run does not overfit: what its validation loss does instead, with how clear that is."""
    train, val = (points(reports, name) for name in ("train/loss", "val/loss"))
    smooth = _smooth(val)
    epoch, lowest = _turn(val, smooth)
    if smooth[-1][1] <= _EVEN * lowest or not _falls(train, epoch):
        return "no: the validation loss does not rise while the train loss falls"
    clear = "slightly" if smooth[-1][1] <= _TURNED * lowest else "unclear, for it swings"
    at, least = min(val, key=lambda point: point[1])
    lowest_of_all = f"{least:.4g} (epoch {pulse.epoch(at)})"
    return f"{clear}: the validation loss ends at {val[-1][1]:.4g}, and its lowest was {lowest_of_all}"


def _turn(val: list[tuple[float, float]], smooth: list[tuple[float, float]]) -> tuple[float, float]:
    """The epoch of the lowest loss near where the even curve is lowest, and how low that is."""
    at = min(range(len(smooth)), key=lambda i: smooth[i][1])
    reach = _reach(val)
    return min(val[max(0, at - reach) : at + reach + 1], key=lambda point: point[1])[0], smooth[at][1]


def _falls(train: list[tuple[float, float]], epoch: float) -> bool:
    """Whether the train loss is lower at the end than at that epoch."""
    before = [loss for e, loss in train if e <= epoch]
    return bool(before) and train[-1][1] < before[-1]


def _reach(curve: list[tuple[float, float]]) -> int:
    return len(curve) // 10


def _smooth(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A curve of medians, each over a tenth of the points on either side: its lowest point is no lucky epoch."""
    reach, losses = _reach(curve), [loss for _, loss in curve]
    return [(epoch, median(losses[max(0, i - reach) : i + reach + 1])) for i, (epoch, _) in enumerate(curve)]
