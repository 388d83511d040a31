"""What happens at each moment of a trace, in a sentence for a page."""

from __future__ import annotations

from torch import nn

from dltrain.engine.look import Seen
from dltrain.insight.equations import ACTIVATIONS, activation
from dltrain.insight.passes import Line, Symbols
from dltrain.insight.trace import Trace
from dltrain.insight.unit_drawing import letters

_NORMS = (nn.BatchNorm1d, nn.LayerNorm)


def sentence(traced: Trace, lines: list[Line], item: Seen | None, of_weights: bool) -> str:
    """What the quantities of a moment are for: made by the module `item`, or by the loss or the optimizer if None.

    `of_weights`: they are the gradient of L by that module's parameters.
    """
    names, symbols = [line.name for line in lines], traced.symbols
    if lines[0].section == "update":
        return _update(names, traced)
    if item is not None and not symbols.layered:
        return _of_a_module(names, item, symbols, of_weights)
    if of_weights:
        if item is not None and isinstance(item.module, nn.Linear):
            return (
                "The derivative of L by a weight: the error at the end of its edge times the value at its beginning"
                f"{_added(symbols)}. A bias is a weight whose input is 1."
            )
        return "The derivative of L by each parameter of this module."
    if lines[0].section == "forward":
        return _forward(names, symbols) if item is None else _made(names, item)
    if item is not None:
        return _returned(item)
    if {f"dL/d{symbols.last}", symbols.gradient(symbols.last)} & {*names}:
        return "The way back begins: how L changes with each output."
    if names[-1] in {symbols.gradient(symbol) for symbol in symbols.values}:
        return "The error that comes back from all that this value went into, added up by torch's autograd."
    return "What the optimizer is given: these gradients, with the penalty's own or clipped."


def _of_a_module(names: list[str], item: Seen, symbols: Symbols, of_weights: bool) -> str:
    """The chain rule of module k, whatever it computes."""
    k, source = symbols.numbers[item.name], symbols.inputs[item.name] or "what it is given"
    module, made, own = letters(f"M{k}"), letters(f"z{k}"), [letters(name) for name in symbols.own(item.module)]
    if of_weights:
        return f"The chain rule: ∂L/∂{own[0]} is {letters(f'delta{k}')} times the derivative of {module} by {own[0]}."
    if symbols.of[item.name] in names:
        parameters = f" and its parameters {', '.join(own)}" if own else ", and has nothing to learn"
        return f"Module {module} makes {made} of {letters(source)}{parameters}."
    below = f"∂L/∂{letters(source)}, which is {letters(names[-1])},"
    return f"The chain rule: {below} is {letters(f'delta{k}')} times the derivative of {module} by {letters(source)}."


def _added(symbols: Symbols) -> str:
    return ", summed over the rows" if len(symbols.values["x"]) > 1 else ""


def _forward(names: list[str], symbols: Symbols) -> str:
    rows = len(symbols.values["x"])
    if names[0] == "x":
        return f"What goes in: {'one row' if rows == 1 else f'a batch of {rows} rows'} of the data."
    if "L" not in names:
        return "What the loss compares: the target as it takes it, and what it makes of the outputs."
    return "One number that says how far the answer is from the target: the smaller, the better."


def _made(names: list[str], item: Seen) -> str:
    module = item.module
    if isinstance(module, nn.Linear):
        return "Each unit adds up its inputs, each times the weight on its edge, and its bias."
    if type(module) in ACTIVATIONS:
        return f"Each unit passes its sum through g = {activation(module).name}."
    if isinstance(module, nn.Dropout):
        return "Some numbers are dropped at random; those that are kept grow, so that the mean stays."
    if isinstance(module, _NORMS):
        over = "over the rows of the batch" if isinstance(module, nn.BatchNorm1d) else "within each row"
        return f"The numbers are standardised {over}, then stretched and moved as was learned."
    return f"The module makes {letters(names[-1])} of what it is given."


def _returned(item: Seen) -> str:
    module = item.module
    if isinstance(module, nn.Linear):
        return "The error of each unit goes back along its edges, times their weights; where edges meet, they add up."
    if type(module) in ACTIVATIONS:
        return "The error goes back through g: times the derivative of g at this a."
    if isinstance(module, nn.Dropout):
        return "What was dropped gets no error: the same mask."
    if isinstance(module, _NORMS):
        return "The error goes back through the norm, and through the mean and the variance that the numbers share."
    return "The error goes back through the module, by the chain rule."


def _update(names: list[str], traced: Trace) -> str:
    if "new L" not in names:
        return "Each weight takes a step against its gradient."
    values = {line.name: line.values for line in traced.lines}
    goal = "J" if "J" in values else "L"
    before, after = float(values[goal]), float(values[f"new {goal}"])
    way = f"goes {'down' if after < before else 'up'} from {before:.6g} to {after:.6g}"
    return f"The same rows once more, with the new weights: {goal} {way if after != before else f'stays {after:.6g}'}."
