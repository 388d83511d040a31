r"""Words of any script in a picture: by a font of this machine that has their letters, else spelled, 中 as \u4e2d."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

if TYPE_CHECKING:
    from matplotlib.backend_bases import GraphicsContextBase
    from matplotlib.figure import Figure

_OWN = "DejaVu Sans"  # comes with matplotlib
_OTHERS = (  # for the scripts that it lacks, where they are installed
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans",
    "Yu Gothic",
    "MS Gothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "NanumGothic",
    "Noto Sans Devanagari",
    "Nirmala UI",
    "Noto Sans Thai",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Arial Unicode MS",
    "Segoe UI Symbol",
    "Apple Symbols",
    "Noto Sans Symbols2",
)


@cache
def families() -> list[str]:
    """The fonts of a picture, in the order in which they are asked for a letter."""
    there = {font.name for font in fontManager.ttflist}
    return [_OWN, *(name for name in _OTHERS if name in there)]


@cache
def _is_drawn(letter: str) -> bool:
    if letter.isspace() or unicodedata.combining(letter):
        return True
    files = (findfont(FontProperties(family=name)) for name in families())
    return any(get_font(file).get_char_index(ord(letter)) for file in files)


def legible(text: str) -> str:
    """The same text, with what no font can draw spelled."""
    return text if text.isascii() else "".join(c if _is_drawn(c) else _spelled(c) for c in text)


def drawable(fig: Figure) -> bool:
    """Whether the fonts of this machine have all letters of a figure."""
    return all(legible(text.get_text()) == text.get_text() for text in fig.findobj(Text))


def _spelled(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()


def as_wide(text: str) -> str:
    """A text that takes about as much room, of letters that can be measured: a browser has the fonts itself."""
    return text if text.isascii() else "".join(c if _is_drawn(c) else _like(c) for c in text)


def _like(letter: str) -> str:
    return "W" if unicodedata.east_asian_width(letter) in "WF" else "n"


class Renderer(RendererAgg):
    """Draws no boxes in the place of letters. `put`: what stands for a text that is measured or drawn."""

    put: Callable[[str], str] = staticmethod(legible)

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool | Literal["TeX"]
    ) -> tuple[float, float, float]:
        return super().get_text_width_height_descent(s if ismath else self.put(s), prop, ismath)

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
        super().draw_text(gc, x, y, s if ismath else self.put(s), prop, angle, ismath, mtext)


class Canvas(FigureCanvasAgg):
    """The canvas of every figure."""

    put: Callable[[str], str] = staticmethod(legible)
    _made: tuple[object, Renderer] | None = None

    def get_renderer(self) -> Renderer:
        width, height = self.get_width_height(physical=True)
        key = width, height, self.figure.dpi
        if self._made is None or self._made[0] != key:
            self._made = key, Renderer(width, height, self.figure.dpi)
        self._made[1].put = self.put
        return self._made[1]
