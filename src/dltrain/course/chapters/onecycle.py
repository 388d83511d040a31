"""One cycle against a constant rate: what each does at every step, and where each ends, by the rate."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import onecycle as plots
from dltrain.insight import pictures

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun


def study(done: Sequence[Done]) -> Seen:
    schedules, rates = looks.typed(done[0], "scheduler"), list(map(float, looks.typed(done[0], "optimizer.lr")))
    jobs = list(zip(schedules, rates, looks.numbers(done[0], "test/loss"), looks.table(done[0])["folder"], strict=True))
    names, low, high = list(dict.fromkeys(schedules)), min(rates), max(rates)
    found = {n: {rate: [loss for m, r, loss, _ in jobs if (m, r) == (n, rate)] for rate in rates} for n in names}
    losses = {n: {rate: mean(of_seeds) for rate, of_seeds in told.items()} for n, told in found.items()}
    count = max(len(of_seeds) for told in found.values() for of_seeds in told.values())
    drawn = {n: _told(looks.load(folder)) for n, rate, _, folder in reversed(jobs) if rate == high}  # of the first seed
    drawn = {n: drawn[n] for n in names}
    cycle, constant = losses[names[0]], losses[names[-1]]
    small, large = cycle[low] < constant[low], cycle[high] < constant[high]
    moving = (
        f"Both at the rate {high:g}, with the first seed. The cycle's rate is never larger than the constant one. "
        + _passed(drawn[names[0]], drawn[names[-1]])
    )
    better = [f"{rate:g}" for rate in sorted(cycle) if cycle[rate] < constant[rate]]
    rated = (
        f"Each large dot is the mean test loss of {count} seeds, the small dots, after the same steps; the lowest "
        "is ringed, and with other seeds may be its neighbour. The cycle is the lower at "
        f"{' and '.join(better) or 'no rate'}. Where the rate is small its start and its end cost steps; where it is "
        "large a constant rate jumps to and fro at the end, and the cycle's last steps are small."
    )
    return Seen(
        [
            Number(f"test loss at {low:g}, one cycle", cycle[low], 0.25, 0.45, ".2f"),
            Number(f"test loss at {low:g}, constant", constant[low], 0.15, 0.30, ".2f"),
            Number(f"test loss at {high:g}, one cycle", cycle[high], 0.08, 0.19, ".2f"),
            Number(f"test loss at {high:g}, constant", constant[high], 0.15, 0.50, ".2f"),
        ],
        1 if small and large else 2 if large else 3 if small else 4,
        f"At the rate {low:g} one cycle ended at {cycle[low]:.2f} and the constant rate at {constant[low]:.2f}; at "
        f"{high:g} they ended at {cycle[high]:.2f} and {constant[high]:.2f}.",
        [
            looks.picture(
                "schedule.png",
                "What the rate does, and the loss",
                moving,
                plots.over_steps(drawn),
            ),
            looks.picture("rates.png", "Where each ends, by the rate", rated, plots.over_rates(found)),
        ],
    )


def _passed(cycle: plots.Told, constant: plots.Told) -> str:
    """From where on the first has the lower train loss, as a sentence."""
    both = zip(cycle.reported, cycle.losses, constant.losses, strict=False)
    behind = [step for step, mine, its in both if mine >= its]
    last = max(cycle.reported, default=0)
    if behind and behind[-1] == last:
        return f"Its train loss is the higher at the last step, {last}."
    ahead = min((step for step in cycle.reported if step > max(behind, default=-1)), default=last)
    return f"From step {ahead} to the last, {last}, its train loss is the lower."


def _told(run: TrainedRun) -> plots.Told:
    plan = looks.plan(run)
    planned = pictures.planned(plan, plan.total_steps)
    assert planned is not None  # neither has a memory
    steps, rates, momenta, _ = planned
    logged = run.history.drop_nulls("train/loss")
    return plots.Told(steps, rates, momenta, logged["step"].to_list(), logged["train/loss"].to_list())
