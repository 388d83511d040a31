"""The description space of a line beside its parameter space: the same moments in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dltrain.course.plots.valley import contours
from dltrain.course.valley import Valley
from dltrain.insight.plots import BLUE, COLOURS, GREY, INK, ORANGE, figure, gif, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_HEIGHT = 8.2


@styled
def moments(x: np.ndarray, y: np.ndarray, valley: Valley, way: np.ndarray, steps: Sequence[int]) -> Figure:
    """Examples x, y [N] with the lines of some steps of a way [n, 2], and below its points in the plane of (w, b)."""
    fig, (above, below) = _spaces(x, y, valley, way)
    below.plot(*way.T, color=GREY, linewidth=1.2)
    for step, colour in zip(steps, (INK, *COLOURS[1:]), strict=False):
        w, b = way[step]
        _line(above, w, b, color=colour, label=f"step {step}")
        below.plot(w, b, "o", color=colour, markeredgecolor="white", markersize=10, zorder=5)
    above.set_title("description space")
    below.set_title("parameter space")
    above.legend(loc="upper left")
    return fig


@styled
def film(x: np.ndarray, y: np.ndarray, valley: Valley, way: np.ndarray, steps: Sequence[int]) -> bytes:
    """The same as a film: the line with its errors, and below the point that it is and the way that lies behind it."""
    fig, (above, below) = _spaces(x, y, valley, way)
    line = _line(above, 0, 0, color=ORANGE)
    errors = above.vlines(x, y, y, color=ORANGE, linewidth=0.8, alpha=0.6)
    (path,) = below.plot([], [], color=ORANGE)
    (dot,) = below.plot([], [], "o", color=ORANGE, markeredgecolor=INK, markersize=10, zorder=5)
    titles = above.set_title(" "), below.set_title(" ")
    fig.draw_without_rendering()
    fig.set_layout_engine("none")  # the axes stay where they are

    def moving() -> Iterator[Figure]:
        for step in steps:
            w, b = way[step]
            line.set_ydata(w * np.array(above.get_xlim()) + b)
            errors.set_segments([[(at, seen), (at, w * at + b)] for at, seen in zip(x, y, strict=True)])
            path.set_data(*way[: step + 1].T)
            dot.set_data([w], [b])
            titles[0].set_text(f"step {step}: ŷ = {w:.2f} x {'−' if b < 0 else '+'} {abs(b):.2f}")
            titles[1].set_text(f"w = {w:.2f}, b = {_signed(b)}: loss {float(valley.loss(way[step])):.2f}")
            yield fig

    return gif(moving(), wait=250, last=3000, shades=255, steady=True)


def _spaces(x: np.ndarray, y: np.ndarray, valley: Valley, way: np.ndarray) -> tuple[Figure, list[Axes]]:
    """Both panels with what stays: the examples, and the contours of the loss."""
    fig, (above, below) = figure(2, 1, height=_HEIGHT)
    above.plot(x, y, ".", color=BLUE, markersize=6)
    edge = 0.08 * np.ptp(x)
    above.set(xlabel="x", ylabel="y", xlim=(x.min() - edge, x.max() + edge), ylim=(y.min() - 0.5, y.max() + 0.5))
    contours(below, valley, [way])
    return fig, [above, below]


def _line(ax: Axes, w: float, b: float, *, color: str, label: str = "") -> Line2D:
    across = np.array(ax.get_xlim())
    return ax.plot(across, w * across + b, color=color, label=label)[0]


def _signed(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")
