"""One step of a small net by numbers, and each derivative beside what a nudge of its weight does."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import passes
from dltrain.engine.process import left_as_it_was
from dltrain.engine.trainer import seed_everything
from dltrain.insight.passes import Line
from dltrain.insight.plots import gif
from dltrain.insight.trace import trace

if TYPE_CHECKING:
    from dltrain.course.chapter import Done

_NUDGE = 1e-5
_MOST = 12  # numbers nudged of each parameter
_ERRORS = ((-0.0838, -0.0837), (0.1055, 0.1056))  # of the hidden units, as the chapter stands


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[1])  # the first one printed its numbers
    plan = looks.plan(run)
    with left_as_it_was():
        step = one_step(trace(plan).lines, rate=float(str(run.config["optimizer.lr"])))
        names, told, nudged = derivatives(plan)
    hidden, output = step.layers[0], step.layers[-1]
    errors, back = hidden.delta, float(output.delta[0])
    own, weight = float(errors[-1]), float(output.weight[0, -1])
    slope = own / (weight * back) if weight * back else 0.0
    way = f"where a goes {'up' if own < 0 else 'down'}, L falls" if own else "no error comes back to it"
    between = np.abs(told - nudged).max()
    film = (
        "In the circles a and z of each unit, on the lines the weights (black), their derivatives (orange) and the "
        "new weights (green, as the new biases). A bias has the derivative δ. All before the loss goes from left to "
        "right, all after it back."
    )
    bars = (
        f"Each bar is a derivative as backpropagation gives it: all {len(names)} from one pass forward and one back. "
        f"Each dot is what the loss does when that one number is nudged up and down: {2 * len(names)} passes forward."
    )
    moving = gif(passes.film(step), wait=1600, last=4000, shades=255, steady=True)
    pictures = [
        ("step.gif", "Forward, backward, step", film, moving),
        ("nudges.png", "Each derivative beside a nudge", bars, passes.nudges(names, told, nudged)),
    ]
    units = zip(errors, _ERRORS, strict=False)
    return Seen(
        [
            Number("L before the step", step.loss, 0.1490, 0.1491, ".4f"),
            Number("δ of the output unit", back, -0.1830, -0.1829, ".4f"),
            *(Number(f"δ of hidden unit {j}", float(d), *limits, ".4f") for j, (d, limits) in enumerate(units, 1)),
            Number("L after the step", step.new_loss, 0.1131, 0.1132, ".4f"),
            Number("L after 100 steps", run.metrics["train/loss"], 0.0019, 0.0021, ".4f"),
            Number("largest difference of a derivative from nudging", float(between), -inf, 1e-8, ".0e"),
        ],
        1 if own < 0 else 2 if own > 0 else 3,
        f"Its δ = g'(a) · w · δ of the output is {slope:.3f} · ({weight:.3g}) · ({back:.3f}) = {own:.3f}: {way}.",
        [looks.picture(*each) for each in pictures],
    )


def one_step(told: Sequence[Line], *, rate: float) -> passes.Step:
    """The first step of a net of layers, for the first example of its batch."""
    lines = {line.name: line for line in told}
    first = {name: line.values.double().numpy() for name, line in lines.items()}
    layers: list[passes.Layer] = []
    while (k := len(layers) + 1) and f"a{k}" in first:
        a, z = first[f"a{k}"][0], first.get(f"z{k}", first[f"a{k}"])[0]
        g = lines[f"z{k}"].formula.partition("(")[0] if f"z{k}" in lines else ""
        weights = (first[f"W{k}"], first[f"b{k}"], first[f"dL/dW{k}"], first[f"new W{k}"], first[f"new b{k}"])
        layers.append(passes.Layer(*weights, a=a, z=z, delta=first[f"delta{k}"][0], g=g))
    end = len(layers)
    return passes.Step(
        x=first["x"][0],
        y=first["y"].reshape(len(first["x"]), -1)[0],
        layers=layers,
        loss=float(first["L"]),
        new_loss=float(first["new L"]),
        error=first.get(f"dL/dz{end}", first[f"delta{end}"])[0],
        rate=rate,
    )


def derivatives(plan: Plan) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The name of each number that a plan's net learns, dL by it from a pass back, and from nudging it; in float64.

    Of each layer's weights and biases the first few.
    """
    seed_everything(plan.seed)
    trainer = build.make_trainer(plan)
    model, loss = trainer.model.double().cpu(), trainer.loss.double().cpu()
    x, y, _ = next(build.make_loaders(plan)[0].epoch(0))
    x, y = x.double().cpu(), y.cpu().double() if y.is_floating_point() else y.cpu()

    def nudged(numbers: Tensor, i: int) -> float:
        before = float(numbers[i])
        around: list[float] = []
        for numbers[i] in (before + _NUDGE, before - _NUDGE):
            around.append(loss(model(x), y).item())
        numbers[i] = before
        return (around[0] - around[1]) / (2 * _NUDGE)

    loss(model(x), y).backward()
    names: list[str] = []
    told: list[float] = []
    seen: list[float] = []
    for at, parameter in enumerate(model.parameters()):
        assert parameter.grad is not None
        for i in range(min(parameter.numel(), _MOST)):
            names.append(_name(at // 2 + 1, i, parameter.shape))
            told.append(float(parameter.grad.view(-1)[i]))
            seen.append(nudged(parameter.data.view(-1), i))
    return names, np.array(told), np.array(seen)


def _name(layer: int, place: int, shape: Sequence[int]) -> str:
    """A course's name: a weight has first the unit that it comes from, then the one that it goes to."""
    j, i = divmod(place, shape[-1]) if len(shape) == 2 else (place, None)
    if i is None:
        return f"b{passes.up(layer)}{passes.down(j + 1)}"
    return f"w{passes.up(layer)}{passes.down(i + 1)}{passes.down(j + 1)}"
