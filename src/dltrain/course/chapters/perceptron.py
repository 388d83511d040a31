"""The perceptron on two lengths of the irises: its mistakes one by one, and what a smaller rate changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.insight import captions, perceptron_pictures
from dltrain.insight.plots import perceptron as drawing
from dltrain.training import perceptron

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture
    from dltrain.trained.whole_run import TrainedRun


def study(done: Sequence[Done]) -> Seen:
    whole, quarter = map(looks.run, done)
    counts, others = (list(map(int, run.history["train/mistakes"].to_list())) for run in (whole, quarter))
    total, other = sum(counts), sum(others)
    most = perceptron.bound(looks.plan(whole))
    weights = zip(looks.last_weights(whole).values(), looks.last_weights(quarter).values(), strict=True)
    apart = max(float((one - 4 * small).abs().max()) for one, small in weights)
    numbers = [
        Number("mistakes in all, ε = 1", total, 3, 33, ",.0f"),
        Number("mistakes in all, ε = 0.25", other, 3, 33, ",.0f"),
        Number("mistakes in the last epoch", counts[-1], 0, 0, ",.0f"),
        Number("epochs", len(counts), 2, 13, ",.0f"),
        Number("largest |w − 4 w′|, w′ of ε = 0.25", apart, 0, 0, ".0f"),
    ]
    if most is not None:
        numbers.insert(2, Number("the bound (R/γ)²", most, 838, 844, ",.0f"))
    why = ": from weights of zero every w is ε times the same sum of examples, and f has the same sign" * (not apart)
    return Seen(
        numbers,
        1 if other > total else 2 if other == total else 3,
        f"It made {total:,} mistakes with ε = 1 and {other:,} with ε = 0.25{why}.",
        _pictures(whole, counts),
    )


def _pictures(run: TrainedRun, counts: Sequence[int]) -> list[Picture]:
    plan = looks.plan(run)
    points = list(zip(run.history["epoch"].to_list(), counts, strict=True))
    told = (
        f"{captions.COUNTED} Here: {', '.join(f'{n:,}' for n in counts)}. They need not fall from epoch to epoch: what "
        "mends one answer may spoil another. It is their sum that is bounded, where a line separates the classes."
    )
    made = [looks.picture("mistakes.png", "Mistakes, epoch by epoch", told, drawing.counts(points))]
    if plan.data.in_features == 2 and perceptron.as_stated(plan):
        scene = looks.scene(run)
        names = scene.names
        if any("std" in column for column in plan.data.preprocessing.get("columns", [])):
            names = tuple(f"{name.removesuffix(' (cm)')}, standardised" for name in names)
        scene = replace(scene, names=names, equal=True, sure=False)
        caption, film = perceptron_pictures.film(plan, scene, looks.way(run, moments=2), dpi=90, shades=48)
        made.insert(0, looks.picture("film.gif", "Mistake by mistake", caption, film()))
    return made
