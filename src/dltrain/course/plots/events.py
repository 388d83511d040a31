"""What event files of TensorBoard's hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dltrain.insight.plots import BLUE, GREEN, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SMOOTHING = 0.6  # TensorBoard's own


@styled
def panels(runs: Mapping[str, Mapping[str, Mapping[int, float]]], tags: Sequence[str]) -> Figure:
    """A panel for each tag with a curve for each run, smoothed as TensorBoard does, the values themselves pale.

    runs: of each name, of each tag, value by step.
    """
    fig, axes = figure(len(tags), 1, height=3.1 * len(tags))
    for ax, tag in zip(axes, tags, strict=True):
        for (name, read), colour in zip(runs.items(), (BLUE, GREEN, ORANGE), strict=False):
            steps, values = zip(*sorted(read[tag].items()), strict=True)
            ax.plot(steps, values, color=colour, alpha=0.35, linewidth=1.4)
            ax.plot(steps, smoothed(values), color=colour, marker=".", label=name)
        ax.set(title=tag, ylim=(0, None))
    axes[0].legend(title="learning rate")
    axes[-1].set_xlabel("step")
    return fig


def smoothed(values: Sequence[float], weight: float = _SMOOTHING) -> list[float]:
    """TensorBoard's exponential moving average, which begins at the first value."""
    mean = 0.0
    found: list[float] = []
    for count, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        found.append(mean / (1 - weight**count))
    return found
