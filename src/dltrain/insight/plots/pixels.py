"""Images and maps of a figure in a page: their pixels, on nothing, below letters and axes that have the page's inks."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.contour import ContourSet
from matplotlib.text import Text
from PIL import Image

from dltrain.insight.plots import cells
from dltrain.insight.plots.fonts import Canvas

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 160  # as in a file
_SCALE = "<colorbar>"  # the label of axes that are one


def are_in(fig: Figure) -> bool:
    """Whether a figure has images that are no cells, or maps."""
    return any(isinstance(c, ContourSet) for ax in fig.axes for c in ax.collections) or not cells.are_in(fig)


@contextmanager
def below(fig: Figure) -> Iterator[ET.Element]:
    """The pixels of a figure as an element of an SVG, and meanwhile the figure without what they show."""
    engine, axes = fig.get_layout_engine(), [ax for ax in fig.axes if _is_of_pixels(ax)]
    if engine is not None:
        engine.execute(fig)  # as it is with all that is in it
    fig.set_layout_engine("none")
    inside = [artist for ax in axes for artist in _inside(ax)]
    around = [artist for ax in axes for artist in _around(ax)]
    others = [own for each in (fig, *fig.subfigs) for own in (each.patch, *each.texts, *each.legends)]
    others += [ax for ax in fig.axes if ax not in axes]
    backgrounds = [ax.patch for ax in axes]
    try:
        with _hidden([*around, *others, *backgrounds]):
            drawn = _image(fig)
        with _hidden([*inside, *backgrounds]):
            yield drawn
    finally:
        fig.set_layout_engine(engine)


def _is_of_pixels(ax: Axes) -> bool:
    maps = any(isinstance(c, ContourSet) for c in ax.collections)
    return bool(ax.images) or maps or ax.get_label() == _SCALE


def _inside(ax: Axes) -> list[Artist]:
    """What is drawn in axes, and what their legend has beside its words."""
    legend = ax.get_legend()
    handles = [handle for handle in legend.legend_handles if handle] if legend else []
    return [*ax.images, *ax.collections, *ax.lines, *ax.patches, *ax.texts, *handles]


def _around(ax: Axes) -> list[Artist]:
    """Their scales, their frame, their titles, the words of their legend."""
    titles = [own for own in ax.get_children() if isinstance(own, Text) and own not in ax.texts]
    legend = ax.get_legend()
    return [ax.xaxis, ax.yaxis, *ax.spines.values(), *titles, *(legend.get_texts() if legend else ())]


@contextmanager
def _hidden(artists: Iterable[Artist]) -> Iterator[None]:
    seen = [artist for artist in artists if artist.get_visible()]
    for artist in seen:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in seen:
            artist.set_visible(True)


def _image(fig: Figure) -> ET.Element:
    """What is to be seen of a figure, cut to where that is."""
    dpi = fig.dpi
    fig.dpi = _DPI
    try:
        canvas = Canvas(fig)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    finally:
        fig.dpi = dpi
    left, top, right, bottom = image.getbbox() or (0, 0, 1, 1)
    content, scale = io.BytesIO(), 72 / _DPI
    image.crop((left, top, right, bottom)).save(content, "png")
    place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    drawn = ET.Element("image", {key: f"{value * scale:.3f}" for key, value in place.items()})
    drawn.set("href", f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}")
    return drawn
