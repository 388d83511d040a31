"""A small net as a graph with the numbers of one step on it, as a film; each derivative beside what a nudge does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dltrain.insight.plots import BLUE, GREEN, GREY, INK, ORANGE, empty, figure, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 4  # units drawn of a layer


@dataclass(frozen=True)
class Layer:
    """One layer in one step for one example: K units over D inputs; g is what it is called in a title."""

    weight: np.ndarray  # [K, D]
    bias: np.ndarray  # [K]
    slope: np.ndarray  # [K, D], dL/dW
    new: np.ndarray  # [K, D], the weight after the step
    new_bias: np.ndarray  # [K]
    a: np.ndarray  # [K]
    z: np.ndarray  # [K]
    delta: np.ndarray  # [K], dL/da
    g: str


@dataclass(frozen=True)
class Step:
    """A forward pass, a backward pass and an update of `layers` for one example x [D] with the target y [K]."""

    x: np.ndarray
    y: np.ndarray
    layers: Sequence[Layer]
    loss: float
    new_loss: float
    error: np.ndarray  # [K], dL by the answer
    rate: float


@dataclass
class _Shown:
    """How far a film has come. edges: of each layer its weights, gradients or new weights; bright: what is new."""

    title: str = ""
    a: int = 0
    z: int = 0
    loss: str = ""
    delta: set[int] = field(default_factory=set)
    edges: dict[int, str] = field(default_factory=dict)
    bright: tuple[str, int] = ("", 0)


def up(k: int) -> str:
    """A number as a superscript."""
    return str(k).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def down(k: int) -> str:
    """A number as a subscript."""
    return str(k).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def film(step: Step) -> Iterator[Figure]:
    """One step, a figure for each thing that is computed."""
    shown, last = _Shown(), len(step.layers)

    def told(title: str, kind: str, k: int) -> Figure:
        shown.title, shown.bright = title, (kind, k)
        return graph(step, shown)

    yield told("forward: the example x", "x", 0)
    for k, layer in enumerate(step.layers, 1):
        below = "x" if k == 1 else f"z{up(k - 1)}"
        shown.a = k
        yield told(f"forward: a{up(k)} = W{up(k)} {below} + b{up(k)}", "edges", k)
        shown.z = k
        yield told(f"forward: z{up(k)} = {layer.g}(a{up(k)})" + ", the answer ŷ" * (k == last), "unit", k)
    shown.loss = f"L = (ŷ - y)²\n= {step.loss:.3f}"
    yield told("the loss: how wrong the answer is", "loss", last)
    shown.loss += f"\n∂L/∂ŷ\n= {step.error[0]:.3f}"
    yield told("backward: ∂L/∂ŷ = 2 (ŷ - y)", "loss", last)
    for k in range(last, 0, -1):
        above = "∂L/∂ŷ" if k == last else f"W{up(k + 1)}ᵗ δ{up(k + 1)}"
        below = "x" if k == 1 else f"z{up(k - 1)}"
        shown.delta.add(k)
        shown.edges.pop(k + 1, None)  # δ comes back by the weights
        yield told(f"backward: δ{up(k)} = ({above}) · {step.layers[k - 1].g}'(a{up(k)})", "unit", k)
        shown.edges |= dict.fromkeys(range(k, last + 1), "gradient")
        yield told(f"backward: ∂L/∂W{up(k)} = δ{up(k)} · {below}, ∂L/∂b{up(k)} = δ{up(k)}", "edges", k)
    shown.edges = dict.fromkeys(range(1, last + 1), "new")
    shown.loss = f"L = (ŷ - y)²\n= {step.loss:.3f}\nnew L\n= {step.new_loss:.3f}"
    end = "falls" if step.new_loss < step.loss else "does not fall"
    yield told(f"step: W ← W - {step.rate:g} ∂L/∂W, the same for b, and L {end}", "edges", 0)


@styled
def graph(step: Step, shown: _Shown) -> Figure:
    """The net as far as it is shown."""
    fig = empty(4.0)
    fig.set_layout_engine("none")  # which would measure each frame anew
    ax = fig.add_axes((0.01, 0.0, 0.98, 0.92))
    ax.set_axis_off()
    ax.grid(False)
    columns = [step.x, *(layer.a for layer in step.layers)]
    places = [_places(column, len(values[:_MOST])) for column, values in enumerate(columns)]
    for k, layer in enumerate(step.layers, 1):
        _edges(ax, places[k - 1], places[k], layer, shown, k)
    for i, (across, height) in enumerate(places[0]):
        _node(ax, across, height, f"x{down(i + 1)}\n{step.x[i]:g}", bright=shown.bright[0] == "x")
    for k, layer in enumerate(step.layers, 1):
        for j, (across, height) in enumerate(places[k]):
            lines = [f"a {layer.a[j]:.3f}"] * (shown.a >= k) + [f"z {layer.z[j]:.3f}"] * (shown.z >= k)
            now = shown.bright[0] in ("unit", "edges") and shown.bright[1] == k
            _node(ax, across, height, "\n".join(lines), bright=now)
            new = shown.edges.get(k) == "new"
            words, colour = (f"b {layer.new_bias[j]:.3f}", GREEN) if new else (f"b {layer.bias[j]:g}", GREY)
            ax.text(across, height + 0.27, words, ha="center", va="bottom", color=colour, fontsize=9)
            if k in shown.delta:
                words = f"δ {layer.delta[j]:.3f}"
                ax.text(across, height - 0.31, words, ha="center", va="top", color=ORANGE, weight="bold", fontsize=11)
    end = len(step.layers)
    words = f"y = {step.y[0]:g}\n\n{shown.loss}"
    colour = ORANGE if shown.bright[0] == "loss" else INK
    ax.text(end + 0.42, 0, words, ha="left", va="center", color=colour, fontsize=11)
    ax.set(xlim=(-0.3, end + 1.05), ylim=(-1.15, 1.15))
    ax.set_title(shown.title, fontsize=12)
    return fig


def _places(column: int, count: int) -> list[tuple[float, float]]:
    """Where the units of a column stand, from above."""
    return [(float(column), height) for height in (np.linspace(0.7, -0.7, count) if count > 1 else [0.0])]


def _node(ax: Axes, across: float, height: float, words: str, *, bright: bool) -> None:
    ax.plot(
        across, height, "o", color="white", markersize=56, markeredgecolor=BLUE, markeredgewidth=2.6 if bright else 1
    )
    ax.text(across, height, words, ha="center", va="center", fontsize=10.5)


def _edges(
    ax: Axes,
    left: list[tuple[float, float]],
    right: list[tuple[float, float]],
    layer: Layer,
    shown: _Shown,
    k: int,
) -> None:
    mode = shown.edges.get(k, "weight")
    values = {"weight": layer.weight, "gradient": layer.slope, "new": layer.new}[mode]
    colour = {"weight": INK, "gradient": ORANGE, "new": GREEN}[mode]
    now = shown.bright[0] == "edges" and shown.bright[1] in (0, k)
    for j, (x1, y1) in enumerate(right):
        for i, (x0, y0) in enumerate(left):
            ax.plot([x0, x1], [y0, y1], color=colour if now else GREY, linewidth=2.2 if now else 1, zorder=0)
            along = 0.46 if y0 == y1 else 0.37 if (i + j) % 2 else 0.63  # those that cross are told apart
            spot = (x0 + along * (x1 - x0), y0 + along * (y1 - y0))
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            form = f"{values[j, i]:.3f}" if mode != "weight" else f"{values[j, i]:g}"
            ax.text(*spot, form, ha="center", va="center", color=colour, fontsize=10, bbox=box, zorder=1)


@styled
def nudges(names: Sequence[str], told: np.ndarray, nudged: np.ndarray) -> Figure:
    """Of each parameter dL/dw by backpropagation, a bar, and what a nudge of it does to L, by its size, a dot."""
    fig, (ax,) = figure(height=0.9 + 0.32 * len(names))
    places = np.arange(len(names))
    ax.barh(places, told, height=0.6, color=BLUE, alpha=0.55, label="by backpropagation")
    ax.plot(nudged, places, "o", color=ORANGE, label="by nudging it and looking at L")
    ax.set_yticks(places, [plain(name) for name in names])
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.invert_yaxis()
    ax.set_xlabel("∂L/∂w")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    ax.grid(axis="y", visible=False)
    return fig
