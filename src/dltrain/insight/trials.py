"""The trials of a sweep as plain values: what each was given, what it reached, and in which order they ended."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dltrain.insight import listing
from dltrain.parts.metrics import larger_is_better
from dltrain.runs import jobs, reading, seeds
from dltrain.runs.reading import Run

Value = float | str  # of a key: a number as a number, anything else as it was typed

SEED = "seed"
_MOST_KEYS = 100  # that are looked at: each has a picture's axis, and each two may have a picture
MISSING = "-"  # the value of a key that a job does not have


@dataclass(frozen=True)
class Trial:
    """What is compared: the value of each key, the score, finite, and the place among all, 0 for the best; the names of
    its jobs.
    """

    values: Mapping[str, Value]
    score: float
    place: int
    jobs: str = ""

    @property
    def told(self) -> str:
        """Which it is, and what it was given."""
        given = " ".join(f"{key.rpartition('.')[2]}={v}" for key, v in self.values.items() if v != MISSING)
        return f"{self.named}: {given}" if self.jobs else given

    @property
    def named(self) -> str:
        """Its jobs in words."""
        own = self.jobs.split(",")
        return f"job{'s' * (len(own) > 1)} {listed(own)}"


@dataclass(frozen=True)
class Score:
    """The metric that judges: its plain name (accuracy, train_loss), and whether larger is better."""

    name: str
    larger: bool

    @property
    def logged(self) -> str:
        """Its name in the reports of a run."""
        return "train/loss" if self.name == "train_loss" else f"val/{self.name}"

    @property
    def title(self) -> str:
        """Its name for a person."""
        return self.logged.replace("val/", "validation ").replace("/", " ")


def keys(jobs: Sequence[Run]) -> list[str]:
    """What the sweep varied: keys and groups whose typed values differ, of many the first hundred, the seed last; which
    fold it is no more than which job.
    """
    found: dict[str, Counter[str]] = {}
    for run in jobs:
        for name, typed in run.typed.items():
            found.setdefault(name, Counter())[typed] += 1
    varied = [name for name, typed in found.items() if len(typed) > 1 or typed.total() < len(jobs)]
    repeated = seeds.keys(jobs)
    own = [name for name in varied if name not in repeated]
    return own[:_MOST_KEYS] + [SEED] * (SEED in varied)


def value(run: Run, key: str) -> Value:
    """What a run had there: a number as a number, a choice as it was typed; `MISSING` where nothing was."""
    found = run.config.get(key)
    return found if isinstance(found, (int, float)) else listing.chosen(run).get(key, MISSING)


def score(jobs: Sequence[Run]) -> Score | None:
    """The metric that chose each run's best epoch, where one has it."""
    metric = seeds.criterion(jobs)
    return Score(metric.removeprefix("best/"), larger_is_better(metric)) if metric else None


def of_groups(ranked: Sequence[Sequence[Run]], varied: Sequence[str], judge: Score) -> list[Trial]:
    """One trial for each configuration, best first: its score is the mean over its seeds and folds. Those without one,
    as one of which a job diverged or failed, are left out.
    """
    given = [(group, seeds.values(group, f"best/{judge.name}")) for group in ranked if not seeds.failed(group)]
    rated = [(group, numbers) for group, numbers in given if numbers]
    plain = [key for key in varied if key != SEED]
    return [
        Trial({k: value(group[0], k) for k in plain}, statistics.fmean(numbers), place, job_numbers(group))
        for place, (group, numbers) in enumerate(rated)
    ]


def job_numbers(group: Sequence[Run]) -> str:
    """Which jobs they are, as 4,17."""
    return ",".join(sorted((run.folder.name for run in group), key=lambda name: (len(name), name)))


def listed(names: Sequence[str], *, most: int = 12) -> str:
    """Names as they stand in a sentence: a, b and c; of many the first ones and how many more."""
    shown = [*names] if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1:,} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1]))) if shown else ""


def in_time(trials: Sequence[Trial], folder: Path | None) -> list[Trial]:
    """The trials in the order in which they ended, as the lines of jobs.jsonl have it: each with the last of its jobs.
    A job that has no line there comes by its number, after those.
    """
    ended: dict[str, int] = {}
    with suppress(OSError):
        for number, line in enumerate(jobs.lines(folder) if folder else ()):
            if line["state"] in (*reading.ENDED, "pruned"):
                ended[str(line["job"])] = number

    def when(trial: Trial) -> tuple[float, int]:
        own = trial.jobs.split(",")
        return max(ended.get(job, math.inf) for job in own), max((int(j) for j in own if j.isdecimal()), default=0)

    return sorted(trials, key=when)


def records(ordered: Sequence[Trial], *, larger: bool) -> list[int]:
    """Which of the trials, in their order, were better than all before them; of two equal scores the better place."""
    found: list[int] = []

    def worth(trial: Trial) -> tuple[float, int]:
        return trial.score if larger else -trial.score, -trial.place

    for i, trial in enumerate(ordered):
        if not found or worth(trial) > worth(ordered[found[-1]]):
            found.append(i)
    return found


@dataclass(frozen=True)
class Mean:
    """The mean of the scores at a place of an axis, and half its 95 % interval (Student's t); None for one value."""

    place: float
    mean: float
    half: float | None


def means(points: Sequence[tuple[float, float]], bins: int | None = None) -> list[Mean]:
    """The mean score at each place, or in so many bins of equal width; (place, score) each. An empty bin has none."""
    low, high = min(place for place, _ in points), max(place for place, _ in points)
    groups: dict[float, list[float]] = {}
    for place, own in sorted(points):
        if bins and high > low:
            width = (high - low) / bins
            place = low + (min(int((place - low) / width), bins - 1) + 0.5) * width
        groups.setdefault(place, []).append(own)
    return [Mean(place, statistics.fmean(own), _half(own)) for place, own in groups.items()]


def _half(numbers: Sequence[float]) -> float | None:
    if len(numbers) < 2:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(len(numbers) - 1, 0.975)) * statistics.stdev(numbers) / math.sqrt(len(numbers))
