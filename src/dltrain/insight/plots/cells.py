"""Matrices and heat maps of a few cells: an image in a file, and in a page a rectangle each, which says what it is."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import QuadMesh

from dltrain.errors.output import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

DARK = 0.65  # of the scale: on darker cells letters are white
_MARK = "cells:"
_MOST = 400
_STEPS = 48  # of the scale beside a map


def name(image: AxesImage, titles: Sequence[Sequence[str]]) -> None:
    """What each cell is called where it is pointed at, row by row; more than can be pointed at stay pixels."""
    if sum(map(len, titles)) <= _MOST:
        image.set_gid(_MARK + json.dumps([[text.replace(r"\$", "$") for text in row] for row in titles]))


def are_in(fig: Figure) -> bool:
    """Whether each image of a figure is of cells."""
    return all(str(image.get_gid()).startswith(_MARK) for ax in fig.axes for image in ax.images)


@contextmanager
def hidden(fig: Figure) -> Iterator[None]:
    """The figure without its cells, and without the colours of the scale beside them."""
    artists = [*(image for ax in fig.axes for image in ax.images), *(own for ax in fig.axes for own in _scale(ax))]
    for artist in artists:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in artists:
            artist.set_visible(True)


def _scale(ax: Axes) -> list[QuadMesh]:
    return [c for c in ax.collections if isinstance(c, QuadMesh)] if ax.get_label() == "<colorbar>" else []


def drawn(ax: Axes, height: float) -> list[ET.Element]:
    """The cells of axes as elements of an SVG of that height; how dark each is, its style says."""
    found: list[ET.Element] = []
    for image in ax.images:
        values, titles = np.ma.asarray(image.get_array()), json.loads(str(image.get_gid()).removeprefix(_MARK))
        turned = image.get_cmap().name.endswith("_r")
        for (i, j), share in np.ma.ndenumerate(image.norm(values)):
            corners = ax.transData.transform([(j - 0.5, i - 0.5), (j + 0.5, i + 0.5)])
            found.append(_cell(corners, height, 1 - share if turned else share, titles[i][j]))
    for scale in _scale(ax):
        turned = scale.get_cmap().name.endswith("_r")
        for k in range(_STEPS):
            share = (k + 0.5) / _STEPS
            corners = ax.transAxes.transform([(k / _STEPS, 0), (min(1, (k + 1.2) / _STEPS), 1)])
            found.append(_cell(corners, height, 1 - share if turned else share, ""))
    return found


def _cell(corners: np.ndarray, height: float, share: float, title: str) -> ET.Element:
    (left, low), (right, high) = corners.min(0), corners.max(0)
    size = {"x": left, "y": height - high, "width": right - left, "height": high - low}
    cell = ET.Element("rect", {key: f"{value:.2f}" for key, value in size.items()})
    cell.set("class", "cell")
    cell.set("style", f"--s: {100 * min(max(share, 0.0), 1.0):.1f}%")
    if title:
        ET.SubElement(cell, "title").text = plain(title)
    return cell
