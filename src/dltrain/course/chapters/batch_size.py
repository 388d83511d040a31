"""One, some or all rows a step: what each costs in steps, rows and seconds to get equally far."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.config import build
from dltrain.course import looks, valley
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import valley as plots
from dltrain.engine.trainer import seed_everything
from dltrain.trained.whole_run import TrainedRun

if TYPE_CHECKING:
    from dltrain.course.chapter import Done

_GOAL = 1.1  # times the least loss
_STAYS = 0.8  # of the steps after the first at the goal: a single noisy row leaves it now and then at any rate
_STEPS = ((150, 600), (18, 50), (7, 13))  # to the goal, over seeds
_FRAMES = 30
_OTHERS = (  # as the experiment's header has it
    "It does not hang on the rates: of five for 1 row and four for 32 the best of 32 is ahead, whatever share of the "
    "later steps is asked to be within the goal."
)
_COSTS = ("steps", "rows read", "seconds")


def study(done: Sequence[Done]) -> Seen:
    runs = [looks.run(one) for one in done]
    sizes = [looks.plan(run).batch_size or len(looks.plan(run).data.train) for run in runs]
    names = ["1 row" if size == 1 else f"{size:,} rows" for size in sizes]
    where = valley.of(runs[0])
    ways = [valley.walk(run) for run in runs]
    losses = [where.loss(way) / where.least for way in ways]
    each = [
        {_COSTS[0]: 1.0, _COSTS[1]: float(size), _COSTS[2]: pace(run)} for size, run in zip(sizes, runs, strict=True)
    ]
    steps = [first(curve) for curve in losses]
    inside = [staying(curve) for curve in losses]
    spent = {cost: [s * of_one[cost] for s, of_one in zip(steps, each, strict=True)] for cost in _COSTS}
    seconds = spent[_COSTS[2]]
    caption = (
        "The title counts the rows that each has read, as far as its steps go (to "
        f"{listed(f'{size * (len(way) - 1):,}' for size, way in zip(sizes, ways, strict=True))}). A single row points "
        f"only roughly the right way, but at once; a step over {names[-1]} comes when all of them have been read."
    )
    film = plots.film(where, dict(zip(names, ways, strict=True)), moments(sizes, [len(way) - 1 for way in ways]))
    same = (
        "The same three ways, by each of three costs. The dashed line is a loss 10 % above the least, and a ringed "
        f"dot is where it is first reached. {winners(names, spent, inside)} A step takes "
        f"{listed(f'{1e6 * one[_COSTS[2]]:,.0f} µs with {n}' for n, one in zip(names, each, strict=True))}: where rows "
        "are few, it is the step that is paid for, and not its rows. " + _OTHERS
    )
    drawn = plots.costs({n: (c, e) for n, c, e in zip(names, losses, each, strict=True)}, goal=_GOAL)
    return Seen(
        [
            *(
                Number(f"{cost} to the goal, {n}", value, low * size, high * size, ",.0f")
                for cost, read in ((_COSTS[0], [1] * 3), (_COSTS[1], sizes))
                for n, value, (low, high), size in zip(names, spent[cost], _STEPS, read, strict=True)
            ),
            *(
                Number(f"steps within the goal after the first, {n}", part, *at, ".0%")
                for n, part, at in zip(names[:2], inside[:2], ((0.82, 0.97), (0.93, 1.0)), strict=True)
            ),
            Number(f"time to the goal, {names[0]}, times that of {names[1]}", seconds[0] / seconds[1], 4, 30, ".0f"),
            Number(f"time to the goal, {names[2]}, times that of {names[1]}", seconds[2] / seconds[1], 3, 60, ".0f"),
        ],
        quickest(seconds, inside) + 1,
        told(names, steps, seconds, inside),
        [
            looks.picture("film.gif", "Three ways down one valley", caption, film),
            looks.picture("costs.png", "What they cost", same, drawn),
        ],
    )


def told(names: Sequence[str], steps: Sequence[float], seconds: Sequence[float], inside: Sequence[float]) -> str:
    """What each needed, and whether it stayed."""
    got = [
        f"with {n} a step {s:,.0f} steps and {1000 * t:.2g} ms ({part:.0%} of the later ones within it)"
        for n, s, t, part in zip(names, steps, seconds, inside, strict=True)
        if math.isfinite(s)
    ]
    return f"To the goal it took {listed(got)}." if got else "None of them came to the goal."


def winners(names: Sequence[str], spent: Mapping[str, Sequence[float]], inside: Sequence[float]) -> str:
    """Which came there and stayed for the least of each cost."""
    if max(inside) < _STAYS:
        return "None of them stays there."
    first_of = [f"{names[quickest(costs, inside)]} by {cost}" for cost, costs in spent.items()]
    gone = [n for n, part in zip(names, inside, strict=True) if 0 < part < _STAYS]
    left = f"; {listed(gone)} came there, and left again" if gone else ""
    return f"Of those that stay there, the first is {listed(first_of)}{left}."


def quickest(costs: Sequence[float], inside: Sequence[float]) -> int:
    """The place of the least cost among those that stay at the goal, or among all where none does."""
    return min(range(len(costs)), key=lambda at: (inside[at] < _STAYS, costs[at]))


def staying(losses: np.ndarray) -> float:
    """The part of the steps from the first at the goal on that are within it; 0 if none is."""
    reached = np.flatnonzero(losses <= _GOAL)
    return float((losses[reached[0] :] <= _GOAL).mean()) if len(reached) else 0.0


def listed(parts: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def first(losses: np.ndarray) -> float:
    """After how many steps the goal is reached; inf for never."""
    reached = np.flatnonzero(losses <= _GOAL)
    return float(reached[0]) if len(reached) else math.inf


def pace(run: TrainedRun) -> float:
    """Seconds that a step of a run takes, the drawing of the order among them: the quickest of three tries."""
    plan = looks.plan(run)
    found: list[float] = []
    steps = 3000 if (plan.batch_size or math.inf) < 1000 else 15
    build.set_threads_and_determinism(plan)
    for _ in range(3):
        seed_everything(plan.seed)
        trainer, loader = build.make_trainer(plan), build.make_loaders(plan)[0]
        begin = time.perf_counter()
        for _ in trainer.fit(loader, steps=steps, report_every=steps, eval_every=steps):
            pass
        found.append((time.perf_counter() - begin) / steps)
    return min(found)


def moments(sizes: Sequence[int], most: Sequence[int]) -> list[plots.Moment]:
    """Moments of a film at which all have read the same number of rows, as far as their steps allow."""
    end = max(size * count for size, count in zip(sizes, most, strict=True))
    reads = np.unique(np.geomspace(1, end, _FRAMES).round().astype(int))
    return [
        (
            f"{read:,} row{'s' * (read != 1)} read",
            [min(read // size, count) for size, count in zip(sizes, most, strict=True)],
        )
        for read in (0, *reads.tolist())
    ]
