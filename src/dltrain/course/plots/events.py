"""What an event file of TensorBoard's holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, GREEN, GREY, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def panels(scalars: Mapping[str, Mapping[int, float]], spread: Sequence[tuple[int, Sequence[float]]]) -> Figure:
    """Losses, learning rate, and a distribution by its percentiles; scalars: of each tag, value by step."""
    fig, (losses, rate, gradients) = figure(3, 1, height=8.0)
    for tag, colour, mark, width in (
        ("train/loss_by_step", GREY, "", 0.8),
        ("train/loss", BLUE, ".", 1.8),
        ("val/loss", ORANGE, ".", 1.8),
    ):
        points = sorted(scalars.get(tag, {}).items())
        losses.plot(
            [step for step, _ in points],
            [value for _, value in points],
            color=colour,
            marker=mark,
            linewidth=width,
            label=tag,
        )
    losses.set(title="loss", ylim=(0, None))
    losses.legend()
    rate.plot(*zip(*sorted(scalars["train/lr"].items()), strict=True), ".-", color=GREEN)
    rate.set(title="train/lr", ylim=(0, None))
    steps, values = [step for step, _ in spread], np.array([each for _, each in spread]).T
    for low, high in zip(range(len(values) // 2), range(len(values) - 1, 0, -1), strict=False):
        gradients.fill_between(steps, values[low], values[high], color=BLUE, alpha=0.18, linewidth=0)
    gradients.plot(steps, values[len(values) // 2], color=BLUE)
    gradients.set(title="output_gradients/layers.linear1: median and percentiles", xlabel="step")
    return fig
