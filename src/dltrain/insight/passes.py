"""The forward and the backward pass of a net as equations, for `dltrain trace`.

An equation stands where it holds: what its formula gives is compared with what the step had, and where that is
something else (a value was made between two modules, or a module is used twice) words stand in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeGuard

import torch
from torch import Tensor, nn

from dltrain.engine.look import Seen
from dltrain.engine.state import random_state, set_random_state
from dltrain.insight.equations import ACTIVATIONS, Criterion, activation, derivative, number, square, transposed
from dltrain.parts import State, codes

Norm = nn.BatchNorm1d | nn.LayerNorm  # those of layers of numbers, which have equations
_NORMS = (nn.BatchNorm1d, nn.LayerNorm)
_SCALED = (*_NORMS, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm2d)
_PASSING = (nn.Flatten, nn.Identity)  # what comes out is what went in
_FRONTS = (codes.Embeddings, codes.Expand)  # what stands for codes, below the first layer
_LAYERED = (nn.Linear, nn.Dropout, *_NORMS, *_PASSING, *_FRONTS, *ACTIVATIONS)  # nets of these alone get a1, z1, delta1
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Line:
    """One quantity of a step, in the section `forward`, `backward` or `update`.

    `formula` gives the values; `words` say what they are where no formula does. `by` is the module that makes it, or
    through which it comes back; empty where no module does.
    """

    section: str
    name: str
    formula: str
    values: Tensor
    words: str = ""
    by: str = ""


def _by(module: str, lines: Iterable[Line]) -> Iterator[Line]:
    return (replace(line, by=module) for line in lines)


def checked(
    section: str, name: str, formula: str, values: Tensor, given: Tensor | None, words: str = "", *, blur: float = 0.0
) -> Line:
    """A line whose formula stands only if it gives the values, which rounding may blur, by `blur` at least."""
    holds = given is not None and given.shape == values.shape and bool(values.isfinite().all())
    if given is not None and holds:
        near = max(blur, 1e-5 * float(values.abs().max())) if values.numel() else 0.0
        holds = torch.allclose(given.to(values.dtype), values, rtol=1e-3, atol=max(near, 1e-7))
    return Line(section, name, formula if holds else "", values, "" if holds and formula else words)


# -- names -----------------------------------------------------------------------------------------------------


class Masks:
    """What each dropout multiplies its input by in the next pass: drawn again from where it began to draw."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.device = device
        self._starts: dict[str, tuple[nn.Module, Tensor, State]] = {}
        self._hooks = [
            module.register_forward_pre_hook(partial(self._begin, name))
            for name, module in model.named_modules()
            if isinstance(module, nn.Dropout)
        ]

    def _begin(self, name: str, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._starts[name] = module, given[0], random_state(self.device)

    def found(self) -> dict[str, Tensor]:
        """Module -> 0 where a number was dropped, 1 / (1 - p) elsewhere."""
        for hook in self._hooks:
            hook.remove()
        made = {}
        for name, (module, x, state) in self._starts.items():
            set_random_state(state, self.device)
            made[name] = module(torch.ones_like(x)).detach()
        return made


class Symbols:
    """The names of a course. Layers: a_k of the k-th one with weights W_k, z_k = g(a_k) of the activation after it.

    Beside them h_k and n_k of a norm (standardised; times gamma, plus beta), d_k of a dropout and m_k, its mask; e is
    what stands for codes of categories, rows of the tables E_k. A net that has other modules is told as modules: z^k
    of the k-th one that a batch passes, W^k and b^k its parameters; so is any net if asked for by `modules`.
    """

    def __init__(
        self,
        model: nn.Module,
        seen: list[Seen],
        x: Tensor,
        output: Tensor,
        masks: dict[str, Tensor],
        *,
        modules: bool = False,
    ) -> None:
        self.layered = not modules and all(type(item.module) in _LAYERED for item in seen)
        self.of: dict[str, str] = {}  # module -> the symbol of its output
        self.inputs: dict[str, str] = {}  # module -> the symbol of its input, empty where no module made that
        self.parameters = {name: name.removeprefix("layers.") for name, _ in model.named_parameters()}  # -> its symbol
        self.numbers: dict[str, str] = {}  # module -> 1, 2, ... of its layer, or ^1, ^2, ... of the module
        self.values: dict[str, Tensor] = {"x": x}
        self.slopes: dict[str, Tensor] = {}  # dL by the output that a symbol stands for
        self.masks = masks
        self._names = {id(p): name for name, p in model.named_parameters()}
        made: list[tuple[Tensor, int, str]] = [(x, x._version, "x")]
        layer = 0
        for item in seen:
            source = next((s for tensor, n, s in reversed(made) if tensor is item.input and n == item.read), "")
            layer += isinstance(item.module, _WEIGHTED) if self.layered else not self._is_as_given(item, source)
            self.numbers[item.name] = f"{layer}" if self.layered else f"^{layer}"
            self.inputs[item.name] = source
            symbol = self._symbol(item, source)
            self.of[item.name] = symbol
            self.values[symbol] = item.values
            if item.gradient is not None:
                self.slopes.setdefault(symbol, item.gradient)  # what passes a value on may give it another shape
            made.append((item.output, item.made, symbol))
            for key, parameter in item.module.named_parameters(recurse=False):
                name = self._names[id(parameter)]
                if self.parameters[name] == name.removeprefix("layers."):  # one that modules share is the first's
                    self.parameters[name] = self._parameter(item, key) or self.parameters[name]
        last = (s for tensor, n, s in reversed(made) if tensor is output and n == output._version)
        self.last = next(last, "f")
        self.values.setdefault(self.last, output.detach().clone())

    def _is_as_given(self, item: Seen, source: str) -> bool:
        """Whether a module hands on what it is given, in the same shape."""
        return type(item.module) in _PASSING and source != "" and item.values.shape == self.values[source].shape

    def _symbol(self, item: Seen, source: str) -> str:
        kind, k = type(item.module), self.numbers[item.name]
        if not self.layered:
            return source if self._is_as_given(item, source) else f"z{k}"
        if kind in _PASSING:
            return source or item.name.rpartition(".")[2]
        if kind in _FRONTS:
            return "e"
        letter = "z" if kind in ACTIVATIONS else "a" if kind is nn.Linear else "d" if kind is nn.Dropout else "n"
        symbol = f"{letter}{k}"
        while symbol in self.values:  # a second one after the same layer
            symbol += "'"
        return symbol

    def _parameter(self, item: Seen, key: str) -> str:
        if isinstance(item.module, codes.Embeddings):
            return f"E{item.module.names.index(key) + 1}"
        names = {"weight": "gamma", "bias": "beta"} if type(item.module) in _SCALED else {"weight": "W", "bias": "b"}
        if key not in names or (self.layered and type(item.module) not in (nn.Linear, *_NORMS)):
            return ""
        return f"{names[key]}{self.numbers[item.name]}"

    def passes(self, item: Seen) -> bool:
        """Whether a module makes nothing that has a name of its own."""
        return (self.layered and type(item.module) in _PASSING) or self.of[item.name] == self.inputs[item.name]

    def parameter(self, parameter: Tensor) -> str:
        """The symbol of one of the model's parameters."""
        return self.parameters[self._names[id(parameter)]]

    def place(self, parameter: Tensor) -> str:
        """Where the model has it."""
        return self._names[id(parameter)].removeprefix("layers.")

    def own(self, module: nn.Module) -> list[str]:
        """The symbols of a module's own parameters."""
        return [self.parameter(p) for p in module.parameters(recurse=False)]

    def gradient(self, symbol: str) -> str:
        """What the gradient of L by a module's output is called: delta where the course has one."""
        told = symbol[0] == "a" if self.layered else symbol[0] == "z"
        return f"delta{symbol[1:]}" if told else f"dL/d{symbol}"


# -- forward ---------------------------------------------------------------------------------------------------


def forward(seen: list[Seen], symbols: Symbols) -> Iterator[Line]:
    told: set[str] = set()
    yield Line("forward", "x", "", symbols.values["x"])
    for item in seen:
        for parameter in item.module.parameters(recurse=False):
            symbol, place = symbols.parameter(parameter), symbols.place(parameter)
            if symbol not in told:
                words = place if place != symbol else ""
                yield Line("forward", symbol, "", parameter.detach().clone(), words, by=item.name)
            told.add(symbol)
        if symbols.passes(item):
            continue
        yield from _by(item.name, _output(item, symbols))
    if symbols.last == "f":
        yield Line("forward", "f", "", symbols.values["f"], "the output, made of what the modules gave")


def _output(item: Seen, symbols: Symbols) -> Iterator[Line]:
    """A module's output, and what is made on the way to it."""
    module, symbol, source = item.module, symbols.of[item.name], symbols.inputs[item.name]
    own = symbols.own(module)
    kind = type(module).__name__
    words = f"{kind} of a value made between the modules" if not source else f"{kind} of {source}"
    given = symbols.values.get(source)
    if given is None:
        yield Line("forward", symbol, "", item.values, words)
    elif isinstance(module, nn.Linear):
        bias = "" if module.bias is None else f" + {own[1]}"
        value = nn.functional.linear(given, module.weight, module.bias).detach()
        yield checked("forward", symbol, f"{source} @ {transposed(own[0])}{bias}", item.values, value, words)
    elif type(module) in ACTIVATIONS:
        g = activation(module)
        yield Line("forward", symbol, f"{g.name}({source}{g.knobs})", item.values)
    elif isinstance(module, nn.Dropout) and item.name in symbols.masks:
        mask, name = symbols.masks[item.name], f"m{symbol[1:]}"
        yield Line("forward", name, "", mask, f"dropout: 0, or {number(1 / (1 - module.p))} where a number is kept")
        yield checked("forward", symbol, f"{source} * {name}", item.values, given * mask, words)
    elif _is_norm(module) and given.dim() == 2:
        yield from _norm(item, module, symbols, given)
    else:
        yield Line("forward", symbol, f"{kind}({', '.join([source, *own])})", item.values)


def _norm(item: Seen, module: Norm, symbols: Symbols, x: Tensor) -> Iterator[Line]:
    """BatchNorm over the batch (in train mode) or LayerNorm over each row."""
    symbol, source, own = symbols.of[item.name], symbols.inputs[item.name], symbols.own(module)
    over, k = _over(module), symbols.numbers[item.name]
    mean, var, h = _standardised(module, x)
    yield Line("forward", f"mu{k}", f"{over[0]}_mean({source})", mean)
    yield Line("forward", f"var{k}", f"{over[0]}_mean(({source} - mu{k})^2)", var)
    formula = f"({source} - mu{k}) / sqrt(var{k} + {number(module.eps)})"
    if not own:
        yield checked("forward", symbol, formula, item.values, h, type(module).__name__)
        return
    yield Line("forward", f"h{k}", formula, h)
    value = h * module.weight.detach() + (0 if len(own) == 1 else module.bias.detach())
    formula = f"{own[0]} * h{k}" + "".join(f" + {name}" for name in own[1:])
    yield checked("forward", symbol, formula, item.values, value, type(module).__name__)


def _is_norm(module: nn.Module) -> TypeGuard[Norm]:
    return type(module) in _NORMS


def _over(module: Norm) -> tuple[str, int]:
    """What a norm takes its mean over, in a formula's words and as a dimension."""
    return ("batch", 0) if isinstance(module, nn.BatchNorm1d) else ("row", 1)


def _standardised(module: Norm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean and the variance that a norm takes of x [B, K], and what it makes of x with them."""
    over = _over(module)[1]
    mean, var = x.mean(over, keepdim=True), x.var(over, keepdim=True, correction=0)
    return mean, var, (x - mean) / (var + module.eps).sqrt()


_AUTOGRAD = "by torch's autograd"


# -- backward --------------------------------------------------------------------------------------------------


def backward(seen: list[Seen], symbols: Symbols, found: Criterion, last: Tensor) -> Iterator[Line]:
    """From the outputs, `last` is dL by them, to the first module: dL by what each makes, and by its parameters."""
    readers: dict[str, list[Seen]] = {}
    for item in seen:
        if not symbols.passes(item):
            readers.setdefault(symbols.inputs[item.name], []).append(item)
    text, value = (found.slope.text, found.slope.value) if found.slope else ("", None)
    for made in found.between:
        yield Line("backward", made.name, made.text, made.value)
    slope, delta = f"dL/d{symbols.last}", symbols.gradient(symbols.last)
    yield checked("backward", slope, text, last, value, _AUTOGRAD)
    if delta != slope:
        yield Line("backward", delta, slope, last)
    for item in reversed(seen):
        symbol = symbols.of[item.name]
        if item.gradient is None or symbols.passes(item):
            continue
        after = readers.get(symbol, [])
        if symbol == symbols.last:
            pass  # stands above
        elif len(after) == 1 and symbols.of[after[0].name] in symbols.slopes:
            yield from _by(after[0].name, _handed_down(symbol, item.values, item.gradient, after[0], symbols))
        else:
            yield Line("backward", symbols.gradient(symbol), "", item.gradient, _AUTOGRAD)
        yield from _by(item.name, _by_parameters(item, item.gradient, symbols))


def _handed_down(symbol: str, x: Tensor, gradient: Tensor, reader: Seen, symbols: Symbols) -> Iterator[Line]:
    """dL by an output x that one module reads, from dL by that module's output."""
    module, made = reader.module, symbols.of[reader.name]
    name, upper, above = symbols.gradient(symbol), symbols.gradient(made), symbols.slopes[made]
    if isinstance(module, nn.Linear):
        weight = symbols.parameter(module.weight)
        value = (above @ module.weight.detach()).view_as(gradient) if above.dim() == 2 else None
        yield checked("backward", name, f"{upper} @ {weight}", gradient, value, _AUTOGRAD)
    elif type(module) in ACTIVATIONS:
        g, slope = activation(module), derivative(module, x)
        slope_name = f"{g.name}'({symbol}{g.knobs})"
        text = g.derivative.format(a=symbol, z=made, z2=square(made))
        yield Line("backward", slope_name, text, slope, "" if text else _AUTOGRAD)
        yield checked("backward", name, f"{upper} * {slope_name}", gradient, above * slope, _AUTOGRAD)
    elif reader.name in symbols.masks:
        value = above * symbols.masks[reader.name]
        yield checked("backward", name, f"{upper} * m{made[1:]}", gradient, value, _AUTOGRAD)
    elif _is_norm(module) and above.dim() == 2:
        before, formula, value = _through_norm(module, x, made, symbols.numbers[reader.name], symbols)
        yield from before
        yield checked("backward", name, formula, gradient, value, _AUTOGRAD)
    else:
        yield Line("backward", name, "", gradient, _through(reader, upper, symbol, gradient, above))


def _through(reader: Seen, upper: str, symbol: str, gradient: Tensor, above: Tensor) -> str:
    """In words, how dL by what a module reads comes of dL by what it makes."""
    if type(reader.module) in _PASSING and torch.equal(gradient, above.view_as(gradient)):
        return f"{upper} in the shape of {symbol}"
    return f"{upper} back through {type(reader.module).__name__}, {_AUTOGRAD}"


def _through_norm(module: Norm, x: Tensor, made: str, k: str, symbols: Symbols) -> tuple[list[Line], str, Tensor]:
    """dL by what the norm number k reads, x: a formula and its value, and before it dL by what gamma multiplies."""
    (_, var, h), (word, over) = _standardised(module, x), _over(module)
    upper, above, standard = symbols.gradient(made), symbols.slopes[made], made
    lines: list[Line] = []
    if module.weight is not None:
        above = above * module.weight.detach()
        lines = [Line("backward", f"dL/dh{k}", f"{upper} * {symbols.parameter(module.weight)}", above)]
        upper, standard = f"dL/dh{k}", f"h{k}"
    value = above - above.mean(over, keepdim=True) - h * (above * h).mean(over, keepdim=True)
    formula = (
        f"({upper} - {word}_mean({upper}) - {standard} * {word}_mean({upper} * {standard}))"
        f" / sqrt(var{k} + {number(module.eps)})"
    )
    return lines, formula, value / (var + module.eps).sqrt()


def _by_parameters(item: Seen, delta: Tensor, symbols: Symbols) -> Iterator[Line]:
    module, source = item.module, symbols.inputs[item.name]
    upper, given = symbols.gradient(symbols.of[item.name]), symbols.values.get(source)
    for key, parameter in module.named_parameters(recurse=False):
        if parameter.grad is None:
            continue
        formula, value = "", None
        if delta.dim() == 2 and key == "bias":
            formula, value = f"batch_sum({upper})", delta.sum(0)
        elif delta.dim() == 2 and given is not None and isinstance(module, nn.Linear):
            formula, value = f"{transposed(upper)} @ {source}", delta.T @ given
        elif delta.dim() == 2 and given is not None and _is_norm(module):
            h, k = _standardised(module, given)[2], symbols.numbers[item.name]
            formula, value = f"batch_sum({upper} * h{k})", (delta * h).sum(0)
        name, values = symbols.parameter(parameter), parameter.grad.detach().clone()
        yield checked("backward", f"dL/d{name}", formula, values, value, _AUTOGRAD)
