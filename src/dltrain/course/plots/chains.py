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
    """What it is called, the sizes of its output and of its error, its rule, and the shapes of what it learns."""

    name: str
    output: float
    error: float
    rule: str = ""
    learned: str = ""


Chains = tuple[Sequence[Module], Sequence[Module]]


def film(both: Chains, costs: tuple[float, float], replaced: int) -> Iterator[Figure]:
    """Forward from module to module, and back; `replaced` is where the chains differ, `costs` what they end in."""
    last = len(both[0])
    for k in range(1, last + 1):
        yield _frame(both, costs, replaced, k, last + 1, f"forward: z{up(k)} = M{up(k)}({_before(k)})")
    yield _frame(both, costs, replaced, last + 1, last + 1, f"the cost: L(ŷ, y), where ŷ = z{up(last)}")
    for k in range(last, 0, -1):
        made = "∂L/∂ŷ" if k == last else f"by M{up(k + 1)} from δ{up(k + 1)}"
        yield _frame(both, costs, replaced, last + 1, k, f"backward: δ{up(k)} {'= ' * (k == last)}{made}")


def _before(k: int) -> str:
    return "x" if k == 1 else f"z{up(k - 1)}"


@styled
def _frame(both: Chains, costs: tuple[float, float], replaced: int, forward: int, backward: int, title: str) -> Figure:
    """Both chains with the outputs of the first `forward` modules, and the errors from module `backward` on."""
    first, end = both[0], len(both[0]) + 1
    fig, ax = _empty(end)
    for left, chain, cost in zip((0.0, 2.75), both, costs, strict=True):
        ax.text(left + 0.5, 0.42, "x", ha="center", va="center")
        ax.text(left + 1.45, 0.42, "size of z", ha="center", va="center", color=BLUE, fontsize=10)
        ax.text(left + 2.18, 0.42, "of δ", ha="center", va="center", color=ORANGE, fontsize=10)
        for k, module in enumerate(chain, 1):
            other, new = first[k - 1], chain is not first and k == replaced + 1
            _box(ax, left, k, f"M{up(k)}  {plain(module.name, 9)}", learns=bool(module.learned), new=new)
            if k <= forward:
                _value(ax, left + 1.45, k, module.output, BLUE, changed=module.output != other.output)
            if k >= backward:
                _value(ax, left + 2.18, k, module.error, ORANGE, changed=module.error != other.error)
        _box(ax, left, end, "cost L", learns=False)
        if forward == end:
            _value(ax, left + 1.45, end, cost, INK, changed=cost != costs[0])
    ax.set(xlim=(-0.05, 5.35), ylim=(-end + 0.2, 0.7))
    ax.set_title(title, fontsize=12)
    return fig


@styled
def kinds(chain: Sequence[Module], cost: float) -> Figure:
    """One chain: of each module its rule, what it learns, the sizes of its output and error; the cost at its end."""
    end = len(chain) + 1
    fig, ax = _empty(end)
    ax.text(0.68, 0.42, "x", ha="center", va="center")
    titles = (1.5, "zᵏ, from z = zᵏ⁻¹", INK), (3.25, "Wᵏ", INK), (4.15, "size of z", BLUE), (4.95, "of δ", ORANGE)
    for across, words, colour in titles:
        ax.text(across, 0.42, words, ha="left" if across < 2 else "center", va="center", color=colour, fontsize=10)
    for k, module in enumerate(chain, 1):
        _box(ax, 0.0, k, f"M{up(k)}  {plain(module.name, 11)}", learns=bool(module.learned), width=1.35)
        ax.text(1.5, 0.65 - k, module.rule, ha="left", va="center", fontsize=10)
        ax.text(3.25, 0.65 - k, module.learned or "none", ha="center", va="center", fontsize=10)
        _value(ax, 4.15, k, module.output, BLUE)
        _value(ax, 4.95, k, module.error, ORANGE)
    _box(ax, 0.0, end, "cost L", learns=False, width=1.35)
    ax.text(
        1.5,
        0.65 - end,
        f"of ŷ = z{up(len(chain))} and y: L = {cost:.3f}, sends back ∂L/∂ŷ = δ{up(len(chain))}",
        va="center",
        fontsize=10,
    )
    ax.set(xlim=(-0.05, 5.35), ylim=(-end + 0.2, 0.7))
    return fig


def _empty(rows: int) -> tuple[Figure, Axes]:
    fig = empty(1.0 + 0.62 * rows)
    fig.set_layout_engine("none")  # which would measure each frame anew
    ax = fig.add_axes((0.01, 0.0, 0.98, 0.93))
    ax.set_axis_off()
    ax.grid(False)
    return fig, ax


def _box(ax: Axes, left: float, k: int, words: str, *, learns: bool, new: bool = False, width: float = 1.0) -> None:
    """The k-th box of a chain, with an arrow to it from above."""
    colour, height = RED if new else BLUE if learns else GREY, 0.65 - k
    shape = FancyBboxPatch(
        (left, height - 0.24), width, 0.48, "round,pad=0,rounding_size=0.1", fc="white" if learns else PALE, ec=colour
    )
    shape.set_linewidth(2.4 if new else 1.2)
    ax.add_patch(shape)
    middle = left + width / 2
    ax.text(middle, height, words, ha="center", va="center", fontsize=10, color=RED if new else INK)
    arrow = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", (middle, height + 0.27), (middle, height + 0.48), arrowprops=arrow)


def _value(ax: Axes, across: float, k: int, value: float, colour: str, *, changed: bool = False) -> None:
    ax.text(
        across,
        0.65 - k,
        f"{value:.1e}" if 0 < value < 0.001 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}",
        ha="center",
        va="center",
        color=RED if changed else colour,
        weight="bold" if changed else "normal",
    )
