"""`dltrain trace --html`: a page on which a step goes forward, backward and on, one drawing after the other.

It has no script: a radio button for each moment decides which is shown, so that arrow keys lead through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor

from dltrain.insight import module_drawing, page, unit_drawing
from dltrain.insight.formulas import figure, put_in, typeset
from dltrain.insight.passes import Line
from dltrain.insight.sentences import sentence
from dltrain.insight.trace import COLUMNS, ROWS, SIGNS, Trace
from dltrain.insight.trace_style import STYLE, shown
from dltrain.insight.unit_drawing import Moment

_MOST_WRITTEN = 6  # numbers of one quantity whose arithmetic is written out
_SIGNS = "a row is a sample; matrices side by side are multiplied, · is number by number; 1[…] is 1 where true, else 0"


@dataclass(frozen=True)
class Stage:
    """Quantities that are made together, and what a page says of them; `name` is the one that they are made for."""

    moment: Moment
    lines: list[Line]
    name: str
    sentence: str
    rule: str  # what else one should know there


def trace_page(traced: Trace, command: str) -> str:
    """The page of a trace that was asked for by a command."""
    stages = list(_stages(traced))
    draw, values = _drawing(traced), {line.name: line.values for line in traced.lines}
    buttons = [f'<input type="radio" name="at" id="s{k}"{" checked" * (k == 0)}>' for k in range(len(stages))]
    return page.page(
        "One training step, number by number",
        [
            page.heading("One training step, number by number", 1),
            f"<p><code>{page.escape(command)}</code></p>",
            _legend(traced),
            '<div class="deck">',
            *buttons,
            '<input type="radio" name="at" id="all">',
            _menu(stages),
            *(_panel(k, stage, len(stages), draw(stage.moment), values) for k, stage in enumerate(stages)),
            "</div>",
        ],
        style=STYLE + shown(len(stages)),
        live=False,
    )


def _stages(traced: Trace) -> Iterator[Stage]:
    symbols, seen = traced.symbols, {item.name: item for item in traced.seen}
    slopes = {f"dL/d{name}" for name in symbols.parameters.values()}
    errors = {symbols.gradient(symbol) for symbol in symbols.values}
    known: frozenset[str] = frozenset()
    for (section, by, of_weights), group in groupby(traced.lines, lambda m: (m.section, m.by, m.name in slopes)):
        lines = list(group)
        for part in _apart(lines) if section == "forward" and not by else [lines]:
            names = [line.name for line in part]
            known |= {*names}
            said = sentence(traced, part, seen.get(by), of_weights)
            begins = section == "backward" and not by and symbols.gradient(symbols.last) in names
            rule = " ".join(map(_whole, traced.rules)) if begins else ""
            moment = Moment(known, frozenset(names), section, by)
            yield Stage(moment, part, _chief(names, moment, errors, of_weights), said, rule)


def _chief(names: list[str], moment: Moment, errors: set[str], of_weights: bool) -> str:
    """Which quantity of a moment stands for all of them; `errors` are those that a module hands back."""
    if moment.section == "update":
        return names[0].removeprefix("step of ") if moment.by else names[-1]
    if moment.section == "backward":
        return names[0] if of_weights else names[-1] if moment.by or names[-1] in errors else "optimizer"
    return "p" if "p" in names else names[-1]


def _whole(rule: str) -> str:
    """A note as a sentence: it begins with a capital, unless it begins with a symbol."""
    return f"{rule[0].upper() if rule[1:2].isalpha() else rule[0]}{rule[1:]}."


def _apart(lines: list[Line]) -> list[list[Line]]:
    """What the loss is made of apart from the loss."""
    at = next((i for i, line in enumerate(lines) if line.name == "L"), 0)
    return [part for part in (lines[:at], lines[at:]) if part]


def _drawing(traced: Trace) -> Callable[[Moment], str]:
    layers = unit_drawing.units(traced)
    return module_drawing.Drawing(traced).svg if layers is None else unit_drawing.Drawing(traced, layers).svg


def _legend(traced: Trace) -> str:
    words = "A box is a module. On a line is what passes on, with its shape and norm, and in red what comes back."
    if unit_drawing.units(traced) is not None:
        words = "A card is a unit, a number on an edge a weight; in red is the derivative of L by each. By a it is δ."
        if (rows := len(traced.symbols.values["x"])) > 1:
            words += f" Cards have the first of the {rows} rows; gradients of weights and L are of all."
    notes = page.bullets(list(_notes(traced.notes)))
    return f"{page.paragraph(words)}\n<details><summary>Notation and notes</summary>{notes}</details>"


def _notes(lines: list[str]) -> Iterator[str]:
    """The notes of a trace, each with its title; the signs in formulas are those of a page."""
    for line in lines:
        title, text = line[:10].strip(), line[10:].strip()
        yield _SIGNS if text == SIGNS else f"{title}: {text}" if title else text


def _menu(stages: list[Stage]) -> str:
    """A button for each moment, in the rows forward, backward, update."""
    rows = []
    for section, group in groupby(enumerate(stages), lambda pair: pair[1].moment.section):
        labels = "".join(f'<label for="s{k}">{typeset(stage.name)}</label>' for k, stage in group)
        rows.append(f'<div class="{section}"><b>{section}</b><span>{labels}</span></div>')
    return f'<nav>{"".join(rows)}<div><b></b><span><label for="all">all at once</label></span></div></nav>'


def _panel(k: int, stage: Stage, count: int, svg: str, values: dict[str, Tensor]) -> str:
    section = stage.moment.section
    back = f'<label for="s{k - 1}">← back</label>' if k else "<span></span>"
    on = f'<label for="s{k + 1}">next →</label>' if k + 1 < count else "<span></span>"
    sentences = page.paragraph(stage.sentence)
    if stage.rule:
        sentences += f'<p class="rule">{page.escape(stage.rule)}</p>'
    said = "".join(_said(line, values) for line in stage.lines)
    return (
        f'<section class="stage {section}" id="p{k}"><div class="drawing">{svg}</div><div class="said">'
        f"<h2><small>{k + 1} / {count} · {section}</small> {typeset(stage.name)}</h2>{sentences}{said}"
        f'<div class="way">{back}{on}</div></div></section>'
    )


def _said(line: Line, values: dict[str, Tensor]) -> str:
    """An equation, what it gives, and the arithmetic of a few numbers of it."""
    right = f" = {typeset(line.formula)}" if line.formula else ""
    shape = f"{list(line.values.shape)}" if line.values.dim() else ""
    words = "".join(f' <span class="words">{page.escape(word)}</span>' for word in (line.words, shape) if word)
    arithmetic = "".join(f"<div>{text}</div>" for text in _worked(line, values))
    worked = f'<div class="worked">{arithmetic}</div>' if arithmetic else ""
    equation = f'<div class="equation">{typeset(line.name)}{right}{words}</div>'
    return f'<div class="line">{equation}{_numbers(line.values)}{worked}</div>'


def _worked(line: Line, values: dict[str, Tensor]) -> Iterable[str]:
    if not line.formula or line.formula in values or _is_large(line.values):
        return
    shape = line.values.shape
    columns = range(min(shape[-1], _MOST_WRITTEN) if shape else 0)
    places = [()] if not shape else [(j,) for j in columns] if len(shape) == 1 else [(0, j) for j in columns]
    if len(shape) == 2 and line.values.numel() <= _MOST_WRITTEN:
        places = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    for place in places:
        text = put_in(line.formula, values, place)
        if text is None:
            return
        index = ",".join(str(i + 1) for i in place)
        at = f"<sub>[{index}]</sub>" if line.values.numel() > 1 else ""
        value = figure(float(line.values[place]))
        if text == value:
            return
        yield f"{typeset(line.name)}{at} = {text} = <b>{value}</b>"


def _numbers(values: Tensor) -> str:
    """A matrix in brackets; of a large one what it is like."""
    if _is_large(values):
        v = values.double()
        told = {"norm": v.norm(), "mean": v.mean(), "deviation": v.std(), "from": v.min()}
        words = ", ".join(f"{name} {_four(float(value))}" for name, value in told.items())
        words += f" to {_four(float(v.max()))}"
        return f'<div class="like">{words}</div>'
    flat = values.reshape(1, -1) if values.dim() < 2 else values.flatten(1)
    rows = "".join(f"<tr>{''.join(f'<td>{figure(float(v))}</td>' for v in row)}</tr>" for row in flat.tolist())
    return f'<div class="wide"><table class="matrix">{rows}</table></div>'


def _is_large(values: Tensor) -> bool:
    """Whether a quantity has more numbers than a page shows."""
    rows, columns = (1, values.numel()) if values.dim() < 2 else (len(values), values[0].numel())
    return rows > ROWS or columns > COLUMNS


def _four(value: float) -> str:
    return figure(float(f"{value:.4g}"))
