"""The forward and the backward pass of a net as equations, for `dltrain trace`.

An equation stands where it holds: what its formula gives is compared with what the step had, and where that is
something else (a value was made between two modules, or a module is used twice) words stand in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dltrain.engine.look import Seen
from dltrain.engine.state import random_state, set_random_state
from dltrain.insight.equations import Criterion, number
from dltrain.parts.models import Sign

_FUNCTIONS = {  # activation -> its name in a formula, and its derivative in terms of what goes in and what comes out
    nn.ReLU: ("relu", "({a} > 0)"),
    nn.Tanh: ("tanh", "(1 - {z}^2)"),
    nn.Sigmoid: ("sigmoid", "{z} * (1 - {z})"),
    nn.GELU: ("gelu", "gelu'({a})"),
    nn.SiLU: ("silu", "silu'({a})"),
    nn.LeakyReLU: ("leaky_relu", "leaky_relu'({a})"),
    Sign: ("sign", "0"),
}
_NORMS = (nn.BatchNorm1d, nn.LayerNorm)  # those of layers of numbers, which have equations
_SCALED = (*_NORMS, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm2d)
_PASSING = (nn.Flatten, nn.Identity)  # what comes out is what went in
_LAYERED = (nn.Linear, nn.Dropout, *_NORMS, *_PASSING, *_FUNCTIONS)  # nets of these alone get a1, z1, delta1
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Line:
    """One quantity of a step, in the section `forward`, `backward` or `update`.

    `formula` gives the values; `words` say what they are where no formula does.
    """

    section: str
    name: str
    formula: str
    values: Tensor
    words: str = ""


def checked(
    section: str, name: str, formula: str, values: Tensor, given: Tensor | None, words: str = "", *, blur: float = 0.0
) -> Line:
    """A line whose formula stands only if it gives the values, which rounding may blur, by `blur` at least."""
    holds = given is not None and given.shape == values.shape and bool(values.isfinite().all())
    if holds:
        near = max(blur, 1e-5 * float(values.abs().max())) if values.numel() else 0.0
        holds = torch.allclose(given.to(values.dtype), values, rtol=1e-3, atol=max(near, 1e-7))
    return Line(section, name, formula if holds else "", values, "" if holds and formula else words)


# -- names -----------------------------------------------------------------------------------------------------


class Masks:
    """What each dropout multiplies its input by in the next pass: drawn again from where it began to draw."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.device = device
        self._starts: dict[str, tuple[nn.Module, Tensor, dict[str, Any]]] = {}
        self._hooks = [
            module.register_forward_pre_hook(lambda module, args, name=name: self._begin(name, module, args[0]))
            for name, module in model.named_modules()
            if isinstance(module, nn.Dropout)
        ]

    def _begin(self, name: str, module: nn.Module, x: Tensor) -> None:
        self._starts[name] = module, x, random_state(self.device)

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

    Beside them h_k and n_k of a norm (standardised; times gamma, plus beta), d_k of a dropout and m_k, its mask. A net
    that has other modules is told as modules: z^k of the k-th one that a batch passes, W^k and b^k its parameters.
    """

    def __init__(self, model: nn.Module, seen: list[Seen], x: Tensor, output: Tensor, masks: dict[str, Tensor]) -> None:
        self.layered = all(type(item.module) in _LAYERED for item in seen)
        self.of: dict[str, str] = {}  # module -> the symbol of its output
        self.inputs: dict[str, str] = {}  # module -> the symbol of its input, empty where no module made that
        self.parameters = {name: name.removeprefix("layers.") for name, _ in model.named_parameters()}  # -> its symbol
        self.numbers: dict[str, str] = {}  # module -> 1, 2, ... of its layer, or ^1, ^2, ... of the module
        self.values: dict[str, Tensor] = {"x": x}
        self.masks = masks
        self._names = {id(p): name for name, p in model.named_parameters()}
        made: list[tuple[Tensor, int, str]] = [(x, x._version, "x")]
        layer = 0
        for item in seen:
            layer += 1 if not self.layered else isinstance(item.module, _WEIGHTED)
            self.numbers[item.name] = f"{layer}" if self.layered else f"^{layer}"
            source = next((s for tensor, n, s in reversed(made) if tensor is item.input and n == item.read), "")
            self.inputs[item.name] = source
            symbol = self._symbol(item, source)
            self.of[item.name] = symbol
            self.values[symbol] = item.values
            made.append((item.output, item.made, symbol))
            for key, parameter in item.module.named_parameters(recurse=False):
                name = self._names[id(parameter)]
                if self.parameters[name] == name.removeprefix("layers."):  # one that modules share is the first's
                    self.parameters[name] = self._parameter(item, key) or self.parameters[name]
        last = (s for tensor, n, s in reversed(made) if tensor is output and n == output._version)
        self.last = next(last, "f")
        self.values.setdefault(self.last, output.detach().clone())

    def _symbol(self, item: Seen, source: str) -> str:
        kind, k = type(item.module), self.numbers[item.name]
        if not self.layered:
            return f"z{k}"
        if kind in _PASSING:
            return source or item.name.rpartition(".")[2]
        letter = "z" if kind in _FUNCTIONS else {nn.Linear: "a", nn.Dropout: "d"}.get(kind, "n")
        symbol = f"{letter}{k}"
        while symbol in self.values:  # a second one after the same layer
            symbol += "'"
        return symbol

    def _parameter(self, item: Seen, key: str) -> str:
        names = {"weight": "gamma", "bias": "beta"} if type(item.module) in _SCALED else {"weight": "W", "bias": "b"}
        if key not in names or (self.layered and type(item.module) not in (nn.Linear, *_NORMS)):
            return ""
        return f"{names[key]}{self.numbers[item.name]}"

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
                yield Line("forward", symbol, "", parameter.detach().clone(), place if place != symbol else "")
            told.add(symbol)
        if symbols.layered and type(item.module) in _PASSING:
            continue
        yield from _output(item, symbols)
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
        yield checked("forward", symbol, f"{source} @ {own[0]}^T{bias}", item.values, value, words)
    elif type(module) in _FUNCTIONS:
        yield Line("forward", symbol, f"{_function(module)[0]}({source})", item.values)
    elif item.name in symbols.masks:
        mask, name = symbols.masks[item.name], f"m{symbol[1:]}"
        yield Line("forward", name, "", mask, f"dropout: 0, or {number(1 / (1 - module.p))} where a number is kept")
        yield checked("forward", symbol, f"{source} * {name}", item.values, given * mask, words)
    elif type(module) in _NORMS and given.dim() == 2:
        yield from _norm(item, symbols, given, own)
    else:
        yield Line("forward", symbol, f"{kind}({', '.join([source, *own])})", item.values)


def _function(module: nn.Module) -> tuple[str, str]:
    """What an activation and its derivative are called; one with knobs of its own as torch shows it."""
    usual = type(module)()
    if any(getattr(module, knob, None) != getattr(usual, knob, None) for knob in ("negative_slope", "approximate")):
        return repr(module), f"{module!r}'({{a}})"
    return _FUNCTIONS[type(module)]


def _norm(item: Seen, symbols: Symbols, x: Tensor, own: list[str]) -> Iterator[Line]:
    """BatchNorm over the batch (in train mode) or LayerNorm over each row."""
    module, symbol, source = item.module, symbols.of[item.name], symbols.inputs[item.name]
    over, k = _over(module), symbols.numbers[item.name]
    mean, var = x.mean(over[1], keepdim=True), x.var(over[1], keepdim=True, correction=0)
    h = (x - mean) / (var + module.eps).sqrt()
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


def _over(module: nn.Module) -> tuple[str, int]:
    """What a norm takes its mean over, in a formula's words and as a dimension."""
    return ("batch", 0) if isinstance(module, nn.BatchNorm1d) else ("row", 1)


_AUTOGRAD = "by torch's autograd"


# -- backward --------------------------------------------------------------------------------------------------


def backward(seen: list[Seen], symbols: Symbols, found: Criterion, last: Tensor) -> Iterator[Line]:
    """From the outputs, `last` is dL by them, to the first module: dL by what each makes, and by its parameters."""
    readers: dict[str, list[Seen]] = {}
    for item in seen:
        if not (symbols.layered and type(item.module) in _PASSING):
            readers.setdefault(symbols.inputs[item.name], []).append(item)
    gradients = {symbols.of[item.name]: item.gradient for item in seen if item.gradient is not None}
    text, value = (found.slope.text, found.slope.value) if found.slope else ("", None)
    yield checked("backward", symbols.gradient(symbols.last), text, last, value, _AUTOGRAD)
    for item in reversed(seen):
        symbol = symbols.of[item.name]
        if item.gradient is None or (symbols.layered and type(item.module) in _PASSING):
            continue
        name, after = symbols.gradient(symbol), readers.get(symbol, [])
        if symbol == symbols.last:
            pass  # stands above
        elif len(after) == 1 and symbols.of[after[0].name] in gradients:
            yield from _handed_down(item, after[0], symbols, gradients[symbols.of[after[0].name]])
        else:
            yield Line("backward", name, "", item.gradient, _AUTOGRAD)
        yield from _by_parameters(item, symbols)


def _handed_down(item: Seen, reader: Seen, symbols: Symbols, above: Tensor) -> Iterator[Line]:
    """dL by an output that one module reads, from dL by that module's output."""
    module, symbol, made = reader.module, symbols.of[item.name], symbols.of[reader.name]
    name, upper = symbols.gradient(symbol), symbols.gradient(made)
    if isinstance(module, nn.Linear):
        weight = symbols.parameter(module.weight)
        value = (above @ module.weight.detach()).view_as(item.gradient) if above.dim() == 2 else None
        yield checked("backward", name, f"{upper} @ {weight}", item.gradient, value, _AUTOGRAD)
    elif type(module) in _FUNCTIONS:
        text = _function(module)[1]
        a, z = (f"({s})" if "^" in s else s for s in (symbol, made))
        slope = _derivative(module, item.values)
        yield checked("backward", name, f"{upper} * {text.format(a=a, z=z)}", item.gradient, above * slope, _AUTOGRAD)
    elif reader.name in symbols.masks:
        value = above * symbols.masks[reader.name]
        yield checked("backward", name, f"{upper} * m{made[1:]}", item.gradient, value, _AUTOGRAD)
    elif type(module) in _NORMS and above.dim() == 2:
        yield from _through_norm(item, reader, symbols, above)
    else:
        yield Line("backward", name, "", item.gradient, _AUTOGRAD)


def _derivative(module: nn.Module, a: Tensor) -> Tensor:
    with torch.enable_grad():
        a = a.detach().clone().requires_grad_()
        made = module(a * 1.0)  # which may work in place
        return torch.autograd.grad(made.sum(), a)[0]


def _through_norm(item: Seen, reader: Seen, symbols: Symbols, above: Tensor) -> Iterator[Line]:
    module, symbol, k = reader.module, symbols.of[item.name], symbols.numbers[reader.name]
    made, standard = symbols.of[reader.name], f"h{k}"
    upper, (word, over), x = symbols.gradient(made), _over(module), item.values
    var = x.var(over, keepdim=True, correction=0) + module.eps
    h = (x - x.mean(over, keepdim=True)) / var.sqrt()
    if module.weight is None:
        standard = made
    else:
        above = above * module.weight.detach()
        gamma = symbols.parameter(module.weight)
        yield Line("backward", f"dL/dh{k}", f"{upper} * {gamma}", above)
        upper = f"dL/dh{k}"
    value = (above - above.mean(over, keepdim=True) - h * (above * h).mean(over, keepdim=True)) / var.sqrt()
    formula = (
        f"({upper} - {word}_mean({upper}) - {standard} * {word}_mean({upper} * {standard}))"
        f" / sqrt(var{k} + {number(module.eps)})"
    )
    yield checked("backward", symbols.gradient(symbol), formula, item.gradient, value, _AUTOGRAD)


def _by_parameters(item: Seen, symbols: Symbols) -> Iterator[Line]:
    module, delta, source = item.module, item.gradient, symbols.inputs[item.name]
    upper, given = symbols.gradient(symbols.of[item.name]), symbols.values.get(source)
    for key, parameter in module.named_parameters(recurse=False):
        if parameter.grad is None:
            continue
        values, name = parameter.grad.detach().clone(), symbols.parameter(parameter)
        formula, value = "", None
        if isinstance(module, nn.Linear) and delta.dim() == 2:
            if key == "bias":
                formula, value = f"batch_sum({upper})", delta.sum(0)
            elif given is not None:
                formula, value = f"{upper}^T @ {source}", delta.T @ given
        elif type(module) in _NORMS and delta.dim() == 2 and given is not None:
            h, k = _standardised(module, given), symbols.numbers[item.name]
            formula, value = f"batch_sum({upper} * h{k})", (delta * h).sum(0)
            if key == "bias":
                formula, value = f"batch_sum({upper})", delta.sum(0)
        yield checked("backward", f"dL/d{name}", formula, values, value, _AUTOGRAD)


def _standardised(module: nn.Module, x: Tensor) -> Tensor:
    over = _over(module)[1]
    return (x - x.mean(over, keepdim=True)) / (x.var(over, keepdim=True, correction=0) + module.eps).sqrt()
