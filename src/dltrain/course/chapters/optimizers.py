"""All optimizers down one valley, each at the best of a few rates, and on a net as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.config import named
from dltrain.config.policy import Part
from dltrain.course import looks, valley
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import valley as plots
from dltrain.course.valley import Valley

if TYPE_CHECKING:
    from dltrain.course.chapter import Done

_RATES = (0.02, 0.03, 0.05, 0.1, 0.15, 0.3, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0)
_GRADIENTS = 100
_GOAL = 1.1  # times the least loss
_FRAMES = (*range(10), 11, 13, 15, 18, 21, 25, 30, 40, 60, 99)
_EXPECTED = {"lbfgs": (3, 10), "nesterov": (14, 32), "rmsprop": (10, 32), "sgd": (25, 60), "adam": (50, 85)}
_LOSSES = {
    "momentum": (0.28, 0.52),
    "nesterov": (0.28, 0.52),
    "adamw": (0.35, 0.6),
    "adam": (1.2, 1.7),
    "sgd": (1.4, 1.8),
    "lbfgs": (0.6, 8),
}
_MOVING = (
    f"Each from the same start, at the best of {len(_RATES)} rates, beside its name; the clock is gradients, as "
    "L-BFGS asks for up to 25 in a step. Plain descent swings across the valley and creeps along it; Adam and its "
    "kin go by the signs of the gradient, and the valley lies askew to these. Momentum shoots past: only the rate "
    "is chosen, and β stays as its file has it. With β = 0.7 it needs {}."
)
_BOTH = (
    f"Above: gradients until the loss stays within 10 % of the least; a pale bar needs more than {_GRADIENTS}. "
    "Below: the same optimizers on a net of digits in mini-batches, each at the rate of its file, beside its "
    "name. These rates were not chosen for this net and decide much of the order, which is therefore no order "
    "of methods. L-BFGS takes each mini-batch for the whole and fits it: it is sure of its errors, "
    "for 20 times the work."
)
_ANSWERS = ("adam", "nesterov", "lbfgs", "sgd")


def study(done: Sequence[Done]) -> Seen:
    run, names = looks.run(done[0]), looks.typed(done[1], "optimizer")
    where = valley.of(run)
    start = np.array([number.item() for number in looks.start(run).values()])
    losses = dict(zip(names, looks.numbers(done[1], "last/loss"), strict=True))
    best = {name: fastest(where, start, name) for name in names}
    needed = {name: arrived(where, way) for name, (_, way) in best.items()}
    order = sorted(names, key=needed.__getitem__)
    needed = {name: needed[name] for name in order}
    chosen = {name: rate for name, (rate, _) in best.items()}
    lighter = arrived(where, fastest(where, start, "momentum", momentum=0.7)[1])
    filed = {name: float(job.config["optimizer.lr"]) for name, job in zip(names, looks.runs(done[1]), strict=True)}
    ways = {f"{name} {best[name][0]:g}": best[name][1] for name in order}
    film = plots.film(
        where, ways, [(f"{n} gradients", [n] * len(ways)) for n in _FRAMES], height=7.0, columns=3, tail=8
    )
    bars = plots.two_orders(
        ("gradients to the bottom of the valley", needed, chosen, float(_GRADIENTS)),
        ("validation loss of the net after 3 epochs", losses, filed, max(2.5, 1.2 * losses.get("radam", 0.0))),
    )
    first, lowest = order[0], min(losses, key=losses.__getitem__)
    return Seen(
        [
            *(
                Number(f"gradients to the bottom, {n}", needed.get(n, math.inf), *_EXPECTED[n], ".0f")
                for n in _EXPECTED
                if n in needed
            ),
            *(
                Number(f"validation loss of the net, {n}", losses[n], *_LOSSES[n], ".2f")
                for n in _LOSSES
                if n in losses
            ),
        ],
        _ANSWERS.index(first) + 1 if first in _ANSWERS else 5,
        f"In the valley {first} came first, after {needed[first]:.0f} gradients; on the net {lowest} has the lowest "
        f"loss, {losses[lowest]:.2f}.",
        [
            looks.picture("race.gif", "Fourteen ways down one valley", _MOVING.format(_count(lighter)), film),
            looks.picture("orders.png", "First in the valley, and first on a net", _BOTH, bars),
        ],
    )


def fastest(where: Valley, start: np.ndarray, name: str, **changed: float) -> tuple[float, np.ndarray]:
    """The best of the rates for an optimizer, and its way: what gets to the bottom first, or nearest to it."""
    part = named.part("optimizer", name)
    tried = [
        (
            rate,
            valley.descend(
                where, start, Part(part.function, {**part.arguments, **changed, "lr": rate}), gradients=_GRADIENTS
            ),
        )
        for rate in _RATES
    ]
    return min(
        tried, key=lambda one: (arrived(where, one[1]), float(np.nan_to_num(where.loss(one[1][-1]), nan=math.inf)))
    )


def _count(gradients: float) -> str:
    return f"{gradients:.0f}" if gradients < math.inf else f"more than {_GRADIENTS}"


def arrived(where: Valley, way: np.ndarray) -> float:
    """After how many gradients the loss stays at the goal; inf for never."""
    away = np.flatnonzero(~(where.loss(way) <= _GOAL * where.least))
    after = int(away[-1]) + 1 if len(away) else 0
    return float(after) if after < len(way) else math.inf
