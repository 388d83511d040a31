"""Two chains of modules side by side, and what passes through them, as a film."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.patches import FancyBboxPatch

from dltrain.course.plots.passes import up
from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, PALE, RED, empty, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Module(NamedTuple):
    """What it is called, the size of its output and of its error, and whether it has weights."""

    name: str
    output: float
    error: float
    learns: bool


def film(first: Sequence[Module], second: Sequence[Module], replaced: int) -> Iterator[Figure]:
    """Forward from module to module, and back; `replaced` is where the chains differ."""
    last = len(first)
    for k in range(1, last + 1):
        yield _frame(first, second, replaced, k, last + 1, f"forward: z{up(k)} = M{up(k)}({_before(k)})")
    for k in range(last, 0, -1):
        made = "∂L/∂ŷ" if k == last else f"by M{up(k + 1)} from δ{up(k + 1)}"
        yield _frame(first, second, replaced, last, k, f"backward: δ{up(k)} {'= ' * (k == last)}{made}")


def _before(k: int) -> str:
    return "x" if k == 1 else f"z{up(k - 1)}"


@styled
def _frame(
    first: Sequence[Module], second: Sequence[Module], replaced: int, forward: int, backward: int, title: str
) -> Figure:
    """Both chains with the outputs of the first `forward` modules, and the errors from module `backward` on."""
    fig = empty(1.0 + 0.62 * len(first))
    fig.set_layout_engine("none")  # which would measure each frame anew
    ax = fig.add_axes((0.01, 0.0, 0.98, 0.93))
    ax.set_axis_off()
    ax.grid(False)
    for left, chain in ((0.0, first), (2.75, second)):
        ax.text(left + 0.5, 0.42, "x", ha="center", va="center")
        ax.text(left + 1.45, 0.42, "size of z", ha="center", va="center", color=BLUE, fontsize=10)
        ax.text(left + 2.18, 0.42, "of δ", ha="center", va="center", color=ORANGE, fontsize=10)
        for k, module in enumerate(chain, 1):
            _box(
                ax,
                left,
                -k + 0.65,
                f"M{up(k)}  {plain(module.name, 9)}",
                module.learns,
                chain is second and k == replaced + 1,
            )
            arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (left + 0.5, -k + 0.92), (left + 0.5, -k + 1.13), arrowprops=arrow)
            other = first[k - 1]
            if k <= forward:
                _value(ax, left + 1.45, -k + 0.65, module.output, BLUE, module.output != other.output)
            if k >= backward:
                _value(ax, left + 2.18, -k + 0.65, module.error, ORANGE, module.error != other.error)
    ax.set(xlim=(-0.05, 5.35), ylim=(-len(first) + 0.2, 0.7))
    ax.set_title(title, fontsize=12)
    return fig


def _box(ax: Axes, left: float, height: float, words: str, learns: bool, new: bool) -> None:
    colour = RED if new else BLUE if learns else GREY
    shape = FancyBboxPatch(
        (left, height - 0.24), 1.0, 0.48, "round,pad=0,rounding_size=0.1", fc="white" if learns else PALE, ec=colour
    )
    shape.set_linewidth(2.4 if new else 1.2)
    ax.add_patch(shape)
    ax.text(left + 0.5, height, words, ha="center", va="center", fontsize=10, color=RED if new else INK)


def _value(ax: Axes, across: float, height: float, value: float, colour: str, changed: bool) -> None:
    ax.text(
        across,
        height,
        f"{value:.4f}" if value < 0.01 else f"{value:.3f}",
        ha="center",
        va="center",
        color=RED if changed else colour,
        weight="bold" if changed else "normal",
    )
