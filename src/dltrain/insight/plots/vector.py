"""A figure as SVG for a page: its lines are its data, its words are text, its inks are those of the page.

A curve or a set of dots that has a name becomes `<g data-name="...">`, the band around it `data-band`, and axes say by
`data-x` and `data-y` which numbers stand where, so that the page's script can tell what is under a finger without any
data beside the picture. Bars and cells say what they are as titles.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from hashlib import sha256
from io import StringIO
from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FuncFormatter, PercentFormatter

from dltrain.errors.output import plain
from dltrain.insight.plots import COLOURS, GREY, INK, PALE, cells, pixels, styled
from dltrain.insight.plots.fonts import Canvas, as_wide, legible

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.backend_bases import GraphicsContextBase
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.legend import Legend
    from matplotlib.text import Text

_FINE, _MOST = 20_000, 500_000  # points of all curves: of more the ones that can't be seen are left out; none is SVG
_SERIES, _AXES, _ENTRY, _BAR, _BAND = "series:", "axes:", "entry:", "bar:", "band:"
_INKS = {INK: "ink", GREY: "grey", PALE: "pale", "#ffffff": "paper", "#000000": "ink"}
_INKS |= {colour: f"c{k}" for k, colour in enumerate(COLOURS)}
_LONG = re.compile(r"(\d\.\d{3})\d+")
_REFERENCE = re.compile(r"(?:^|url\()#([a-z][0-9a-z]{10,})(?=\)|$)")  # colours are shorter
_RAISED = str.maketrans("0123456789-.\N{MINUS SIGN}", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻·⁻")
_FIGURE = re.compile("[-+\N{MULTIPLICATION SIGN}0-9.e ⁰¹²³⁴⁵⁶⁷⁸⁹⁻·%]*")
_XLINK = "{http://www.w3.org/1999/xlink}href"


class _Renderer(RendererSVG):
    """Measures letters that this machine has no font for, and leaves out what no XML may have."""

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool | Literal["TeX"]
    ) -> tuple[float, float, float]:
        return super().get_text_width_height_descent(s if ismath else as_wide(s), prop, ismath)

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: bool | Literal["TeX"] = False,
        mtext: Text | None = None,
    ) -> None:
        number = _number(s) if ismath else None
        text = plain(s) if number is None else number
        super().draw_text(gc, x, y, text, prop, angle, ismath and number is None, mtext)


def _number(formula: str) -> str | None:
    """A number that was set as a formula, as text: 10⁻³."""
    bare = formula.replace("$", "").replace(r"\mathdefault", "").replace(r"\times", "\N{MULTIPLICATION SIGN}")
    bare = re.sub(r"\^\{([^{}]+)\}", lambda found: found[1].translate(_RAISED), bare)
    bare = bare.replace("{", "").replace("}", "").replace("\N{MINUS SIGN}", "-")
    return bare.replace("-", "\N{MINUS SIGN}") if _FIGURE.fullmatch(bare) else None


def name(artist: Artist, text: str, points: Sequence[str] = ()) -> None:
    """What a curve or a set of dots is called where it is pointed at; `points`: each of its dots."""
    artist.set_gid(_SERIES + json.dumps([text, list(points)]))


def fits(fig: Figure) -> bool:
    """Whether a figure is of few enough points to be one of a page's elements."""
    return _points(fig) < _MOST


def _points(fig: Figure) -> int:
    return sum(np.size(line.get_xdata()) for ax in fig.axes for line in ax.get_lines())


@styled
def svg(fig: Figure) -> str:
    """The figure as an `<svg>` element; the same figure gives the same text."""
    _name_all(fig)
    canvas = fig.canvas if isinstance(fig.canvas, Canvas) else Canvas(fig)
    own = {"svg.fonttype": "none", "svg.hashsalt": "dltrain", "path.simplify": _points(fig) > _FINE}
    dpi, out, of_pixels = fig.dpi, StringIO(), pixels.are_in(fig)
    width, height = fig.get_size_inches() * 72
    fig.patch.set_visible(False)
    canvas.put, fig.dpi = as_wide, 72
    try:
        with mpl.rc_context(own), (pixels.below if of_pixels else cells.hidden)(fig) as below:
            renderer = _Renderer(width, height, out, image_dpi=72, metadata={"Date": None})
            fig.draw(renderer)
            renderer.finalize()
        places = {f"{_AXES}{k}": _place(fig, ax, height) for k, ax in enumerate(fig.axes)}
        inside = {f"{_AXES}{k}": [] if of_pixels else cells.drawn(ax, height) for k, ax in enumerate(fig.axes)}
    finally:
        canvas.put, fig.dpi = legible, dpi
        fig.patch.set_visible(True)
    root = ET.fromstring(out.getvalue())
    if below is not None:
        root.insert(0, below)
    for group in root.iter():
        group[1:1] = inside.get(group.get("id", ""), ())  # on the background, below the letters
    return _Page(root, places).text()


def _name_all(fig: Figure) -> None:
    """Gives names to what has a label, and to the entries of legends that speak of it."""
    shared = {
        _look(handle): text for own in fig.legends for handle, text in _entries(own) if isinstance(handle, Line2D)
    }
    bands = {colour: text for (colour, _), text in shared.items()}
    for k, ax in enumerate(fig.axes):
        ax.set_gid(f"{_AXES}{k}")
        for area in (c for c in ax.collections if isinstance(c, PolyCollection) and c.get_gid() is None):
            if text := bands.get(_face(area)):
                area.set_gid(_BAND + json.dumps(text))
        for line in ax.get_lines():
            if str(line.get_label()).startswith("_") and line.get_gid() is None and _look(line) in shared:
                name(line, shared[_look(line)])
        for artist in (*ax.get_lines(), *ax.collections):
            label = str(artist.get_label())
            if label and not label.startswith("_") and artist.get_gid() is None:
                name(artist, word(label))
        for bars in (c for c in ax.containers if isinstance(c, BarContainer)):
            _name_bars(ax, bars)
    for legend in [*fig.legends, *(own for ax in fig.axes if (own := ax.get_legend()))]:
        for (handle, told), text in zip(_entries(legend), legend.get_texts(), strict=True):
            for part in filter(None, (handle, text)):
                part.set_gid(_ENTRY + json.dumps(told))


def _entries(legend: Legend) -> list[tuple[Artist | None, str]]:
    return [(h, word(t.get_text())) for h, t in zip(legend.legend_handles, legend.get_texts(), strict=True)]


def _face(area: PolyCollection) -> str:
    red, green, blue = np.asarray(area.get_facecolor(), dtype=float)[0, :3].tolist()
    return to_hex((red, green, blue))


def _look(line: Line2D) -> tuple[object, object]:
    """By which an entry of a legend and its curves are one."""
    return to_hex(line.get_color()), line.get_linestyle()


def _name_bars(ax: Axes, bars: BarContainer) -> None:
    """A bar says what stands below it, or from where to where it reaches, and its size."""
    lying = bars.orientation == "horizontal"
    axis, value = (ax.yaxis, ax.xaxis) if lying else (ax.xaxis, ax.yaxis)
    words = [word(label.get_text()) for label in axis.get_ticklabels()] if is_worded(axis) else []
    kind = "" if str(bars.get_label()).startswith("_") else f"{word(str(bars.get_label()))}, "
    for k, bar in enumerate(bars):
        begin, width = (bar.get_y(), bar.get_height()) if lying else (bar.get_x(), bar.get_width())
        size = bar.get_width() if lying else bar.get_height()
        whole = abs(begin + width / 2 - round(begin + width / 2)) < 1e-9 and width <= 1
        place = f"{begin + width / 2:g}" if whole else f"{begin:.4g} to {begin + width:.4g}"
        place = words[k] if len(words) == len(bars) else place
        told = f"{size:.1%}" if isinstance(value.get_major_formatter(), PercentFormatter) else f"{size:.4g}"
        bar.set_gid(_BAR + json.dumps(f"{kind}{place}: {told}"))


def word(text: str) -> str:
    return text.replace(r"\$", "$")


def is_worded(axis: Axis) -> bool:
    """Whether words that were given stand at an axis."""
    return isinstance(axis.get_major_formatter(), (FixedFormatter, FuncFormatter))


def _place(fig: Figure, ax: Axes, height: float) -> dict[str, str]:
    """Which numbers stand where, as JSON: from and to in the picture, the numbers there, whether in equal factors."""
    box = ax.bbox.frozen()
    below = [o.get_xlabel() or "" for o in fig.axes if o.bbox.y0 < box.y0]  # which has the words for both
    ends = {"x": (box.x0, box.x1), "y": (height - box.y0, height - box.y1)}
    words = {"x": ax.get_xlabel() or next(filter(None, below), ""), "y": ax.get_ylabel()}
    limits = {"x": ax.get_xlim(), "y": ax.get_ylim()}
    found = {}
    for letter, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        value = {
            "at": [round(float(end), 2) for end in ends[letter]],
            "of": [float(limit) for limit in limits[letter]],
            "log": axis.get_scale() == "log",
            "share": isinstance(axis.get_major_formatter(), PercentFormatter),
            "label": None if is_worded(axis) or not len(axis.get_ticklocs()) else word(words[letter] or ""),
        }
        found[f"data-{letter}"] = json.dumps(value, separators=(",", ":"))
    return found


class _Page:
    """What matplotlib wrote, as it stands in a page: light, its inks by name, no id that another picture may have."""

    def __init__(self, root: ET.Element, places: dict[str, dict[str, str]]) -> None:
        self.root, self.places = root, places
        self.sets: list[list[str]] = []  # of points' names, each once
        self.prefix = f"v{sha256(ET.tostring(root)).hexdigest()[:8]}-"

    def text(self) -> str:
        root = self.root
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
            if _XLINK in element.attrib:
                element.set("href", element.attrib.pop(_XLINK))
        self._thin(root)
        used = {found for e in root.iter() for v in e.attrib.values() for found in _REFERENCE.findall(v)}
        for element in root.iter():
            self._rewrite(element, used)
        box = root.get("viewBox", "")
        root.attrib = {"class": "plot", "viewBox": box}
        if self.sets:
            root.set("data-sets", json.dumps(self.sets, ensure_ascii=False))
        return ET.tostring(root, encoding="unicode")

    def _thin(self, parent: ET.Element) -> None:
        """Without what is for other programs, and without rules that would be the whole page's."""
        for child in list(parent):
            style = child.tag == "defs" and child.find("style") is not None
            if child.tag == "metadata" or style or (child.tag == "defs" and not len(child)):
                parent.remove(child)
            else:
                self._thin(child)
        marks = [child for child in parent if child.tag == "use"]
        if marks and len({mark.get("style") for mark in marks}) == 1:  # thousands of dots of one look
            if style := marks[0].get("style"):
                parent.set("style", style)
            for mark in marks:
                mark.attrib.pop("style", None)
        parent.text = parent.text.strip() if parent.text and parent.tag not in ("text", "tspan") else parent.text
        parent.tail = None

    def _rewrite(self, element: ET.Element, used: set[str]) -> None:
        own = element.attrib
        given = own.pop("id", "")
        if given in self.places:
            own.update(self.places[given])
        elif given.startswith((_SERIES, _ENTRY, _BAR, _BAND)):
            self._named(element, given)
        elif given in used:
            own["id"] = self.prefix + given
        for key, value in list(own.items()):
            if key.startswith("data-"):
                continue
            value = _REFERENCE.sub(lambda found: found[0].replace("#", f"#{self.prefix}"), value)
            if key == "style":
                value = re.sub(r"; font-family: [^;]*|font-family: [^;]*; ?", "", value)
                value = re.sub(r"#[0-9a-f]{6}", lambda m: _ink(m[0]), value)
            elif key in ("d", "x", "y", "transform", "width", "height"):
                value = _LONG.sub(r"\1", value).replace("\n", "")
            own[key] = value

    def _named(self, element: ET.Element, given: str) -> None:
        kind, _, content = given.partition(":")
        told = json.loads(content)
        if kind in ("entry", "band"):
            element.set(f"data-{kind}", told)
            return
        title = ET.Element("title")
        title.text = plain(told if kind == "bar" else told[0])
        element.insert(0, title)
        if kind == "bar":
            return
        element.set("data-name", title.text)
        if points := [plain(word) for word in told[1]]:
            if points not in self.sets:
                self.sets.append(points)
            element.set("data-points", str(self.sets.index(points)))


def _ink(colour: str) -> str:
    return f"var(--{_INKS[colour]})" if colour in _INKS else colour
