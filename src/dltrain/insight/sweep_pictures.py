"""The pictures of a sweep: what its runs say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from dltrain.insight import history
from dltrain.insight.pictures import Gallery
from dltrain.insight.plots import sweeps
from dltrain.insight.plots.sweeps import Score, Trial, Value
from dltrain.parts.metrics import larger_is_better
from dltrain.runs import seeds
from dltrain.runs.reading import Run

_SEED = "seed"
_MOST = 6  # keys shown one below the other
_LINES, _CURVES = 500, 100  # runs that are drawn, each as a line of its own
_T = TypeVar("_T")


def keys(jobs: Sequence[Run]) -> list[str]:
    """What the sweep varied: the keys and groups whose typed values differ, the seed last."""
    names = dict.fromkeys(name for run in jobs for name in run.typed)
    varied = [name for name in names if len({run.typed.get(name) for run in jobs}) > 1]
    return sorted(varied, key=lambda name: name == _SEED)


def value(run: Run, key: str) -> Value:
    """What a run had there: a number as a number, a choice as it was typed; empty where nothing was."""
    found = run.config.get(key)
    return found if isinstance(found, (int, float)) else run.typed.get(key, "")


def score(jobs: Sequence[Run]) -> Score | None:
    """The metric that chose each run's best epoch, where one has it."""
    metric = seeds.criterion(jobs)
    return Score(metric.removeprefix("best/"), larger_is_better(metric)) if metric else None


def of_sweep(jobs: Sequence[Run]) -> Gallery:
    """All pictures of a sweep."""
    gallery, judge = Gallery(), score(jobs)
    if judge is None:
        gallery.notes.append("no run has a validation metric yet: there is nothing to compare")
        return gallery
    ended = [run for run in jobs if f"best/{judge.name}" in run.numbers]
    if len(ended) < len(jobs):
        gallery.notes.append(f"{len(jobs) - len(ended)} of {len(jobs)} runs have no metric and are in no picture")
    varied = keys(ended)
    places = {run.folder: place for place, run in enumerate(seeds.in_order(ended))}
    trials = [
        Trial({k: value(run, k) for k in varied}, run.numbers[f"best/{judge.name}"], places[run.folder])
        for run in ended
    ]
    if varied:
        _compare(gallery, trials, varied, judge)
    _curves(gallery, ended, varied, judge)
    return gallery


def _compare(gallery: Gallery, trials: list[Trial], varied: list[str], judge: Score) -> None:
    plain = [key for key in varied if key != _SEED]
    better = "higher" if judge.larger else "lower"
    if len(plain) > 1:
        caption = (
            f"Each line is one run, through the values that it was given to the best {judge.title} that it "
            f"reached ({better} is better). The best run is orange. Where dark lines meet, a value helps."
            f"{_of_them(trials, _LINES)}"
        )
        lines = _some(sorted(trials, key=lambda trial: trial.place), _LINES)
        gallery.add("parallel.png", "All runs at once", caption, lambda: sweeps.parallel(lines, plain, judge))
    caption = (
        "Every dot is a run, the best one orange. Dots of one value that spread widely: something else matters more "
        "there, or it is chance; try several seeds."
    )
    shown = varied[:_MOST]
    gallery.add("against.png", "One key at a time", caption, lambda: sweeps.against(trials, shown, judge))
    for number, pair in enumerate(sweeps.pairs(trials, plain), start=1):
        caption = "The mean over the runs of each cell; dark is good. The best cell at an edge: try values beyond it."
        title, name = f"{pair[0]} and {pair[1]}", f"heat{number}.png"
        gallery.add(name, title, caption, lambda pair=pair: sweeps.heat(trials, pair, judge))


def _curves(gallery: Gallery, ended: Sequence[Run], varied: list[str], judge: Score) -> None:
    """Their learning curves over each other, the best run last."""
    logs = []
    for run in reversed(_some(seeds.in_order(ended), _CURVES)):
        told = " ".join(f"{key.rpartition('.')[2]}={value(run, key)}" for key in varied)[:48]
        logs.append((told or run.folder.name, history.logged(run)))
    moves = "rises" if judge.larger else "falls"
    caption = f"How each run came to its result: a curve that still {moves} at the end would gain from more epochs."
    caption += _of_them(ended, _CURVES)
    gallery.add("curves.png", "The learning curves of all runs", caption, lambda: sweeps.curves(logs, judge))


def _some(ranked: Sequence[_T], most: int) -> Sequence[_T]:
    """So many of them at most, evenly from the first to the last."""
    if len(ranked) <= most:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / (most - 1))] for i in range(most)]


def _of_them(runs: Sequence[object], most: int) -> str:
    if len(runs) <= most:
        return ""
    return f" Of {len(runs):,} runs {most} are drawn, evenly from the best to the worst."
