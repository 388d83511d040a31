"""What a figure shows, as a sentence made of its numbers, for who does not see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.container import BarContainer
from matplotlib.contour import ContourSet
from matplotlib.ticker import PercentFormatter

from dltrain.insight.plots.vector import is_worded, word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_TOLD = 4  # curves, and panels, that are told of one by one


def seen(fig: Figure) -> str:
    """The panels of a figure, a sentence each."""
    panels = [told for ax in fig.axes if ax.get_label() != "<colorbar>" and (told := " ".join(_panel(ax)))]
    more = len(panels) - _TOLD
    return " ".join([*_tiles(fig), *panels[:_TOLD], *[f"And {more} more like these."] * (more > 0)])


def _tiles(fig: Figure) -> Iterator[str]:
    """Images that have no axes."""
    sizes = [np.asarray(ax.images[0].get_array()).shape for ax in fig.axes if ax.images and not ax.axison]
    if sizes:
        yield f"{len(sizes)} image{'s' * (len(sizes) > 1)} of {sizes[0][0]} by {sizes[0][1]} pixels."


def _panel(ax: Axes) -> Iterator[str]:
    if title := word(ax.get_title("left") or ax.get_title()):
        yield f"{title}.".replace("\n", " ").replace("..", ".")
    across, up = (word(axis.label.get_text()) for axis in (ax.xaxis, ax.yaxis))
    if ax.images and ax.axison:
        rows, columns = np.asarray(ax.images[0].get_array()).shape[:2]
        size = f"{rows} by {columns}" if rows <= 40 or not (across and up) else ""
        yield f"A map of {', '.join(filter(None, (f'{up} over {across}' if across and up else '', size)))}."
    for filled in (c for c in ax.collections if isinstance(c, ContourSet) and c.filled):
        low, *_, high = filled.levels
        yield f"A map of {up} over {across}, with values from {low:.3g} to {high:.3g}."
    names = f"{up or 'Values'}{f' over {across}' if across else ''}"
    if curves := [*_curves(ax)]:
        more = f", and {len(curves) - _TOLD} more" if len(curves) > _TOLD else ""
        yield f"{names}: {'; '.join(curves[:_TOLD])}{more}."
    if dots := sum(len(np.asarray(c.get_offsets())) for c in ax.collections if isinstance(c, PathCollection)):
        yield f"{names}: {dots:,} dots."
    for bars in (c for c in ax.containers if isinstance(c, BarContainer)):
        yield _bars(ax, bars)


def _curves(ax: Axes) -> Iterator[str]:
    for line in ax.get_lines():
        y = np.asarray(line.get_ydata(), dtype=float)
        label = str(line.get_label())
        if len(y) < 2 or not np.isfinite(y).any() or line.get_transform() != ax.transData:
            continue
        y, named = y[np.isfinite(y)], "" if label.startswith("_") else f"{word(label)} "
        if line.get_linestyle() == "None":
            yield f"{named}{len(y):,} dots from {_number(ax.yaxis, y.min())} to {_number(ax.yaxis, y.max())}"
        elif named or len(y) > 2:
            yield f"{named}from {_number(ax.yaxis, y[0])} to {_number(ax.yaxis, y[-1])}"


def _bars(ax: Axes, bars: BarContainer) -> str:
    lying = bars.orientation == "horizontal"
    axis, value = (ax.yaxis, ax.xaxis) if lying else (ax.xaxis, ax.yaxis)
    sizes = [bar.get_width() if lying else bar.get_height() for bar in bars]
    if not sizes:
        return ""
    most = int(np.nanargmax(sizes))
    names = [word(label.get_text()) for label in axis.get_ticklabels()]
    which = f", {names[most]}" if is_worded(axis) and len(names) == len(sizes) else ""
    return f"{len(sizes)} bars, the largest{which} {_number(value, sizes[most])}."


def _number(axis: Axis, value: float) -> str:
    return f"{value:.1%}" if isinstance(axis.get_major_formatter(), PercentFormatter) else f"{value:.3g}"
