"""A class of one's own with one, two and three units beside one linear layer: their curves, and how often they turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import waves
from dltrain.insight.plots import gif

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun

_ALONG = torch.linspace(-1, 1, 201)[:, None]
_TWICE = 2  # the wave turns so often
_R2 = ((0.79, 0.86), (0.9, 0.97), (0.94, 0.985))


def study(done: Sequence[Done]) -> Seen:
    runs, line = looks.runs(done[0]), looks.run(done[1])
    numbers = [Number("test r2, one linear layer", line.metrics["test/r2"], 0.5, 0.6, ".2f")]
    turns = []
    for run, limits in zip(runs, _R2, strict=True):
        units = run.config["model.width"]
        name = f"{units} tanh unit{'s' * (units != 1)}"
        curve = _curve(run.model)
        turns.append(_turns(curve.answer))
        numbers += [
            Number(f"test r2, {name}", run.metrics["test/r2"], *limits, ".2f"),
            Number(f"turns of the curve, {name}", turns[-1], *((0, 0) if units == 1 else (2, 2)), ".0f"),
        ]
    enough = next((n for n, count in enumerate(turns) if count >= _TWICE), len(turns) - 1)
    return Seen(numbers, enough + 1, _because(turns), [_film(runs, line)])


def _because(turns: Sequence[int]) -> str:
    said = f"With one, two and three units the curve turns {turns[0]}, {turns[1]} and {turns[2]} times."
    if turns[0] or turns[1] < _TWICE:
        return said
    return f"{said} Two of opposite signs are enough: in the middle the steep one decides, further out the wide one."


@torch.no_grad()
def _curve(net: torch.nn.Module) -> waves.Curve:
    """What a net of one input answers along it, and its units."""
    units = looks.given(net, net.get_submodule("second"), _ALONG) * net.get_parameter("second.weight")[0]
    return waves.Curve(net(_ALONG)[:, 0].numpy(), units.numpy())


def _turns(answers: np.ndarray) -> int:
    """How often a curve begins to rise or to fall."""
    rises = np.diff(answers) > 0
    return int((rises[1:] != rises[:-1]).sum())


def _film(runs: Sequence[TrainedRun], line: TrainedRun) -> Picture:
    x, y = looks.rows(runs[0])
    ways, nets = [looks.way(run, moments=24) for run in runs], [build.make_model(looks.plan(run)) for run in runs]
    curves = []
    for states in zip(*(way.weights for way in ways), strict=True):
        for net, state in zip(nets, states, strict=True):
            net.load_state_dict(state)
        curves.append([_curve(net) for net in nets])
    with torch.no_grad():
        straight = line.model(_ALONG)[:, 0].numpy()
    most = 1.05 * max(float(abs(curve.units).max()) for moment in curves for curve in moment)
    per_epoch = runs[0].history["step"].to_list()[-1] / runs[0].history["epoch"].to_list()[-1]

    def frames() -> Iterator[Figure]:
        for step, moment in zip(ways[0].steps, curves, strict=True):
            yield waves.sums(
                _ALONG[:, 0].numpy(), moment, straight, x[:, 0].numpy(), y.numpy(), most=most,
                title=f"epoch {step / per_epoch:.1f}",
            )  # fmt: skip

    caption = (
        "Above what each net answers, among the points that it learned from, and the linear layer (dashed) as it "
        "ends; below its units, each times its weight: their sum, and b², is the curve above."
    )
    return looks.picture("film.gif", "A curve is a sum of units", caption, gif(frames(), dpi=80, shades=48))
