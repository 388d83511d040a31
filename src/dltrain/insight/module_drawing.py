"""A net of any size as a drawing (SVG): a box for each module, between them what passes, down and back up again."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from dltrain.engine.look import Seen
from dltrain.insight.trace import Trace
from dltrain.insight.unit_drawing import Moment, letters, line, rectangle, short, text

_WIDE, _BOX, _LINK = 356, 44, 46  # pixels: the width of a drawing, the height of a box and of what leads to the next
_TOP = 26  # above the first box
_AROUND = 3  # boxes above and below the one that works, where there are many
_MOST = 9


class Drawing:
    """The modules of a trace in the order in which they work, to be drawn at each moment of it."""

    def __init__(self, traced: Trace) -> None:
        self.symbols, self.totals = traced.symbols, [line.name for line in traced.lines if line.name in ("L", "new L")]
        self.values = {line.name: line.values for line in traced.lines}
        of, inputs = self.symbols.of, self.symbols.inputs
        self.items = [
            item for item in traced.seen if of[item.name] in self.values and of[item.name] != inputs[item.name]
        ]

    def svg(self, moment: Moment) -> str:
        """The boxes around the one that works at a moment; those at the loss where none does."""
        first, last = self._window(moment)
        shown = self.items[first:last]
        top = _TOP + 16 * bool(first)
        height = top + len(shown) * (_BOX + _LINK) + _BOX + 2
        parts = [*self._value("x" if first == 0 else self.symbols.of[self.items[first - 1].name], top - 10, moment)]
        if first:
            parts.append(text("layer", 8, 12, f"{first} more above"))
        for k, item in enumerate(shown):
            y = top + k * (_BOX + _LINK)
            parts += self._box(first + k, item, y, moment)
            parts += self._value(self.symbols.of[item.name], y + _BOX + _LINK / 2 + 4, moment)
        parts += self._loss(top + len(shown) * (_BOX + _LINK), len(self.items) - last, moment)
        size = f'viewBox="0 0 {_WIDE} {height}" width="{_WIDE}" height="{height}" role="img" aria-label="the net"'
        return f'<svg class="net modules {moment.section}" {size}>{"".join(parts)}</svg>'

    def _window(self, moment: Moment) -> tuple[int, int]:
        """Which boxes are drawn: all, or some on both sides of the one that works."""
        if len(self.items) <= _MOST:
            return 0, len(self.items)
        at = 0 if "x" in moment.current else len(self.items) - 1
        for k, item in enumerate(self.items):
            made = self.symbols.of[item.name]
            if item.name == moment.by or (not moment.by and {made, self.symbols.gradient(made)} & moment.current):
                at = k
        first = max(0, min(at - _AROUND, len(self.items) - 2 * _AROUND - 1))
        return first, first + 2 * _AROUND + 1

    def _box(self, k: int, item: Seen, y: float, moment: Moment) -> Iterator[str]:
        now, own = " now" * (item.name == moment.by), self.symbols.own(item.module)
        yield rectangle(f"card{now}", 1, y, _WIDE - 2, _BOX)
        number = "" if self.symbols.layered else f"M{letters(self.symbols.numbers[item.name])} · "
        name = escape(f"{number}{item.name.removeprefix('layers.')} · {type(item.module).__name__}")
        yield text("module", 10, y + (18 if own else 27), name)
        if (source := self.symbols.inputs[item.name]) != self._above(k):
            words = f"of {letters(source)}" if source else "of a value made between"
            yield text("layer end", _WIDE - 2, y - 5, words)
        yield text("layer", 10, y + 35, ", ".join(self._told(name, moment) for name in own))
        slopes = [f"dL/d{name}" for name in own if f"dL/d{name}" in moment.known]
        if slopes:
            fresh = " now" * (slopes[0] in moment.current)
            yield text(f"slope{fresh}", _WIDE - 10, y + 35, self._norm(slopes[0]))

    def _told(self, name: str, moment: Moment) -> str:
        new = f"new {name}" in moment.known
        return f"{'new ' * new}{letters(name)} {list(self.values[name].shape)}"

    def _above(self, k: int) -> str:
        return self.symbols.of[self.items[k - 1].name] if k else "x"

    def _value(self, name: str, y: float, moment: Moment) -> Iterator[str]:
        """What one module hands to the next, and on the right what comes back."""
        slope, middle = self.symbols.gradient(name), _WIDE / 2
        active = ""
        if name in moment.current:
            active = " now down"
        elif slope in moment.current:
            active = " now up"
        start = y - 14 if name == "x" else y - 27
        yield line(active, (middle, start), (middle, start + (24 if name == "x" else _LINK)), 1.6)
        there = name == "x" or name in moment.known
        told = f"{list(self.values[name].shape)} · {self._norm(name)}" if there else letters(name)
        yield text(
            "passed now" if name in moment.current else "passed" if there else "passed later", middle - 12, y, told
        )
        if slope in moment.known:
            kind = "returned now" if slope in moment.current else "returned"
            yield text(kind, middle + 12, y, self._norm(slope))

    def _norm(self, name: str) -> str:
        return f"‖{letters(name)}‖ {short(float(self.values[name].double().norm()))}"

    def _loss(self, y: float, below: int, moment: Moment) -> Iterator[str]:
        if below:
            yield text("layer", 8, y + 12, f"{below} more below")
            return
        now = " now" * bool({"L", "new L"} & moment.current)
        yield rectangle(f"card total{now}", 1, y, _WIDE - 2, _BOX)
        yield text("module", 10, y + 27, "the loss, of the output and y")
        told = [f"{name} {short(float(self.values[name]))}" for name in self.totals if name in moment.known]
        yield text(f"value{now}", _WIDE - 10, y + 27, ", ".join(told))
