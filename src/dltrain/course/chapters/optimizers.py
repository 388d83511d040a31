"""All optimizers down one valley, each as well as it can be set, and on a net at rates of four decades."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dltrain.config import named
from dltrain.config.policy import Part
from dltrain.course import looks, valley
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import race
from dltrain.course.valley import Valley

if TYPE_CHECKING:
    from dltrain.course.chapter import Done

_RATES = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_KEEP = 0.5  # the share that is tried beside that of the file
_KEPT = ("betas", "alpha", "rho", "momentum")  # what files call the share that a mean or a speed keeps at each step
_GRADIENTS = 60
_GOAL = 1.1  # times the least loss
_FRAMES = (*range(10), 11, 13, 15, 18, 21, 25, 30, 40, 59)
_FAMILIES = (
    ("sgd", "momentum", "nesterov", "lbfgs"),
    ("adagrad", "rmsprop", "adadelta", "muon"),
    ("adam", "adamw", "amsgrad"),
    ("adamax", "nadam", "radam"),
)
_EXPECTED = {"lbfgs": (3, 10), "momentum": (10, 20), "adam": (10, 24), "sgd": (30, 56)}
_TWICE = 2.0
_MOVING = (
    f"w across, b up. Each takes the best of {len(_RATES)} rates ε and, where it keeps a mean, of two shares β; the "
    "number is how many gradients it asked for until its loss stays within 10 % of the least. Drawn are the last eight "
    "steps, and in the end all. Plain descent swings across the valley and creeps along it, where momentum gathers "
    "speed; Adam and its kin go by signs at first, askew to the valley; L-BFGS learns how the valley curves."
)
_AT_RATES = (
    "The validation loss after three epochs, by one seed; the best of each row is framed. A rate that is right for "
    "one is useless for another, so that a race at one rate for all ranks nothing; and four rates are few, the best "
    "may lie between two of them, or beyond. L-BFGS was tried at one rate, in steps of up to 25 gradients of all "
    "rows: after the first it has {:.2f}, and the next fit the train part too well."
)


class Tuned(NamedTuple):
    """An optimizer at its best in a valley: its rate, its share (None: it keeps nothing), and its way [n, 2]."""

    rate: float
    kept: float | None
    way: np.ndarray


def study(done: Sequence[Done]) -> Seen:
    where = valley.of(looks.run(done[0]))
    start = np.array([number.item() for number in looks.start(looks.run(done[0])).values()])
    best = {name: tuned(where, start, name) for family in _FAMILIES for name in family}
    needed = {name: arrived(where, one.way) for name, one in best.items()}
    panels = [{_label(name, best[name], needed[name]): best[name].way for name in family} for family in _FAMILIES]
    last = looks.run(done[2])
    losses = at_rates(done[1]) | {"lbfgs": {float(last.config["optimizer.lr"]): last.metrics["last/loss"]}}
    first_step = last.history.drop_nulls("val/loss")["val/loss"][0]
    lowest = {name: min(found.values()) for name, found in losses.items()}
    momentum, adam = lowest["momentum"], lowest["adam"]
    return Seen(
        [
            *(Number(f"gradients to the bottom, {name}", needed[name], *_EXPECTED[name], ".0f") for name in _EXPECTED),
            Number("validation loss at 0.001, momentum", losses["momentum"].get(0.001, math.nan), 2.1, 2.35, ".2f"),
            Number("validation loss at 0.001, adam", losses["adam"].get(0.001, math.nan), 1.2, 1.7, ".2f"),
            Number("validation loss at the best rate, momentum", momentum, 0.18, 0.38, ".2f"),
            Number("validation loss at the best rate, adam", adam, 0.15, 0.28, ".2f"),
        ],
        1 if momentum > _TWICE * adam else 2 if adam > _TWICE * momentum else 3,
        f"At the best of its rates momentum has {momentum:.2f}, Adam {adam:.2f}.",
        [
            looks.picture("race.gif", "Fourteen ways down one valley", _MOVING, race.film(where, panels, _FRAMES)),
            looks.picture(
                "rates.png", "On a net, at rates of four decades", _AT_RATES.format(first_step), race.rates(losses)
            ),
        ],
    )


def at_rates(done: Done) -> dict[str, dict[float, float]]:
    """The last validation loss of each optimizer of a sweep, by its rate."""
    found: dict[str, dict[float, float]] = {}
    rates = map(float, looks.typed(done, "optimizer.lr"))
    for name, rate, loss in zip(looks.typed(done, "optimizer"), rates, looks.numbers(done, "last/loss"), strict=True):
        found.setdefault(name, {})[rate] = loss
    return found


def tuned(where: Valley, start: np.ndarray, name: str) -> Tuned:
    """What of an optimizer's settings gets to the bottom first, or nearest to it."""
    tried = [
        Tuned(float(part.arguments["lr"]), kept, valley.descend(where, start, part, gradients=_GRADIENTS))
        for part, kept in _settings(named.part("optimizer", name))
    ]
    return min(
        tried, key=lambda one: (arrived(where, one.way), float(np.nan_to_num(where.loss(one.way[-1]), nan=math.inf)))
    )


def _settings(part: Part) -> Iterator[tuple[Part, float | None]]:
    """An optimizer at all rates and shares."""
    kept: list[tuple[dict[str, object], float | None]] = [({}, None)]
    for key in _KEPT:
        if filed := part.arguments.get(key):
            kept = [({key: filed}, filed), ({key: _KEEP}, _KEEP)]
            if key == "betas":
                kept = [({key: filed}, filed[0]), ({key: (_KEEP, filed[1])}, _KEEP)]
    for (changed, share), rate in product(kept, _RATES):
        yield Part(part.function, {**part.arguments, **changed, "lr": rate}), share


def _label(name: str, best: Tuned, gradients: float) -> str:
    kept = "" if best.kept is None else f", β {best.kept:g}"
    needed = f"{gradients:.0f}" if gradients < math.inf else f"> {_GRADIENTS}"
    return f"{name} {needed}  (ε {best.rate:g}{kept})"


def arrived(where: Valley, way: np.ndarray) -> float:
    """After how many gradients the loss stays at the goal; inf for never."""
    away = np.flatnonzero(~(where.loss(way) <= _GOAL * where.least))
    after = int(away[-1]) + 1 if len(away) else 0
    return float(after) if after < len(way) else math.inf
