"""A small net as a drawing (SVG): a card for each unit with its values, its weights on the edges, the loss below.

The same places hold the same quantities in each drawing of a trace, so that only what is new moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from torch import Tensor, nn

from dltrain.insight.equations import ACTIVATIONS, activation
from dltrain.insight.passes import Line, Symbols
from dltrain.insight.trace import Trace

_MOST_UNITS, _MOST_EDGES, _MOST_LAYERS = 6, 16, 4  # of a layer; between two of them; with weights
_WIDE, _ROW, _APART = 136, 17, 10  # of a card in pixels, of a line in it, between two cards
_LETTERS = 7  # of a number
_LABEL = 28  # the height of the two numbers on an edge
_PHONE = 358  # pixels that a phone has for a drawing, which grows that far
_SMALL = str.maketrans("0123456789'", "₀₁₂₃₄₅₆₇₈₉\N{PRIME}")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass
class Layer:
    """Units side by side: what each has, from the sum to what it passes on, and the edges that lead to it."""

    size: int
    rows: list[str] = field(default_factory=list)
    weight: str = ""
    bias: str = ""
    label: str = ""


@dataclass(frozen=True)
class Moment:
    """Where a trace stands: what is known by now, what is just being made, in which section."""

    known: frozenset[str]
    current: frozenset[str]
    section: str
    by: str  # the module that makes it; empty where none does


def units(traced: Trace) -> list[Layer] | None:
    """The layers of a net that is small enough to be drawn unit by unit, the inputs first, and last what the loss
    makes of each output (of no rows, where it makes nothing); None for any other net.
    """
    symbols, last = traced.symbols, "x"
    if not symbols.layered or symbols.values["x"].dim() != 2:
        return None
    layers = [Layer(symbols.values["x"].shape[1], ["x"], label="inputs")]
    for item in traced.seen:
        symbol = symbols.of[item.name]
        if symbol == last == symbols.inputs[item.name]:
            continue  # passes on what it is given
        if symbols.inputs[item.name] != last or item.values.dim() != 2 or symbol == "e":
            return None
        if isinstance(item.module, nn.Linear):
            weight, *bias = symbols.own(item.module)
            layers.append(Layer(item.values.shape[1], [], weight, bias[0] if bias else ""))
        layers[-1].rows.append(symbol)
        layers[-1].label = " · ".join(filter(None, (layers[-1].label, _called(item.module))))
        last = symbol
    layers.append(Layer(layers[-1].size, _of_the_loss(traced.lines, symbols), label="loss"))
    return layers if last == symbols.last and _fits(layers) else None


def _called(module: nn.Module) -> str:
    if type(module) in ACTIVATIONS:
        return activation(module).name
    return "" if isinstance(module, nn.Linear) else type(module).__name__.removesuffix("1d")


def _fits(layers: list[Layer]) -> bool:
    sizes = [layer.size for layer in layers[:-1]]
    few = len(sizes) <= _MOST_LAYERS + 1 and max(sizes) <= _MOST_UNITS
    return few and all(above * below <= _MOST_EDGES for above, below in pairwise(sizes))


def _of_the_loss(lines: list[Line], symbols: Symbols) -> list[str]:
    """What a loss makes of each output: numbers of the outputs' shape that belong to no module."""
    shape = symbols.values[symbols.last].shape
    own = [line.name for line in lines if not line.by and line.section != "update" and line.values.shape == shape]
    return [name for name in own if name != "x" and not name.startswith(("d", "g_", "v_")) and "'" not in name]


def short(value: float) -> str:
    """A number in a drawing: three digits that count, or two where it would be too long for its place."""
    forms = (".3g", ".2g", ".1e")
    texts = [f"{value + 0.0:{form}}".replace("e-0", "e-").replace("e+0", "e") for form in forms]
    return next((t for t in texts if len(t) <= _LETTERS), texts[-1]).replace("-", "\N{MINUS SIGN}")


def letters(name: str) -> str:
    """A symbol in plain letters: δ₁ for delta1, z² for z^2, ∂L/∂W₁."""
    for word, letter in (("delta", "δ"), ("dL/d", "∂L/∂"), ("gamma", "\N{GREEK SMALL LETTER GAMMA}"), ("beta", "β")):
        name = name.replace(word, letter)
    base, sign, high = name.partition("^")
    return escape(base + high.translate(_RAISED) if sign else base.translate(_SMALL))


class Drawing:
    """The net of a trace, to be drawn at each moment of it."""

    def __init__(self, traced: Trace, layers: list[Layer]) -> None:
        self.symbols, self.layers = traced.symbols, layers
        self.values = {line.name: line.values for line in traced.lines}
        self.totals = [name for name in ("L", "R", "J", "new L", "new J") if name in self.values]
        self.width = max(layer.size for layer in layers) * (_WIDE + _APART) - _APART + 2
        self.tops: list[int] = []
        y = 18
        for k, layer in enumerate(layers):
            self.tops.append(y)
            following = layers[k + 1] if k + 1 < len(layers) else None
            y += self._height(layer) + (_gap(layer, following) if following and following.weight else 34)
        self._bottom = self.tops[-1] + (self._height(layers[-1]) + 34 if layers[-1].rows else 0)
        self.height = self._bottom + len(self.totals) * _ROW + 14

    def _height(self, layer: Layer) -> int:
        lines = len(layer.rows) + bool(layer.bias)
        return lines * _ROW + 8 if lines else 0

    def _x(self, layer: Layer, unit: int) -> float:
        """The middle of a unit's card."""
        whole = layer.size * (_WIDE + _APART) - _APART
        return (self.width - whole) / 2 + unit * (_WIDE + _APART) + _WIDE / 2

    def svg(self, moment: Moment) -> str:
        """The net at a moment; what is new stands out in the colour of its section."""
        parts = [*self._edges(moment), *self._to_the_loss(moment)]
        for k, layer in enumerate(self.layers):
            if layer.rows:
                parts.append(text("layer", 1, self.tops[k] - 6, escape(layer.label or "linear")))
            parts += [part for unit in range(layer.size) for part in self._card(k, layer, unit, moment)]
        parts += self._total(moment)
        large = min(1.25, max(1.0, _PHONE / self.width))
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width * large:.0f}"'
        return f'<svg class="net {moment.section}" {size} role="img" aria-label="the net">{"".join(parts)}</svg>'

    def _card(self, k: int, layer: Layer, unit: int, moment: Moment) -> Iterator[str]:
        rows = [layer.bias] * bool(layer.bias) + layer.rows
        if not rows:
            return
        left, top = self._x(layer, unit) - _WIDE / 2, self.tops[k]
        yield rectangle("card", left, top, _WIDE, self._height(layer))
        end = 74 if any(self._slope(name) in self.values for name in rows) else _WIDE - 8
        for i, name in enumerate(rows):
            yield from self._line(name, unit, left, top + 4 + i * _ROW, end, moment)

    def _slope(self, name: str) -> str:
        return f"dL/d{name}" if name in self.symbols.parameters.values() else self.symbols.gradient(name)

    def _line(self, name: str, unit: int, left: float, top: float, end: float, moment: Moment) -> Iterator[str]:
        """A quantity of a unit, its number up to `end`, and on the right of it dL by it."""
        slope, new = self._slope(name), f"new {name}"
        renewed = new in moment.known
        base = top + _ROW - 5
        if fresh := {name, slope, new} & moment.current:
            x, wide = (left + 80, _WIDE - 83) if fresh == {slope} else (left + 3, end)
            yield rectangle("fresh", x, top, wide, _ROW)
        there = name in moment.known or name == "x" or name in self.symbols.parameters.values()
        yield text("name" if there else "name later", left + 8, base, letters(name))
        if there:
            kind = "value renewed" if renewed else "value now" if name in moment.current else "value"
            yield text(kind, left + end, base, _of_unit(self.values[new if renewed else name], unit))
        if slope in moment.known:
            kind = "slope now" if slope in moment.current else "slope"
            value = _of_unit(self.values[slope], unit)
            yield text(kind, left + _WIDE - 6, base, f"{value}<title>{letters(slope)}</title>")

    def _edges(self, moment: Moment) -> Iterator[str]:
        labels: list[str] = []
        for k, (above, below) in enumerate(pairwise(self.layers)):
            if not below.weight:
                continue
            weights = self.values[below.weight]
            most = float(weights.abs().max()) or 1.0
            active = self._active(below, moment)
            start, end = self.tops[k] + self._height(above), self.tops[k + 1]
            for i in range(above.size):
                for j in range(below.size):
                    x1, x2 = self._x(above, i), self._x(below, j)
                    thick = 0.8 + 2.4 * abs(float(weights[j, i])) / most
                    yield line(active, (x1, start), (x2, end), thick)
                    t = _share(above.size, below.size, i, j, end - start)
                    labels += self._weight(below, (j, i), (x1 + t * (x2 - x1), start + t * (end - start)), moment)
        yield from labels

    def _active(self, below: Layer, moment: Moment) -> str:
        """Whether the edges to a layer carry something now: down, up, or their own change."""
        if {f"dL/d{below.weight}", f"new {below.weight}"} & moment.current:
            return " now"
        if moment.section == "forward" and below.rows[0] in moment.current:
            return " now down"
        above = self.layers[self.layers.index(below) - 1]
        back = moment.section == "backward" and self.symbols.gradient(above.rows[-1]) in moment.current
        return " now up" if back else ""

    def _weight(self, layer: Layer, place: tuple[int, int], at: tuple[float, float], moment: Moment) -> Iterator[str]:
        name, (x, y) = layer.weight, at
        new, slope = f"new {name}", f"dL/d{name}"
        renewed, both = new in moment.known, slope in moment.known
        kind = "weight renewed" if renewed else "weight now" if layer.rows[0] in moment.current else "weight"
        value = float(self.values[new if renewed else name][place])
        yield text(kind, x, y - 2 if both else y + 4, short(value))
        if both:
            kind = "weight slope now" if slope in moment.current else "weight slope"
            change = short(float(self.values[slope][place]))
            yield text(kind, x, y + 11, f"{change}<title>{letters(slope)}</title>")

    def _to_the_loss(self, moment: Moment) -> Iterator[str]:
        """From the outputs to what the loss makes of each, and on to L."""
        *_, outputs, loss = self.layers
        active = ""
        if moment.current & {*self.totals, *loss.rows} and moment.section == "forward":
            active = " now down"
        if moment.section == "backward" and f"dL/d{self.symbols.last}" in moment.current:
            active = " now up"
        for unit in range(outputs.size):
            x, start = self._x(outputs, unit), self.tops[-2] + self._height(outputs)
            if loss.rows:
                yield line(active, (x, start), (x, self.tops[-1]), 1.4)
                start = self.tops[-1] + self._height(loss)
            yield line(active, (x, start), (self.width / 2, self._bottom), 1.4)

    def _total(self, moment: Moment) -> Iterator[str]:
        left, top = self.width / 2 - _WIDE / 2, self._bottom
        yield rectangle("card total", left, top, _WIDE, len(self.totals) * _ROW + 8)
        for i, name in enumerate(self.totals):
            y, there = top + 4 + i * _ROW, name in moment.known
            if name in moment.current:
                yield rectangle("fresh", left + 3, y, _WIDE - 6, _ROW)
            yield text("name" if there else "name later", left + 8, y + _ROW - 5, letters(name))
            if there:
                kind = "value renewed" if name.startswith("new") else "value now" if name in moment.current else "value"
                yield text(kind, left + _WIDE - 8, y + _ROW - 5, short(float(self.values[name])))


def text(kind: str, x: float, y: float, content: str) -> str:
    """Letters in a drawing; `content` is HTML."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{content}</text>'


def rectangle(kind: str, x: float, y: float, wide: float, high: float) -> str:
    """A card, or the ground of what is new."""
    round_ = 7 if "card" in kind else 4
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="{round_}"/>'


def line(active: str, start: tuple[float, float], end: tuple[float, float], thick: float) -> str:
    """An edge; `active` is what it carries now, if anything."""
    ends = f'x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}"'
    return f'<line class="edge{active}" {ends} stroke-width="{thick:.2g}"/>'


def _of_unit(values: Tensor, unit: int) -> str:
    """A unit's number; of a batch that of the first row."""
    return short(float(values.reshape(-1, values.shape[-1])[0, unit]))


def _gap(above: Layer, below: Layer) -> int:
    """The height between two layers, which has room for the numbers on the edges."""
    return 74 + _LABEL * min(above.size, below.size)


def _share(above: int, below: int, i: int, j: int, height: int) -> float:
    """How far along the edge from unit i to unit j its number stands: those of one unit side by side, those of the next
    lower, so that none covers another.
    """
    by_target = below <= above
    n, k = (below, j) if by_target else (above, i)
    middle = 0.40 if by_target else 0.60
    return middle + (k - (n - 1) / 2) * _LABEL / height
