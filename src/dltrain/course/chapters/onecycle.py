"""One cycle against a constant rate: what each does at every step, and where each ends, by the rate."""

from __future__ import annotations

from collections.abc import Sequence
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
    losses = {name: {rate: loss for n, rate, loss, _ in jobs if n == name} for name in names}
    drawn = {n: looks.load(folder) for n, rate, _, folder in jobs if rate == high}
    cycle, constant = losses[names[0]], losses[names[-1]]
    small, large = cycle[low] < constant[low], cycle[high] < constant[high]
    moving = (
        f"Both at the rate {high:g}. The cycle is nowhere faster than the constant rate, and is behind it for half of "
        "the way; it goes past when its steps become small."
    )
    rated = (
        "Each dot is a run of three epochs. At small rates the cycle wastes steps; at large ones it goes on to learn "
        "where the constant rate jumps to and fro, and its lowest loss is further right."
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
                plots.over_steps({name: _told(run) for name, run in drawn.items()}),
            ),
            looks.picture("rates.png", "The larger the rate, the better the cycle", rated, plots.over_rates(losses)),
        ],
    )


def _told(run: TrainedRun) -> plots.Told:
    plan = looks.plan(run)
    planned = pictures.planned(plan, plan.total_steps)
    assert planned is not None  # neither has a memory
    steps, rates, momenta, _ = planned
    logged = run.history.drop_nulls("train/loss")
    return plots.Told(steps, rates, momenta, logged["step"].to_list(), logged["train/loss"].to_list())
