"""The same linear net on raw and on standardised measurements: curvatures, rates that hold, and how far each gets."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import valleys
from dltrain.insight import captions, history
from dltrain.runs import reading
from dltrain.trained.whole_run import load

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture

_SOON = 40  # steps after which the standardised net is looked at
_SHOWN = [2, 3]  # bmi and bp: what is drawn of ten measurements


def study(done: Sequence[Done]) -> Seen:
    raw, standard = (looks.table(each) for each in done)
    x, y = looks.rows(load(raw["folder"][0]))
    scaled, _ = looks.rows(load(standard["folder"][0]))
    curves = {"raw": curvatures(x), "centred": curvatures(x - x.mean(0)), "standardised": curvatures(scaled)}
    (held, slowly), (fits, quickly) = _best(raw), _best(standard)
    slow, quick = _curve(slowly), _curve(quickly)
    step, goal = max((point for point in quick if point[0] <= _SOON), default=quick[0])
    needed = steps_until(x, y, held, goal)
    last, loss = slow[-1]
    kappas = {"raw": (5.2e7, 5.4e7), "centred": (7.0e4, 7.2e4), "standardised": (435, 443)}
    return Seen(
        [
            *(Number(f"κ, {kind}", float(e[-1] / e[0]), *kappas[kind]) for kind, e in curves.items()),
            Number("2/λ, raw", float(2 / curves["raw"][-1]), 1.37e-5, 1.39e-5),
            Number("rate that held, raw", held, 1.33e-5, 1.33e-5),
            Number("rate that broke, raw", _broke(raw), 1.42e-5, 1.42e-5),
            Number("2/λ, standardised", float(2 / curves["standardised"][-1]), 0.241, 0.244),
            Number("rate that held, standardised", fits, 0.235, 0.235),
            Number("rate that broke, standardised", _broke(standard), 0.25, 0.25),
            Number(f"loss, raw, {last:,.0f} steps", loss, 0.59, 0.605),
            Number(f"loss, standardised, {step:,.0f} steps", goal, 0.467, 0.475),
            Number("steps until raw has that, by eigenvalues", needed, 2e7, 4e7, ".1g"),
        ],
        3 if needed > 10_000 else 1 if needed < 100 else 2,
        f"At the largest rate that held the standardised net has a train loss of {goal:.3f} after {step:,.0f} steps; "
        f"the raw one has {loss:.3f} after {last:,.0f}, and its eigenvalues tell that it has {goal:.3f} after some "
        f"{float(f'{needed:.1g}'):,.0f}. The flattest direction of the standardised valley needs some κ steps, too, "
        f"but all of them lower the loss by no more than {flattest(scaled, y):.4f}.",
        _pictures(raw, standard, curves, x, y),
    )


def curvatures(x: Tensor) -> Tensor:
    """The eigenvalues [D + 1], rising, of the Hessian 2/N Σ (x, 1)(x, 1)ᵗ of a linear net's squared error."""
    rows = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    return torch.linalg.eigvalsh(2 * rows.T @ rows / len(rows))


def flattest(x: Tensor, y: Tensor) -> float:
    """By how much a linear net's squared error falls, from weights of zero, along the direction of least curvature."""
    return float(_directions(x, y)[1][0])


def steps_until(x: Tensor, y: Tensor, rate: float, goal: float) -> float:
    """Steps of full-batch descent from weights of zero until a linear net's squared error is `goal`, inf if never.

    Along each direction the error above the lowest is multiplied by (1 - rate * curvature)^2 in each step.
    """
    values, heights, lowest = _directions(x, y)
    factors = (1 - rate * values) ** 2

    def reached(steps: float) -> bool:
        return float((heights * factors**steps).sum()) <= goal - lowest

    high = 1.0
    while not reached(high):
        if not high < 1e12:
            return inf
        high *= 2
    low = high / 2
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _directions(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, float]:
    """Curvatures [D + 1], rising, by how much the error falls along each from weights of zero, and the lowest error."""
    rows = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
    values, directions = torch.linalg.eigh(2 * rows.T @ rows / len(rows))
    target = y.double().view(-1, 1)
    best = torch.linalg.lstsq(rows, target).solution
    return values, values * (directions.T @ best).flatten() ** 2 / 2, float((rows @ best - target).square().mean())


def _held(table: pl.DataFrame) -> list[tuple[float, Path]]:
    """Learning rates, rising, with the runs of those whose loss ended no higher than it began."""
    rows = zip(table["optimizer.lr"].to_list(), map(Path, table["folder"]), strict=True)
    return sorted((rate, folder) for rate, folder in rows if _curve(folder)[-1][1] <= _curve(folder)[0][1])


def _broke(table: pl.DataFrame) -> float:
    """The smallest of the other rates."""
    return min({*table["optimizer.lr"]} - {rate for rate, _ in _held(table)}, default=nan)


def _best(table: pl.DataFrame) -> tuple[float, Path]:
    """The largest rate that held, with its run; where none did the first run."""
    held = _held(table)
    return held[-1] if held else (nan, Path(table["folder"][0]))


def _curve(folder: Path) -> list[tuple[float, float]]:
    return history.points(reading.read_log(folder), "train/loss", over="step") or [(0.0, inf)]


def _pictures(
    raw: pl.DataFrame, standard: pl.DataFrame, curves: dict[str, Tensor], x: Tensor, y: Tensor
) -> list[Picture]:
    data = looks.plan(load(raw["folder"][0])).data
    two = x[:, _SHOWN].double().numpy()
    kinds = {
        "raw": two,
        "centred": two - two.mean(0),
        "and scaled": (two - two.mean(0)) / two.std(0),
    }
    names = [f"weight of {captions.inputs(data.preprocessing, data.in_features)[i]}" for i in _SHOWN]
    valley = (
        "The squared error over two of the ten weights, without the other eight and with the bias held at its best: "
        "the lowest loss is the same in the three. Each line is twice as far above it as the one inside, both axes "
        "have one scale, and 30 steps lead from zero (circle) towards the lowest point (star), at 0.9 of the largest "
        "stable rate. Raw, the rate that the steep sides bear is far too small along the valley. κ is the largest "
        "curvature of these two weights divided by the smallest; the table has all ten and the bias."
    )
    lines = (
        "The runs themselves. In each panel the middle rate is just below 2/λ and the largest just above it, and λ, "
        "the largest curvature, follows from the data alone. Both axes are logarithmic. Standardised, the smallest "
        "rate keeps pace: just below 2/λ each step leaps across the steepest direction, and lands nearly as high on "
        "its other side."
    )
    tables = {"raw": raw, "standardised": standard}
    panels = {f"{kind}: 2/λ = {2 / float(curves[kind][-1]):.3g}": _rates(table) for kind, table in tables.items()}
    drawn = valleys.contours(kinds, y.double().numpy().ravel(), names)
    return [
        looks.picture("valleys.png", "The valley before and after", valley, drawn),
        looks.picture("rates.png", "The largest rate that holds is 2/λ", lines, valleys.rates(panels)),
    ]


def _rates(table: pl.DataFrame) -> dict[str, tuple[list[float], list[float]]]:
    """Learning rate -> steps and losses."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in table.iter_rows(named=True):
        points = _curve(Path(row["folder"]))
        found[f"{row['optimizer.lr']:g}"] = [step for step, _ in points], [loss for _, loss in points]
    return found
