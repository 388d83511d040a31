"""A line of one weight and one bias: its way in the plane of both, and the lines that its points are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.course import looks, valley
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import spaces

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture
    from dltrain.trained.whole_run import TrainedRun

_FRAMES = 30


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[0])
    floor, way = valley.of(run), valley.walk(run)
    (w, b), (best_w, best_b) = way[-1], floor.lowest
    moves = np.diff(way, axis=0)
    straight = float(np.linalg.norm(way[-1] - way[0]))
    detour = float(np.linalg.norm(moves, axis=1).sum()) / straight
    back = float((moves[1:] * moves[:-1]).sum(1).min(initial=0.0)) < -0.01 * straight**2  # two steps, nearly opposite
    return Seen(
        [
            Number("w", float(w), 1.49, 1.51, ".3f"),
            Number("b", float(b), -0.98, -0.96, ".3f"),
            Number("w of least squares", float(best_w), 1.49, 1.51, ".3f"),
            Number("b of least squares", float(best_b), -0.98, -0.96, ".3f"),
            Number("largest b on the way", float(way[:, 1].max()), 0.29, 0.33, ".2f"),
            Number("length of the way, in straight lines", detour, 1.3, 1.4, ".2f"),
            Number("κ", floor.condition, 45, 50, ".2g"),
        ],
        3 if back else 2 if detour > 1.1 else 1,
        f"The way is {detour:.2f} times as long as the straight line: b rises to {way[:, 1].max():.2f} before it falls "
        f"to {b:.2f}.",
        _pictures(run, floor, way),
    )


def _pictures(run: TrainedRun, floor: valley.Valley, way: np.ndarray) -> list[Picture]:
    x, y = (rows.double().flatten().numpy() for rows in looks.rows(run))
    last = len(way) - 1
    steps = sorted({round(last * (i / (_FRAMES - 1)) ** 2) for i in range(_FRAMES)})
    chosen = sorted({0, min(1, last), min(3, last), min(30, last), last})
    film = (
        "Above the description space, where examples are points and the model is a line, its errors thin lines. Below "
        "the parameter space, where the model is a point, the star is the least squared error, and learning is a way. "
        "w and b have one scale there, so that each step sets out at a right angle to its contour."
    )
    still = "Some moments of it: each line above is the point of the same colour below."
    return [
        looks.picture("film.gif", "The same steps in both spaces", film, spaces.film(x, y, floor, way, steps)),
        looks.picture("moments.png", "A point is a line", still, spaces.moments(x, y, floor, way, chosen)),
    ]
