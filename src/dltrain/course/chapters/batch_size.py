"""One, some or all rows a step: what each costs in steps, rows and seconds to get equally far."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
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
_STEPS = ((150, 600), (18, 50), (7, 13))  # to the goal, over seeds
_FRAMES = 30
_COSTS = ("steps", "rows read", "seconds of the processor")


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
    spent = {cost: [s * of_one[cost] for s, of_one in zip(steps, each, strict=True)] for cost in _COSTS}
    seconds = spent[_COSTS[2]]
    caption = (
        "In each moment all have read as many rows as the title says. A single row points roughly the right way, at "
        f"once; a step over all rows is exact, and comes only when {sizes[-1]:,} rows have been read."
    )
    film = plots.film(where, dict(zip(names, ways, strict=True)), moments(sizes, [len(way) - 1 for way in ways]))
    same = (
        "The same three ways, counted in three manners. The dashed line is a loss 10 % above the least, and a ringed "
        "dot is where it is first reached: all rows win by steps, one row by rows, a mini-batch by time."
    )
    drawn = plots.costs({n: (c, e) for n, c, e in zip(names, losses, each, strict=True)}, goal=_GOAL)
    return Seen(
        [
            *(
                Number(f"{cost} to the goal, {n}", value, low * size, high * size, ",.0f")
                for cost, read in ((_COSTS[0], [1] * 3), (_COSTS[1], sizes))
                for n, value, (low, high), size in zip(names, spent[cost], _STEPS, read, strict=True)
            ),
            Number(f"time to the goal, {names[0]}, times that of {names[1]}", seconds[0] / seconds[1], 4, 30, ".0f"),
            Number(f"time to the goal, {names[2]}, times that of {names[1]}", seconds[2] / seconds[1], 3, 60, ".0f"),
        ],
        seconds.index(min(seconds)) + 1,
        told(names, steps, seconds),
        [
            looks.picture("film.gif", "Three ways down one valley", caption, film),
            looks.picture("costs.png", "What they cost", same, drawn),
        ],
    )


def told(names: Sequence[str], steps: Sequence[float], seconds: Sequence[float]) -> str:
    """What each needed."""
    got = [f"{n} a step {s:,.0f} steps and {1000 * t:.2g} ms" for n, s, t in zip(names, steps, seconds, strict=True)]
    far = [part for part, s in zip(got, steps, strict=True) if math.isfinite(s)]
    return f"To the goal it took with {', with '.join(far)}." if far else "None of them came to the goal."


def first(losses: np.ndarray) -> float:
    """After how many steps the goal is reached; inf for never."""
    reached = np.flatnonzero(losses <= _GOAL)
    return float(reached[0]) if len(reached) else math.inf


def pace(run: TrainedRun) -> float:
    """Seconds of the processor that a step of a run takes, the drawing of the order among them."""
    plan = looks.plan(run)
    found: list[float] = []
    steps = 3000 if (plan.batch_size or math.inf) < 1000 else 15
    build.set_threads_and_determinism(plan)
    for _ in range(3):
        seed_everything(plan.seed)
        trainer, loader = build.make_trainer(plan), build.make_loaders(plan)[0]
        begin = time.process_time()
        for _ in trainer.fit(loader, steps=steps, report_every=steps, eval_every=steps):
            pass
        found.append((time.process_time() - begin) / steps)
    return min(found)


def moments(sizes: Sequence[int], most: Sequence[int]) -> list[plots.Moment]:
    """Moments of a film at which all have read the same number of rows, as far as their steps allow."""
    end = max(size * count for size, count in zip(sizes, most, strict=True))
    reads = np.unique(np.geomspace(1, end, _FRAMES).round().astype(int))
    return [
        (f"{read:,} rows read", [min(read // size, count) for size, count in zip(sizes, most, strict=True)])
        for read in (0, *reads.tolist())
    ]
