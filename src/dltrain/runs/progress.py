"""What a run shows of itself while it lasts: a bar at a terminal or in a notebook, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

from dltrain.errors.output import say
from dltrain.parts import metrics
from dltrain.runs.pulse import Pulse, duration, per_second

if TYPE_CHECKING:
    from tqdm import tqdm

_LINE, _VALIDATION = 30.0, 10.0  # seconds between two lines; between two where one tells of a validation
_SHORT = {"accuracy": "acc"}  # names for a narrow terminal
_NARROW = 80  # columns
_BAR = 10  # columns of the bar itself, at least

Metrics = Mapping[str, float]  # by their names in a report: train/loss, val/accuracy, ...


def _in_a_notebook() -> bool:
    return type(sys.stderr).__module__.partition(".")[0] == "ipykernel"


def is_seen() -> bool:
    """Whether somebody looks on: at a terminal, or in a notebook."""
    return sys.stderr.isatty() or _in_a_notebook()


class Bar:
    """A bar that keeps what matters most on one line, however narrow it is."""

    every = 0.1  # seconds between two looks of it

    def __init__(self, total: int, start: int, monitor: str = "") -> None:
        self._monitor = monitor
        if _in_a_notebook():
            with warnings.catch_warnings(action="ignore"):  # without ipywidgets it is drawn in letters
                from tqdm.auto import tqdm
        else:
            from tqdm import tqdm

        self._bar: tqdm[NoReturn] = tqdm(total=total, initial=start, dynamic_ncols=True, bar_format=layout([], None))

    def show(self, word: Pulse, numbers: Metrics) -> None:
        """Draws it anew."""
        columns = self._bar.format_dict.get("ncols")
        shown = parts(word, numbers, monitor=self._monitor, narrow=bool(columns and columns < _NARROW))
        self._bar.bar_format, self._bar.n = layout([*shown.values()], columns), word.step
        self._bar.refresh()

    def validated(self, word: Pulse, numbers: Metrics) -> None:
        """It is drawn again soon."""

    def close(self, word: Pulse, numbers: Metrics) -> None:
        """Draws it for the last time."""
        self.show(word, numbers)
        self._bar.close()


def layout(shown: list[str], columns: int | None) -> str:
    """The form of tqdm's line: its share, its bar, and as many of these parts, in their order, as there is room for."""
    room = (columns or 1000) - len("100%|| ") - _BAR
    kept: list[str] = []
    for part in shown:
        if sum(map(len, kept)) + 2 * len(kept) + len(part) > room:
            break
        kept.append(part)
    return f"{{percentage:3.0f}}%|{{bar}}| {', '.join(kept)}"


def parts(word: Pulse, numbers: Metrics, *, monitor: str = "", narrow: bool = False) -> dict[str, str]:
    """How far a run is, in words, those first that matter most; monitor: the metric that chooses the best epoch."""
    found: dict[str, str] = {}
    if word.left is not None and word.step < word.total:
        found["left"] = f"{duration(word.left)} left"
    if "train/loss" in numbers:
        found["loss"] = f"loss {numbers['train/loss']:.4g}"
    for name in dict.fromkeys([monitor.removeprefix("val/"), *metrics.MAIN, "loss"]):
        if f"val/{name}" in numbers:
            value = metrics.text(name, numbers[f"val/{name}"])
            found[f"val {name}"] = f"val {_SHORT.get(name, name) if narrow else name} {value}"
    if "train/mistakes" in numbers:
        found["mistakes"] = f"{numbers['train/mistakes']:,.0f} mistake{'s' * (numbers['train/mistakes'] != 1)}"
    found["steps"] = f"{word.step:,}/{word.total:,} steps"
    if word.rate is not None:
        found["rate"] = f"{per_second(word.rate)} steps/s"
    if "train/lr" in numbers:
        found["lr"] = f"lr {numbers['train/lr']:.2g}"
    if "train/samples_per_s" in numbers:
        found["samples"] = f"{numbers['train/samples_per_s']:,.0f} samples/s"
    return found


class Lines:
    """A plain line every half minute, and after a validation unless there has just been one: for a file, say."""

    every = 1.0  # seconds between two looks at whether it is time

    def __init__(self, monitor: str = "") -> None:
        self._last, self._monitor = time.monotonic(), monitor

    def show(self, word: Pulse, numbers: Metrics, *, after: float = _LINE) -> None:
        """A line, if the last is so many seconds old."""
        if (now := time.monotonic()) - self._last >= after:
            self._last = now
            say(line(word, numbers, self._monitor), error=True, flush=True)

    def validated(self, word: Pulse, numbers: Metrics) -> None:
        """The same after a validation."""
        self.show(word, numbers, after=_VALIDATION)

    def close(self, word: Pulse, numbers: Metrics) -> None:
        """The result is told by others."""


def shown(total: int, start: int, monitor: str = "") -> Bar | Lines:
    """What suits who looks on; monitor: the metric that chooses the best epoch."""
    return Bar(total, start, monitor) if is_seen() else Lines(monitor)


def line(word: Pulse, numbers: Metrics, monitor: str = "") -> str:
    """The same for a log."""
    shown = parts(word, numbers, monitor=monitor)
    named = [shown[name] for name in shown if name not in ("left", "steps")]
    named += [shown["left"]] if "left" in shown else []
    return f"{word.place}: {', '.join(named)}"
