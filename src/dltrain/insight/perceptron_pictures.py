"""A perceptron's pictures: its mistakes by epoch, and a film of them one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.insight import captions, plots
from dltrain.insight.plots import perceptron, regions
from dltrain.training.perceptron import counted, replayed
from dltrain.training.perceptron import told as told_of

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure
    from dltrain.insight.plots.regions import Also, Scene
    from dltrain.runs.reading import Report
    from dltrain.training.replay import Way

_MOST = 45  # mistakes in a film
_SECONDS = 12.0  # for which they are looked for
_FEW, _SLOW, _FAST = 15, 900, 450  # so many pictures are seen for so many milliseconds each, more of them for fewer


def by_epoch(plan: Plan, reports: Sequence[Report]) -> tuple[str, Callable[[], Figure]] | None:
    """A caption, and what draws the mistakes of each report; None of a run that counts none."""
    counts, told = counted(reports), told_of(plan, reports)
    if not counts or told is None:
        return None
    return f"{captions.COUNTED} Here: {told}.", lambda: perceptron.counts(counts)


def arrow(model: nn.Module, scene: Scene) -> Also:
    """What draws w of a perceptron of one output on its border."""
    weight, bias = (p.detach().cpu().flatten() for p in model.parameters())
    return perceptron.arrow(scene, (weight, float(bias)))


def film(plan: Plan, scene: Scene, way: Way, *, dpi: int = 100, shades: int = 96) -> tuple[str, Callable[[], bytes]]:
    """A caption, and what makes the film: a picture for each step of a way that changed the weights."""
    found = replayed(plan, steps=way.steps[-1], most=_MOST, seconds=_SECONDS)
    moving, last = build.make_model(plan).eval().requires_grad_(False), way.steps[-1]

    def weighed(weight: Tensor, bias: float) -> nn.Module:
        for parameter, value in zip(moving.parameters(), (weight, torch.tensor(bias)), strict=True):
            parameter.copy_(value.view(parameter.shape))
        return moving

    def figures() -> Iterator[Figure]:
        title = "weights of zero: every answer is a tie"
        moving.load_state_dict(way.weights[0])
        yield regions.regions(moving, scene, title=title)
        for number, one in enumerate(found, start=1):
            title = f"mistake {number:,}, step {one.step:,}"
            also = perceptron.arrow(scene, one.after, before=one.before, wrong=one.x)
            yield regions.regions(weighed(*one.after), scene, title=title, also=also)
        moving.load_state_dict(way.weights[-1])
        yield regions.regions(moving, scene, title=f"the end, step {last:,}", also=arrow(moving, scene))

    wait = _SLOW if len(found) <= _FEW else _FAST
    caption = captions.mistakes(len(found), cut=len(found) == _MOST)
    return caption, lambda: plots.gif(figures(), wait=wait, dpi=dpi, shades=shades)
