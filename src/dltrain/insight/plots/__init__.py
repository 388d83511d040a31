"""Figures from what a run left behind: functions of plain numbers that return a matplotlib `Figure`.

matplotlib takes half a second to import, so this package is imported where a picture is wanted and nowhere else. It
uses no pyplot: no window, no global state, and `@styled` around each function in place of changed defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.errors import system

# It takes a matplotlibrc of the folder that one works in, which may start TeX, and looks for a backend that is named.
with chdir(Path(__file__).parent), system.without("MPLBACKEND"):
    import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter
from matplotlib.typing import ColorType

from dltrain.errors import output
from dltrain.insight.plots import fonts
from dltrain.parts.metrics import SHARES
from dltrain.runs import storage

if TYPE_CHECKING:
    from PIL.Image import Image

BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, SKY = (
    "#0072b2",  # blue to green, and sky: Okabe & Ito 2008; the others were searched for beside them
    "#d55e00",
    "#009e73",
    "#ce0533",
    "#6c4975",
    "#5d440f",
    "#56b4e9",
)
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, SKY, "#7f7f7f", "#b5a000", "#14505c")
INK, GREY, PALE = "#222222", "#8c8c8c", "#e3e3e3"

WIDTH = 5.6  # inches: shown 360 pixels wide on a phone, text of 11 points is as large as the page's small print

_STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 160,
    "savefig.dpi": 160,
    "font.family": fonts.families(),
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": True,
    "axes.prop_cycle": cycler(color=COLOURS),
    "grid.color": PALE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "image.cmap": "viridis",
}

styled = context(_STYLE, after_reset=True)  # the decorator of every function that draws; nobody's settings change it


def empty(height: float, *, width: float = WIDTH) -> Figure:
    """A figure of `width` x `height` inches without axes, for functions that are `styled` themselves."""
    fig = Figure(figsize=(width, height), layout="constrained")
    fonts.Canvas(fig)
    return fig


@styled
def figure(rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure of `width` x `height` inches, and its axes row by row."""
    fig = empty(height, width=width)
    return fig, list(fig.subplots(rows, columns, squeeze=False).flat)


def colours(n: int) -> Sequence[ColorType]:
    """n colours that differ as much as they can."""
    if n <= len(COLOURS):
        return COLOURS[:n]
    return [mpl.colormaps["turbo"](0.05 + 0.9 * i / (n - 1)) for i in range(n)]


# -- metrics ---------------------------------------------------------------------------------------------------


def title(metric: str) -> str:
    """The name of a metric for a person."""
    return metric.replace("_", " ")


def number(metric: str, value: float) -> str:
    """A value of a metric, as short as a picture wants it."""
    if metric in SHARES:
        return f"{value:.1%}"
    return f"{value:,.0f}" if 1_000 <= abs(value) < 1e9 else f"{value:.3g}"


def wide(low: float, high: float) -> bool:
    """Whether numbers from `low` to `high` are told apart by their logarithms: equal factors, equal distances."""
    return low > 0 and high >= 20 * low


def metric_axis(ax: Axes, metric: str) -> None:
    """The vertical axis of a metric that was drawn: shares in per cent, and no higher than 1."""
    low, high = ax.dataLim.intervaly
    if metric in SHARES:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        if high <= 1:
            ax.set_ylim(top=min(ax.get_ylim()[1], 1.01))
    elif wide(low, high):
        ax.set_yscale("log")
    else:
        _thousands(ax.yaxis, high)


def measured(axis: Axis, values: np.ndarray, scale: Callable[..., object] | None = None) -> None:
    """An axis of numbers in a unit: thousands as 20,000, and no more labels than have room. `scale`, as
    `ax.set_xscale`, is asked for logarithms where they span more than three decades; 0 and below stay on the axis.
    """
    size = np.abs(values[values != 0])
    least = float(np.quantile(size, 0.05)) if len(size) else 0.0
    if scale and (values < 0).mean() < 0.1 and size.max(initial=0) > 1_000 * least:
        scale("symlog", linthresh=least)
        return
    axis.set_major_locator(MaxNLocator(6))
    _thousands(axis, size.max(initial=0))


def _thousands(axis: Axis, most: float) -> None:
    if 1_000 <= most < 1e7:
        axis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))


def epoch_axis(ax: Axes) -> None:
    """The horizontal axis of curves over the epochs."""
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=ax.dataLim.x1 >= 3))


# -- words and files -------------------------------------------------------------------------------------------


def plain(text: object, limit: int = 40) -> str:
    """Words of the user's for a figure: cut to a length, and a dollar in them starts no formula."""
    words = output.plain(str(text))
    return (words if len(words) <= limit else f"{words[: limit - 1]}…").replace("$", r"\$")


def apart(texts: Sequence[object], limit: int = 40) -> list[str]:
    """The same of several: what is cut still tells them apart."""
    return [plain(text, limit + 12) for text in output.apart([str(text) for text in texts], limit)]


def image(ax: Axes, *, frame: bool = False) -> None:
    """Prepares axes for a picture: no ticks, no grid, and a thin frame only where white pixels need an edge."""
    ax.grid(False)
    if frame:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=GREY, linewidth=0.8)
    else:
        ax.set_axis_off()


@styled
def png(fig: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    buffer = BytesIO()
    fonts.Canvas(fig)
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def frames_of(figures: Iterable[Figure], dpi: int) -> Iterator[Image]:
    """The figures of a film as pixels, one by one."""
    from PIL.Image import fromarray

    for fig in figures:
        fig.set_dpi(dpi)
        canvas = fonts.Canvas(fig)
        canvas.draw()
        yield fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


@styled
def gif(
    figures: Iterable[Figure],
    *,
    wait: int = 140,
    last: int = 2500,
    dpi: int = 100,
    shades: int = 96,
    steady: bool = False,
) -> bytes:
    """The figures, all of one size, as an endless GIF of so many colours; `wait` and `last` are milliseconds.

    They are drawn one by one: an iterator may change what it draws from in between. steady: all frames have the
    colours of the last one, so that none flickers and the file is small; otherwise each has its own.
    """
    from PIL import Image

    frames = [
        frame if steady else frame.quantize(shades, dither=Image.Dither.NONE) for frame in frames_of(figures, dpi)
    ]
    if steady:
        palette = frames[-1].quantize(shades, method=Image.Quantize.FASTOCTREE)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = BytesIO()
    waits = [wait] * (len(frames) - 1) + [last]  # the end stays to be looked at
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], duration=waits, loop=0)
    return buffer.getvalue()


def save(fig: Figure, path: Path) -> Path:
    """Writes the figure as PNG in the place of what is there, with its folder; raises OSError."""
    return save_bytes(png(fig), path)


def save_bytes(content: bytes, path: Path) -> Path:
    """Writes a finished picture in the place of what is there, with its folder; raises OSError."""
    if not path.parent.is_dir():
        storage.disk.mkdir(path.parent)
    storage.replace(path, content)
    return path
