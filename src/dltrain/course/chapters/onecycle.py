"""One cycle against a constant rate: what each does at every step, and where each ends, by the rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import onecycle as plots
from dltrain.insight import pictures
from dltrain.trained.whole_run import load

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun


def study(done: Sequence[Done]) -> Seen:
    schedules, rates = looks.typed(done[0], "scheduler"), list(map(float, looks.typed(done[0], "optimizer.lr")))
    runs = [load(folder) for folder in looks.table(done[0])["folder"]]
    jobs = list(zip(schedules, rates, runs, strict=True))
    names, low, high = list(dict.fromkeys(schedules)), min(rates), max(rates)
    found = {n: {rate: [_end(run) for m, r, run in jobs if (m, r) == (n, rate)] for rate in rates} for n in names}
    cycle, constant = ({rate: mean(of_seeds) for rate, of_seeds in found[n].items()} for n in (names[0], names[-1]))
    best = min(constant, key=constant.__getitem__)
    spread = [max(found[n][high]) - min(found[n][high]) for n in (names[0], names[-1])]
    shown = dict.fromkeys([(names[0], high), (names[-1], high), (names[-1], best)])
    first = {(n, r): run for n, r, run in reversed(jobs)}  # of the first seed
    told = {f"{n}, {rate:g}": _told(first[n, rate]) for n, rate in shown}
    ended = cycle[high]
    return Seen(
        [
            Number(f"validation loss at {high:g}, one cycle", ended, 0.11, 0.20, ".2f"),
            Number(f"validation loss at {high:g}, constant", constant[high], 0.22, 0.95, ".2f"),
            Number("validation loss at the best constant rate", constant[best], 0.15, 0.26, ".2f"),
            Number("the first over the third", ended / constant[best], 0.6, 0.95, ".2f"),
            Number(f"worst less best seed at {high:g}, one cycle", spread[0], 0.01, 0.08, ".2f"),
            Number(f"worst less best seed at {high:g}, constant", spread[1], 0.05, 1.60, ".2f"),
            Number(f"validation loss at {low:g}, one cycle", cycle[low], 0.30, 0.40, ".2f"),
            Number(f"validation loss at {low:g}, constant", constant[low], 0.17, 0.29, ".2f"),
        ],
        3 if ended < constant[best] else 2 if ended < constant[high] else 1,
        f"One cycle up to {high:g} ended at {ended:.2f}. Held constant, this rate ended at {constant[high]:.2f}, and "
        f"the best of {len(constant)}, {best:g}, at {constant[best]:.2f}.",
        [
            looks.picture("schedule.png", "What the rate does, and the loss", _moving(told), plots.over_steps(told)),
            looks.picture("rates.png", "Where each ends, by the rate", _rated(found), plots.over_rates(found)),
        ],
    )


def _end(run: TrainedRun) -> float:
    """The validation loss after the last step: that of the best epoch would hide how a constant rate ends."""
    history = run.history
    losses = history["val/loss"].drop_nulls().to_list() if "val/loss" in history.columns else [math.inf]
    last = losses[-1] if losses else math.inf
    return math.inf if math.isnan(last) else last


def _moving(told: dict[str, plots.Told]) -> str:
    """How the first of them comes to be below all others."""
    first, *others = told.values()
    last = max(first.reported, default=0)
    behind = [
        step
        for other in others
        for step, mine, its in zip(first.reported, first.losses, other.losses, strict=False)
        if mine >= its
    ]
    ahead = min((step for step in first.reported if step > max(behind, default=-1)), default=None)
    passed = (
        f"Its train loss is not the lowest at the last step, {last}."
        if ahead is None
        else f"From step {ahead} to the last, {last}, its train loss is the lowest of all, as the rate falls."
    )
    return f"All with the first seed. The cycle's rate is nowhere above that of its peak held constant. {passed}"


def _rated(found: dict[str, dict[float, list[float]]]) -> str:
    cycle, constant = next(iter(found.values())), [*found.values()][-1]
    better = [f"{rate:g}" for rate in sorted(cycle) if mean(cycle[rate]) < mean(constant[rate])]
    return (
        f"Each large dot is the mean validation loss of {max(map(len, cycle.values()))} seeds, the small dots, after "
        "the last step; the lowest is ringed, and with other seeds may be its neighbour. The cycle is the lower at "
        f"{' and '.join(better) or 'no rate'}. Where the rate is small its start and its end cost steps; where it is "
        "large a constant rate ends elsewhere with each seed, while the cycle's last steps are small."
    )


def _told(run: TrainedRun) -> plots.Told:
    plan = looks.plan(run)
    planned = pictures.planned(plan, plan.total_steps)
    assert planned is not None  # neither has a memory
    steps, rates, momenta, _ = planned
    logged = run.history.drop_nulls("train/loss")
    return plots.Told(steps, rates, momenta, logged["step"].to_list(), logged["train/loss"].to_list())
