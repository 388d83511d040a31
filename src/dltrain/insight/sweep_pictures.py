"""The pictures of a sweep: what its runs say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from dltrain.insight import history, importance, trials
from dltrain.insight.gallery import Gallery
from dltrain.insight.plots import number, sweeps
from dltrain.insight.trials import SEED, Score, Trial, keys, score, value
from dltrain.runs import reading, seeds
from dltrain.runs.reading import Run

_MOST = 6  # keys shown one below the other
_BARS = 12  # keys whose importance is shown
_LINES, _CURVES = 500, 100  # runs that are drawn, each as a line of its own
_T = TypeVar("_T")


def of_sweep(groups: Sequence[Sequence[Run]]) -> Gallery:
    """All pictures of a sweep, whose jobs are `seeds.ranked`."""
    jobs = [run for group in groups for run in group]
    gallery, judge = Gallery(), score(jobs)
    ended = [run for run in jobs if judge and f"best/{judge.name}" in run.numbers and not seeds.failed([run])]
    if judge is None or not ended:
        gallery.notes.append("no run that did not fail has a validation metric yet: there is nothing to compare")
        return gallery
    if out := len(jobs) - len(ended):
        gallery.notes.append(f"{out} of {len(jobs)} runs failed, diverged or have no metric, and are in no picture")
    varied = keys(ended)
    each = [
        Trial({k: value(run, k) for k in varied}, run.numbers[f"best/{judge.name}"], place, run.folder.name)
        for place, run in enumerate(ended)
    ]
    together = trials.of_groups(groups, varied, judge)
    if varied:
        _important(gallery, together, varied, judge)
        _compare(gallery, each, varied, judge)
        _so_far(gallery, trials.in_time(together, ended[0].sweep), judge)
    _curves(gallery, ended, varied, judge)
    return gallery


def _important(gallery: Gallery, together: list[Trial], varied: list[str], judge: Score) -> None:
    plain = [key for key in varied if key != SEED]
    if len(plain) < 2:
        return  # one key decides all that is no chance
    found = importance.of_trials(together, plain)
    if found is None:
        gallery.notes += [importance.too_few(len(together))] * (len(together) < importance.FEWEST)
        return
    if not found.told:
        gallery.notes.append(importance.sentence(found, judge))
        return
    forest = f"a random forest of what they were given foretells {found.foretold * 100:.0f} % of the differences"
    caption = (
        f"{importance.sentence(found, judge)} From {found.trials} trials{_over_seeds(varied)}: {forest} of trials that "
        "it has not seen, and a bar is what one key makes of its answers, over the whole range that was tried (fANOVA, "
        "Hutter et al. 2014). The whisker holds 95 % of its trees, each grown on trials drawn anew."
    )
    gallery.add("importance.png", "Which key decides", caption, lambda: sweeps.importance(found.shares[:_BARS]))


def _over_seeds(varied: list[str]) -> str:
    return ", each the mean over its seeds" * (SEED in varied)


def _so_far(gallery: Gallery, ordered: list[Trial], judge: Score) -> None:
    if len(ordered) < 3:
        return
    records = trials.records(ordered, larger=judge.larger)
    last, since = ordered[records[-1]], len(ordered) - 1 - records[-1]
    given = " ".join(f"{key}={found}" for key, found in last.values.items() if found != trials.MISSING)
    after = {0: "It was the last to end", 1: "The one that ended after it was not better"}
    caption = (
        f"In the order in which they ended; beside the last records the numbers of their jobs. The best, "
        f"{number(judge.name, last.score)}, is trial {records[-1] + 1} of {len(ordered)} ({last.named}: {given}). "
        f"{after.get(since, f'The {since:,} that ended after it were not better')}."
    )
    gallery.add("sofar.png", "The best so far", caption, lambda: sweeps.so_far(ordered, records, judge))


def _compare(gallery: Gallery, trials: list[Trial], varied: list[str], judge: Score) -> None:
    plain = [key for key in varied if key != SEED]
    better = "higher" if judge.larger else "lower"
    if len(plain) > 1:
        caption = (
            f"Each line is one run, through the values that it was given to the best {judge.title} that it "
            f"reached ({better} is better). The best run is orange. Where strong lines meet, a value helps."
            f"{_of_them(trials, _LINES)}"
        )
        lines = _some(sorted(trials, key=lambda trial: trial.place), _LINES)
        gallery.add("parallel.png", "All runs at once", caption, lambda: sweeps.parallel(lines, plain, judge))
    caption = (
        "Every dot is a run, the best one orange; those of one value and about one result stand side by side. The "
        "lines are means with their 95 % intervals, of each value or of neighbours: where the intervals do not meet, "
        "it is the value that counts; an arrow says that one goes on. Dots of one value that spread widely: something "
        "else matters more there, or it is chance; try several seeds."
    )
    shown = (plain or varied)[:_MOST]
    gallery.add("against.png", "One key at a time", caption, lambda: sweeps.against(trials, shown, judge))
    for place, pair in enumerate(sweeps.pairs(trials, plain), start=1):
        caption = "The mean over the runs of each cell: the stronger its colour, the better."
        if any(reading.is_number(trial.values[key]) for key in pair for trial in trials):  # names have no beyond
            caption += " The best cell at an edge: try values beyond it."
        title, name = f"{pair[0]} and {pair[1]}", f"heat{place}.png"
        gallery.add(name, title, caption, lambda pair=pair: sweeps.heat(trials, pair, judge))


def _curves(gallery: Gallery, ordered: Sequence[Run], varied: list[str], judge: Score) -> None:
    """Their learning curves over each other, the best run last."""
    logs = []
    for run in reversed(_some(ordered, _CURVES)):
        told = " ".join(f"{key.rpartition('.')[2]}={value(run, key)}" for key in varied)[:48]
        logs.append((f"{run.folder.name}: {told}" if told else f"job {run.folder.name}", history.logged(run)))
    moves = "rises" if judge.larger else "falls"
    caption = f"How each run came to its result, the best one orange: a curve that still {moves} at the end would gain "
    caption += "from more epochs."
    caption += _of_them(ordered, _CURVES)
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
